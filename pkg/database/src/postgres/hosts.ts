import type { LookupAddress } from "node:dns";
import type { ConnectionOptions as TlsConnectionOptions } from "node:tls";
import { type Clock, messageOf } from "@plinth/kernel";
import { DatabaseError } from "../errors.ts";
import { type DatabaseUrl, type HostPort, nameOf, parseDatabaseUrl } from "./address.ts";
import { Credentials, type PasswordSource } from "./credentials.ts";
import { type Lookup, Names } from "./names.ts";
import { noConnection, SilenceError } from "./silence.ts";
import { cancelledBy } from "./sqlstate.ts";
import { type DatabaseTlsOptions, Tls } from "./tls.ts";

export interface ServerOptions {
  readonly url: string;
  readonly clock: Clock;
  /** All that connecting may take, with all hosts. */
  readonly connectTimeoutMs: number;
  readonly hosts?: "writable" | "any" | undefined;
  readonly tls?: DatabaseTlsOptions | undefined;
  readonly password?: PasswordSource | undefined;
  readonly passwordFile?: string | undefined;
  readonly lookup?: Lookup | undefined;
  /** Told what is wrong outside while it still works: a file or a name of which the last state is used. */
  readonly onStale?: ((error: DatabaseError) => void) | undefined;
}

/** What one attempt to log in at one host needs. */
export interface Endpoint extends HostPort {
  /** Undefined where the host is an address itself, or a folder. */
  readonly addresses: readonly LookupAddress[] | undefined;
  /** The name to find in the server's certificate. */
  readonly tlsName: string;
  readonly tls: TlsConnectionOptions | undefined;
  readonly password: string | undefined;
  /** Whether a server that takes no writes will not do. */
  readonly mustWrite: boolean;
  /** Aborts when its time is up, with what is to be told, or when nobody wants it any more. */
  readonly signal: AbortSignal;
}

/** These are the same at every host: to ask the next one would only hide them. */
const final: ReadonlySet<string> = new Set([
  "ERR_DATABASE_ACCESS",
  "ERR_DATABASE_CANCELLED",
  "ERR_DATABASE_CLOSED",
  "ERR_DATABASE_SCHEMA",
]);

/** The servers that one URL names, and all it takes to log in at one of them: the one used last first, then in their order. */
export class Hosts {
  readonly url: DatabaseUrl;
  readonly #options: ServerOptions;
  readonly #tls: Tls;
  readonly #names: Names;
  readonly #credentials: Credentials;
  readonly #mustWrite: boolean;
  #preferred = 0;

  /** @throws {@link OptionError} `ERR_OPTION_TYPE`, beginning with `url`. */
  constructor(options: ServerOptions) {
    this.#options = options;
    this.url = parseDatabaseUrl(options.url);
    const { tls = {}, password: source, passwordFile: file, lookup, clock, onStale = () => {} } = options;
    this.#tls = new Tls(this.url, tls, onStale);
    this.#names = new Names({ clock, lookup, onStale });
    this.#credentials = new Credentials({ password: this.url.password, source, file, onStale });
    this.#mustWrite = this.url.hosts.length > 1 && (options.hosts ?? this.url.wants ?? "writable") === "writable";
  }

  /**
   * Tries the hosts until `attempt` succeeds at one. Each gets an even share of the time that is left.
   * @throws {@link DatabaseError} What the last attempt said, and where there are several hosts, what each of them said.
   */
  async connect<T>(signals: readonly AbortSignal[], attempt: (endpoint: Endpoint) => Promise<T>): Promise<T> {
    const { clock, connectTimeoutMs } = this.#options;
    const untilMs = clock.monotonicMs() + connectTimeoutMs;
    const order = this.#order();
    const failures: DatabaseError[] = [];
    for (const [tried, index] of order.entries()) {
      const host = this.url.hosts[index] ?? this.url.hosts[0];
      const limitMs = Math.max(1, (untilMs - clock.monotonicMs()) / (order.length - tried));
      try {
        const connected = await this.#at(host, limitMs, signals, attempt);
        this.#preferred = index;
        return connected;
      } catch (error) {
        if (!(error instanceof DatabaseError) || final.has(error.code) || order.length === 1) throw error;
        failures.push(error);
      }
    }
    throw this.#noneOf(order, failures);
  }

  #order(): readonly number[] {
    const all = [...this.url.hosts.keys()];
    return [this.#preferred, ...all.filter((index) => index !== this.#preferred)];
  }

  async #at<T>(
    { host, port }: HostPort,
    limitMs: number,
    signals: readonly AbortSignal[],
    attempt: (endpoint: Endpoint) => Promise<T>,
  ): Promise<T> {
    const over = new AbortController();
    const limit = this.#options.clock.schedule(limitMs, () => over.abort(noConnection(limitMs)));
    const { signal } = over;
    const stops = signals.map((given) => {
      const stop = (): void => over.abort(cancelledBy(given.reason));
      given.addEventListener("abort", stop, { once: true });
      if (given.aborted) stop();
      return (): void => given.removeEventListener("abort", stop);
    });
    const ready = async (password: string | undefined): Promise<Endpoint> => ({
      host,
      port,
      addresses: await orAbort(this.#names.addressesOf(host), signal),
      tlsName: this.#tls.nameFor(host),
      tls: this.#tls.optionsFor(host),
      password,
      mustWrite: this.#mustWrite,
      signal,
    });
    try {
      const password = await this.#password(false, signal);
      try {
        return await attempt(await ready(password));
      } catch (error) {
        // It may have been changed at the server, and here, since it was read.
        if (!isRefusedPassword(error) || !this.#credentials.canChange) throw error;
        const changed = await this.#password(true, signal);
        if (changed === password) throw error;
        return await attempt(await ready(changed));
      }
    } finally {
      limit.cancel();
      for (const forget of stops) forget();
    }
  }

  #password(refused: boolean, signal: AbortSignal): Promise<string | undefined> {
    return orAbort(this.#credentials.current({ refused, signal }), signal);
  }

  #noneOf(order: readonly number[], failures: readonly DatabaseError[]): DatabaseError {
    const told = failures.map((error, tried) => {
      const host = this.url.hosts[order[tried] ?? 0] ?? this.url.hosts[0];
      const why = error.cause === undefined ? "" : ` (${messageOf(error.cause)})`;
      return `${nameOf(host)}: ${error.message}${why}`;
    });
    const [first] = failures;
    const isSame = failures.every(({ code }) => code === first?.code);
    const { code, status }: Pick<DatabaseError, "code" | "status"> =
      isSame && first ? first : { code: "ERR_DATABASE_UNAVAILABLE", status: "unavailable" };
    // the hosts' names stand in the cause: a message of this status goes to callers
    const Kind = failures.some((error) => error instanceof SilenceError) ? SilenceError : DatabaseError;
    return new Kind(code, status, `none of the ${told.length} hosts of the database can be used`, {
      cause: new Error(told.join("; "), { cause: failures.at(-1) }),
    });
  }
}

function isRefusedPassword(error: unknown): boolean {
  return error instanceof DatabaseError && (error.sqlState === "28P01" || error.sqlState === "28000");
}

/** The promise, or the signal's reason as soon as it aborts. */
async function orAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
