import { type Clock, currentContext, OptionError, requireNumber, runOutsideContext, systemClock } from "@plinth/kernel";
import type { RpcCall, RpcMetadata } from "@plinth/transport";
import type { CallCredentials } from "./options.ts";
import { abortable } from "./own-signal.ts";

/** A token that a service may show, and when it ends. */
export interface ServiceToken {
  readonly value: string;
  /** In milliseconds since the Unix epoch; `Infinity`: never. */
  readonly expiresAtMs: number;
}

export interface ServiceTokenOptions {
  /** Gets a token, as from `auth.issueServiceToken`. Asked once for all calls that wait. A call fails as it does. */
  readonly token: () => Promise<ServiceToken>;
  /** A token is renewed so long before its end, in milliseconds from 0, or at half of its life where that is later. Default 60_000. */
  readonly refreshBeforeMs?: number | undefined;
  /** No new one is asked for sooner after the last, while that is good, in milliseconds from 0. Default 1_000. */
  readonly minIntervalMs?: number | undefined;
  /** The header, in lower case. Default `authorization`, with `Bearer ` before the token. */
  readonly header?: string | undefined;
  /** Default: the system's. */
  readonly clock?: Clock | undefined;
}

/**
 * Shows with every call who this service is, by a token that is renewed before its end, apart from calls: they wait for the first one alone, and
 * while the renewal fails the old one is shown as long as it is good. One that a service refuses is replaced for the calls after.
 *
 * @throws OptionError `ERR_OPTION_RANGE`.
 * @example serviceToken({ token: async () => tokenOf(await auth.issueServiceToken({ clientId, clientSecret })) })
 */
export function serviceToken(options: ServiceTokenOptions): CallCredentials {
  const { refreshBeforeMs = 60_000, minIntervalMs = 1_000, clock = systemClock } = options;
  requireNumber("refreshBeforeMs", refreshBeforeMs, { min: 0 });
  requireNumber("minIntervalMs", minIntervalMs, { min: 0 });
  return new TokenKeeper({ ...options, refreshBeforeMs, minIntervalMs, clock });
}

interface Kept extends ServiceToken {
  readonly renewAtMs: number;
}

type Resolved = ServiceTokenOptions & {
  readonly refreshBeforeMs: number;
  readonly minIntervalMs: number;
  readonly clock: Clock;
};

class TokenKeeper implements CallCredentials {
  readonly #options: Resolved;
  readonly #header: string;
  #kept: Kept | undefined;
  #asking: Promise<Kept> | undefined;
  #askedAtMs = -Infinity;
  /** The service has refused what is kept. */
  #isRefused = false;

  constructor(options: Resolved) {
    this.#options = options;
    this.#header = options.header ?? "authorization";
  }

  async headers({ signal }: { readonly signal: AbortSignal }): Promise<RpcMetadata> {
    const { clock } = this.#options;
    const kept = this.#kept;
    if (!kept || kept.expiresAtMs <= clock.now()) return this.#show(await abortable(this.#ask(), signal));
    if ((this.#isRefused || kept.renewAtMs <= clock.now()) && this.#mayAsk()) {
      const asked = this.#ask();
      if (this.#isRefused) return this.#show(await abortable(asked, signal));
      asked.catch(() => {}); // the old one is good for now, and the next call asks again
    }
    return this.#show(kept);
  }

  refused(headers: RpcMetadata): void {
    if (this.#kept && headers[this.#header] === this.#show(this.#kept)[this.#header]) this.#isRefused = true;
  }

  #mayAsk(): boolean {
    return this.#options.clock.monotonicMs() - this.#askedAtMs >= this.#options.minIntervalMs;
  }

  #show({ value }: ServiceToken): RpcMetadata {
    return { [this.#header]: this.#header === "authorization" ? `Bearer ${value}` : value };
  }

  /** One flight: it belongs to no call, and outlives the one that began it. */
  #ask(): Promise<Kept> {
    this.#asking ??= runOutsideContext(() => this.#get()).finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  async #get(): Promise<Kept> {
    const { token, refreshBeforeMs, clock } = this.#options;
    this.#askedAtMs = clock.monotonicMs();
    const { value, expiresAtMs } = await token();
    const lifeMs = expiresAtMs - clock.now();
    const renewAtMs =
      lifeMs === Infinity ? Infinity : Math.max(expiresAtMs - refreshBeforeMs, clock.now() + lifeMs / 2);
    this.#isRefused = false;
    return (this.#kept = { value, expiresAtMs, renewAtMs });
  }
}

/**
 * Passes the token on that the request being served came with: the service that is called sees its caller's caller. Outside of a request, and where it
 * brought none, nothing is sent. Only for services that you trust with your callers' tokens.
 *
 * @param options.header - The header that holds it, in lower case. Default `authorization`.
 */
export function passCallerToken(options: { readonly header?: string | undefined } = {}): CallCredentials {
  const { header = "authorization" } = options;
  if (header !== header.toLowerCase() || header === "")
    throw new OptionError("ERR_OPTION_TYPE", "invalid_argument", "header must be a name in lower case");
  return {
    headers(): RpcMetadata {
      const context = currentContext();
      const value = headerOf(context?.root ?? context, header);
      return value === undefined ? {} : { [header]: value };
    },
  };
}

/** What a server keeps of the request beside its context tells its headers. */
function headerOf(context: object | undefined, name: string): string | undefined {
  return context && hasHeaders(context) ? context.header(name) : undefined;
}

function hasHeaders(context: object): context is Pick<RpcCall, "header"> {
  return "header" in context && typeof context.header === "function";
}
