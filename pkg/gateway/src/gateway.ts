import {
  type Clock,
  createErrorBus,
  createMetrics,
  createTracing,
  type ErrorBus,
  type Logger,
  randomHex,
  type Scheduled,
  systemClock,
  type Tracing,
} from "@plinth/kernel";
import type { Revocations } from "@plinth/transport/jwt";
import { RevocationFile } from "./auth/revocation-file.ts";
import { createIssuerKeepers } from "./auth/issuers.ts";
import { changesBetween, type DocumentChanges } from "./config/changes.ts";
import { parseGatewayDocument } from "./config/document.ts";
import type { GatewayDocument, ParsedDocument } from "./config/schema.ts";
import { describeGeneration } from "./explain/describe.ts";
import { GatewayError } from "./errors.ts";
import { TrustedProxies } from "./headers/origin.ts";
import { toGatewaySettings } from "./options.ts";
import { WebSockets } from "./protocols/websockets.ts";
import { Limits } from "./limits/limits.ts";
import { buildGeneration } from "./server/build-generation.ts";
import type { GatewayCore } from "./server/core.ts";
import { Deadlines } from "./server/deadlines.ts";
import { firstAnswers, type FirstAnswersOptions } from "./server/first-answers.ts";
import { Front } from "./server/front.ts";
import type { Generation } from "./server/generation.ts";
import { observeState } from "./server/observe-state.ts";
import { Observer } from "./server/observer.ts";
import { ServicePool } from "./upstream/service-pool.ts";
import { createUndiciUpstream } from "./upstream/undici.ts";
import { hstsOf } from "./config/settings-tls.ts";
import type { Gateway, GatewayOptions, GatewayState } from "./contract.ts";

const sweepMs = 1_000;

/**
 * Makes a gateway. Nothing is opened yet.
 *
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` with every fault of the document.
 * @example
 * const gateway = createGateway({ document: { routes: [hello] }, registry });
 * await gateway.listen();
 */
export function createGateway(options: GatewayOptions): Gateway {
  return new HttpGateway(options);
}

class HttpGateway implements Gateway, GatewayCore {
  readonly host: string;
  port = 0;
  generation: Generation;
  readonly observer: Observer;
  readonly deadlines: Deadlines;
  readonly webSockets: WebSockets;
  readonly clock: Clock;
  readonly tracing: Tracing;
  readonly errors: ErrorBus;
  readonly maxHeaderLines: number;
  readonly proxies: TrustedProxies | undefined;
  readonly scheme: "http" | "https";
  readonly hsts: string | undefined;
  readonly viaName = `plinth-${randomHex(6)}`;
  readonly via = `1.1 ${this.viaName}`;
  isDraining = false;
  isStopping = false;
  inFlight = 0;
  readonly revocations: Revocations;
  readonly #revocationFile: RevocationFile;
  readonly #log: Logger | undefined;
  readonly limits: Limits;
  /** Builds one from a document, with what it can take over. */
  readonly #build: (document: ParsedDocument, before?: Generation) => Generation;
  /** Those that requests go by or soon will: what none of them has is closed. */
  readonly #generations = new Set<Generation>();
  #reloaded: Promise<unknown> = Promise.resolve();
  readonly #front: Front;
  #sweep: Scheduled | undefined;
  #drained: Promise<void> | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: GatewayOptions) {
    const {
      registry,
      log,
      clock = systemClock,
      metrics = createMetrics(),
      createUpstream = createUndiciUpstream,
    } = options;
    const settings = toGatewaySettings(options.settings);
    const document = parseGatewayDocument(options.document);
    this.#log = log;
    this.host = settings.host;
    this.clock = clock;
    this.tracing = options.tracing ?? createTracing();
    this.errors = options.errors ?? createErrorBus({ clock });
    this.maxHeaderLines = settings.maxHeaderLines;
    this.proxies = settings.trustedProxies.length > 0 ? new TrustedProxies(settings) : undefined;
    this.scheme = settings.tls ? "https" : "http";
    this.hsts = settings.tls && hstsOf(settings.tls);
    this.deadlines = new Deadlines(clock);
    this.webSockets = new WebSockets(metrics);
    this.observer = new Observer(metrics, settings.accessLog ? log?.named("access") : undefined);
    const { revocations } = (this.#revocationFile = new RevocationFile({
      file: settings.revocations,
      clock,
      log,
      errors: this.errors,
      metrics,
    }));
    this.revocations = revocations;
    const keepers = createIssuerKeepers({
      jwksUrls: settings.jwksUrls,
      snapshots: settings.jwksSnapshots,
      clock,
      log,
      metrics,
      current: () => this.generation.issuers,
    });
    const { preferZone } = settings;
    const filter = { protocol: "http", preferZone } as const;
    const createPool = (service: string, version?: string): ServicePool =>
      new ServicePool({ service, version, registry, clock, createUpstream, upstream: settings.upstream, filter });
    const { deadlines } = this;
    const { limitStore } = options;
    const limits = new Limits({ limitStore, maxLoopDelayMs: settings.maxLoopDelayMs, clock, metrics, log });
    this.limits = limits;
    this.#build = (next, before) =>
      buildGeneration(next, { clock, deadlines, keepers, revocations, limits, createPool }, before);
    this.generation = this.#build(document);
    this.#generations.add(this.generation);
    this.#front = new Front(this, { settings, log, metrics, onDied: options.onDied });
    observeState(
      metrics,
      () => this.generation,
      () => this.inFlight,
    );
  }

  describe(): GatewayState {
    return describeGeneration(this.generation);
  }

  providersWithoutKeys(): readonly string[] {
    return this.generation.issuers.filter(({ keys }) => keys.current === undefined).map(({ name }) => name);
  }

  get isLimitStoreDegraded(): boolean {
    return this.limits.gate?.isDegraded === true;
  }

  counted(by: 1 | -1): void {
    this.inFlight += by;
    if (by < 0) this.#front.released();
  }

  async listen({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    this.#requireOpen("listen again");
    this.#revocationFile.watch();
    for (const { keys } of this.generation.issuers) keys.start();
    await this.#firstAnswers({ next: this.generation, signal });
    this.#sweepLater();
    this.limits.shedder.start();
    this.port = await this.#front.listen();
  }

  async reload(document: GatewayDocument): Promise<DocumentChanges> {
    const parsed = parseGatewayDocument(document);
    const before = this.#reloaded;
    const own = (async () => {
      await before.catch(() => undefined); // told to who asked for it
      return this.#replace(parsed);
    })();
    this.#reloaded = own;
    return own;
  }

  announceDrain(): void {
    this.isDraining = true;
  }

  drain({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    return (this.#drained ??= this.#drain(signal));
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #drain(signal: AbortSignal | undefined): Promise<void> {
    this.announceDrain();
    const ended = this.#front.drain();
    this.webSockets.goAway();
    const cutOff = (): void => this.#cutOff();
    signal?.addEventListener("abort", cutOff, { once: true });
    if (signal?.aborted === true) cutOff();
    await ended;
    signal?.removeEventListener("abort", cutOff);
  }

  async #close(): Promise<void> {
    this.#sweep?.cancel();
    this.limits.shedder.close();
    this.#revocationFile.close();
    for (const { issuers } of this.#generations) for (const { keys } of issuers) keys.close();
    const drained = this.drain();
    this.#cutOff();
    await drained;
    this.#front.close();
    const pools = [...this.#generations].flatMap((generation) => [...generation.pools.values()]);
    for (const pool of pools) pool.destroy();
    await Promise.all(pools.map((pool) => pool.close()));
    const issuers = [...this.#generations].flatMap((generation) => generation.issuers);
    await Promise.all(issuers.map(({ keys }) => keys.saved()));
  }

  #requireOpen(what: string): void {
    if (!this.#drained && !this.#closed) return;
    throw new GatewayError(
      "ERR_GATEWAY_STATE",
      "failed_precondition",
      `the gateway was drained or closed before; create a new one to ${what}`,
    );
  }

  async #replace(document: ParsedDocument): Promise<DocumentChanges> {
    this.#requireOpen("use another document");
    const before = this.generation;
    const changes = changesBetween(before.document, document);
    if (!changes.any) return changes;
    const next = this.#build(document, before);
    this.#generations.add(next);
    for (const issuer of next.issuers) if (!before.issuers.includes(issuer)) issuer.keys.start();
    await this.#firstAnswers({ next, before });
    if (this.#drained || this.#closed) this.#letGo(next);
    this.#requireOpen("use another document");
    this.generation = next;
    before.supersede(() => this.#letGo(before));
    return changes;
  }

  /** Closes what no other generation has. */
  #letGo(generation: Generation): void {
    if (this.#closed || !this.#generations.delete(generation)) return;
    const left = [...this.#generations];
    for (const issuer of generation.issuers) {
      if (!left.some(({ issuers }) => issuers.some(({ keys }) => keys === issuer.keys))) issuer.keys.close();
    }
    for (const [service, pool] of generation.pools) {
      if (!left.some(({ pools }) => pools.get(service) === pool)) {
        pool.close().catch((error: unknown) => this.errors.report(error, { origin: "lifecycle" }));
      }
    }
  }

  #cutOff(): void {
    this.isStopping = true;
    this.#front.cut();
  }

  async #firstAnswers(of: Omit<FirstAnswersOptions, "clock">): Promise<void> {
    if (await firstAnswers({ ...of, clock: this.clock })) return;
    this.#log?.warn("not all services and keys of issuers are known yet; going on all the same");
  }

  /** Instances that have gone are let go also when no request comes for their service. */
  #sweepLater(): void {
    const refresh = this.errors.guard("gateway.sweep", (pool: ServicePool) => pool.refresh(), { origin: "timer" });
    const sweep = (): void => {
      for (const { pools } of this.#generations) for (const pool of pools.values()) refresh(pool);
      this.#sweepLater();
    };
    this.#sweep = this.clock.schedule(sweepMs, sweep, { keepAlive: false });
  }
}
