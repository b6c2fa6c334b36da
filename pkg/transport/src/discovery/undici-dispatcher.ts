import { OptionError, requireNumber, requireWhole, systemClock, withDefaults } from "@plinth/kernel";
import { buildConnector, Dispatcher, Dispatcher1Wrapper } from "undici";
import { TransportError } from "../errors.ts";
import { type ClientContext, clientContextOf } from "../tls/client.ts";
import { type ServiceAlias, serviceDispatcherDefaults, type ServiceDispatcherOptions } from "./dispatcher-options.ts";
import { dispatcherClosed } from "./errors.ts";
import { ServiceRequest } from "./service-request.ts";
import { SteadyController } from "./steady-controller.ts";
import { ServiceTargets, type TargetsOptions } from "./service-targets.ts";

type Defaulted = { readonly [K in keyof typeof serviceDispatcherDefaults]: NonNullable<ServiceDispatcherOptions[K]> };

/** The dispatcher on undici's pools. */
export class UndiciServiceDispatcher extends Dispatcher {
  readonly #services: Readonly<Record<string, ServiceAlias>>;
  readonly #maxServices: number;
  readonly #options: TargetsOptions;
  readonly #serverName: string | undefined;
  readonly #context: ClientContext;
  readonly #targets = new Map<string, ServiceTargets>();
  /** For handlers as undici 7 and the `fetch` of Node 24 have them. */
  readonly #older: Dispatcher1Wrapper;
  #closed: Promise<void> | undefined;

  constructor(options: ServiceDispatcherOptions) {
    super();
    const { registry, tls = {}, clock = systemClock, log, metrics, random } = options;
    const settings = withDefaults<Defaulted>(serviceDispatcherDefaults, options);
    for (const name of wholes) requireWhole(name, settings[name], { min: 1 });
    for (const name of ["headersTimeoutMs", "bodyTimeoutMs"] as const) requireWhole(name, settings[name], { min: 0 });
    requireNumber("maxReplyBytes", settings.maxReplyBytes, { min: 1 });
    for (const host of Object.keys(settings.services)) if (host !== host.toLowerCase()) throw capitals(host);
    this.#services = settings.services;
    this.#maxServices = settings.maxServices;
    this.#serverName = tls.serverName;
    // another connector for another certificate: it keeps sessions, by which a server would know the one before
    const onChange = (): void => void (connect = toConnector());
    const context = clientContextOf({ tls, peer: "services", clock, log, metrics, onChange });
    const toConnector = (): buildConnector.connector =>
      buildConnector({ timeout: settings.connectTimeoutMs, allowH2: false, ...context.secure });
    let connect = toConnector();
    this.#context = context;
    this.#options = { ...settings, registry, clock, random, connect: (target, done) => connect(target, done) };
    this.#older = new Dispatcher1Wrapper(this);
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    if (typeof handler.onRequestStart !== "function") return this.#older.dispatch(options, handler);
    try {
      if (this.#closed) throw dispatcherClosed();
      const { targets, host } = this.#targetsOf(options.origin);
      const servername = this.#serverName === undefined ? {} : { servername: this.#serverName };
      new ServiceRequest(targets, { ...options, ...servername }, host, handler).start();
    } catch (error) {
      if (typeof handler.onResponseError !== "function" || !(error instanceof Error)) throw error;
      handler.onResponseError(new SteadyController(), error);
    }
    return true;
  }

  override close(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
  override close(callback: () => void): void;
  override close(given: (() => void) | { readonly signal?: AbortSignal | undefined } = {}): Promise<void> | void {
    const closed = (this.#closed ??= this.#close());
    if (typeof given === "function") return void closed.then(given);
    const { signal } = given;
    const cut = (): void => this.#cut(dispatcherClosed());
    if (signal?.aborted) cut();
    signal?.addEventListener("abort", cut, { once: true });
    return closed.finally(() => signal?.removeEventListener("abort", cut));
  }

  override destroy(error?: Error | null): Promise<void>;
  override destroy(error: Error | null, callback: () => void): void;
  override destroy(callback: () => void): void;
  override destroy(given?: Error | null | (() => void), callback?: () => void): Promise<void> | void {
    const closed = (this.#closed ??= this.#close());
    this.#cut(given instanceof Error ? given : dispatcherClosed());
    const told = typeof given === "function" ? given : callback;
    return told === undefined ? closed : void closed.then(told);
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#targets.values()].map((targets) => targets.close()));
    this.#targets.clear();
    this.#context.close();
  }

  #cut(error: Error): void {
    for (const targets of this.#targets.values()) targets.destroy(error);
  }

  #targetsOf(origin: string | URL | undefined): { readonly targets: ServiceTargets; readonly host: string } {
    const url = parseServiceUrl(origin);
    const key = url.origin;
    const host = url.hostname;
    let targets = this.#targets.get(key);
    if (!targets) {
      this.#makeRoom();
      const { service, filter } = (Object.hasOwn(this.#services, host) ? this.#services[host] : undefined) ?? {
        service: host,
      };
      targets = new ServiceTargets({ ...this.#options, service, filter, scheme: url.protocol });
      this.#targets.set(key, targets);
    }
    return { targets, host };
  }

  /** A reply that sends its reader on to ever other hosts makes ever other services. */
  #makeRoom(): void {
    if (this.#targets.size < this.#maxServices) return;
    let oldest: [key: string, targets: ServiceTargets] | undefined;
    for (const entry of this.#targets)
      if (entry[1].size === 0 && (oldest === undefined || entry[1].usedAtMs < oldest[1].usedAtMs)) oldest = entry;
    if (oldest === undefined)
      throw new TransportError(
        "ERR_OVERLOADED",
        "unavailable",
        `${this.#maxServices} services are being called already; raise maxServices where that is meant`,
      );
    this.#targets.delete(oldest[0]);
    void oldest[1].close();
  }
}

const wholes = [
  "maxServices",
  "maxConnections",
  "maxPending",
  "maxTries",
  "firstAnswerMs",
  "connectTimeoutMs",
  "maxHeadBytes",
  "keepAliveMs",
] as const;

function parseServiceUrl(origin: string | URL | undefined): URL {
  const url = origin === undefined ? null : URL.parse(origin);
  if (url && (url.protocol === "http:" || url.protocol === "https:") && url.port === "" && isName(url.hostname))
    return url;
  throw new TransportError(
    "ERR_SERVICE_URL",
    "internal",
    `"${String(origin).slice(0, 200)}" names no service; write http://SERVICE/path without a port, which the registry tells`,
  );
}

/** Neither an address nor what no service can be called. */
function isName(host: string): boolean {
  return /^[a-z0-9][a-z0-9._-]{0,127}$/.test(host) && !/^[\d.]+$/.test(host);
}

function capitals(host: string): OptionError {
  return new OptionError(
    "ERR_OPTION_TYPE",
    "invalid_argument",
    `services.${host} is never met, since the host of a URL is in lower case; write ${host.toLowerCase()}`,
  );
}
