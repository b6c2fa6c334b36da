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
import { AskedServices } from "./auth/asked-services.ts";
import { HeldRevocations } from "./auth/held-revocations.ts";
import { createIssuerKeepers } from "./auth/issuers.ts";
import type { DocumentChanges } from "./config/changes.ts";
import { parseDocument, parseGatewayDocument } from "./config/document.ts";
import type { GatewayDocument } from "./config/schema.ts";
import { describeGeneration } from "./explain/describe.ts";
import { GatewayError } from "./errors.ts";
import { TrustedProxies } from "./headers/origin.ts";
import { toGatewaySettings } from "./options.ts";
import { GrpcCalls, statusGraceMs } from "./protocols/grpc-calls.ts";
import { WebSockets } from "./protocols/websockets.ts";
import { Limits } from "./limits/limits.ts";
import { type BuildOptions, buildGeneration, buildInSteps } from "./server/build-generation.ts";
import type { GatewayCore } from "./server/core.ts";
import { Deadlines } from "./server/deadlines.ts";
import { firstAnswers, type FirstAnswersOptions } from "./server/first-answers.ts";
import { Front } from "./server/front.ts";
import type { Generation } from "./server/generation.ts";
import { Generations, type PreparedDocument } from "./server/generations.ts";
import { observeState } from "./server/observe-state.ts";
import { Observer } from "./server/observer.ts";
import type { SlowClients } from "./server/slow-clients.ts";
import { PoolObserver } from "./server/pool-observer.ts";
import { openUpstreamTls } from "./upstream/tls.ts";
import { createHttp2Upstream } from "./upstream/http2.ts";
import { ServicePool } from "./upstream/service-pool.ts";
import { createHttp1Upstream } from "./upstream/http1.ts";
import { Compressions } from "./compression/compressions.ts";
import { PluginCounts } from "./plugins/counts.ts";
import { checkPlugins, type GatewayPlugin } from "./plugins/define.ts";
import { inOrder } from "./plugins/open-plugins.ts";
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
  readonly grpcCalls = new GrpcCalls();
  readonly clock: Clock;
  readonly tracing: Tracing;
  readonly errors: ErrorBus;
  readonly maxHeaderLines: number;
  readonly bodyGapMs: number;
  readonly proxies: TrustedProxies | undefined;
  readonly scheme: "http" | "https";
  readonly hsts: string | undefined;
  readonly viaName = `plinth-${randomHex(6)}`;
  readonly via = `1.1 ${this.viaName}`;
  isDraining = false;
  isStopping = false;
  inFlight = 0;
  readonly revocations: Revocations;
  readonly #heldRevocations: HeldRevocations;
  readonly #log: Logger | undefined;
  /** In the order in which they are asked. */
  readonly #plugins: readonly GatewayPlugin[];
  readonly limits: Limits;
  readonly compressions: Compressions;
  readonly #generations: Generations;
  readonly #team: GatewayOptions["team"];
  readonly #front: Front;
  readonly slowClients: SlowClients;
  #sweep: Scheduled | undefined;
  #drained: Promise<void> | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: GatewayOptions) {
    const {
      registry,
      log,
      clock = systemClock,
      metrics = createMetrics(),
      createUpstream = createHttp1Upstream,
    } = options;
    const settings = toGatewaySettings(options.settings);
    this.#plugins = inOrder(options.plugins ?? []);
    checkPlugins(this.#plugins);
    const document = parseGatewayDocument(options.document, this.#plugins);
    this.#log = log;
    this.#team = options.team;
    this.host = settings.host;
    this.clock = clock;
    this.tracing = options.tracing ?? createTracing();
    this.errors = options.errors ?? createErrorBus({ clock });
    this.maxHeaderLines = settings.maxHeaderLines;
    this.bodyGapMs = settings.upstream.bodyGapMs;
    this.proxies = settings.trustedProxies.length > 0 ? new TrustedProxies(settings) : undefined;
    this.scheme = settings.tls ? "https" : "http";
    this.hsts = settings.tls && hstsOf(settings.tls);
    this.deadlines = new Deadlines(clock);
    this.webSockets = new WebSockets(metrics);
    this.compressions = new Compressions(settings.maxCompressions, metrics);
    this.observer = new Observer(metrics, settings.accessLog ? log?.named("access") : undefined);
    const { revocations } = (this.#heldRevocations = new HeldRevocations({
      file: settings.revocations,
      clock,
      log,
      errors: this.errors,
      metrics,
      revocations: options.team?.revocations,
      store: options.revocationStore,
      pollMs: settings.revocationPollMs,
    }));
    this.revocations = revocations;
    const keepers = createIssuerKeepers({
      jwksUrls: settings.jwksUrls,
      snapshots: settings.jwksSnapshots,
      clock,
      log,
      metrics,
      current: () => this.generation.issuers,
      processes: options.team?.count,
    });
    const { preferZone } = settings;
    const filter = { protocol: "http", preferZone } as const;
    const events = new PoolObserver(metrics, log);
    const createPool: BuildOptions["createPool"] = (service, version, config, before) =>
      new ServicePool({
        service,
        version,
        registry,
        clock,
        createUpstream: config?.protocol === "http2" ? createHttp2Upstream : createUpstream,
        filter: config?.protocol === "http2" ? { preferZone } : filter,
        config,
        before,
        zone: settings.zone,
        client: this.viaName,
        workers: this.#team?.count,
        events,
        upstream: { ...settings.upstream, deadlines },
        tls: config?.tls && openUpstreamTls({ config: config.tls, service, clock, log, metrics }),
      });
    const { deadlines } = this;
    const { limitStore } = options;
    const limits = new Limits({
      team: options.team,
      limitStore,
      maxLoopDelayMs: settings.maxLoopDelayMs,
      maxHeapRatio: settings.maxHeapRatio,
      clock,
      metrics,
      log,
    });
    this.limits = limits;
    const plugins =
      this.#plugins.length === 0
        ? undefined
        : { plugins: this.#plugins, counts: new PluginCounts(metrics), clock, metrics, errors: this.errors, log };
    const asked = new AskedServices(options.authClients ?? {}, clock);
    const seams = { clock, deadlines, keepers, revocations, limits, asked, plugins, createPool };
    this.generation = buildGeneration(document, seams);
    this.#generations = new Generations({
      first: this.generation,
      build: (next, before) => buildInSteps(next, seams, before),
      onChange: (next) => (this.generation = next),
      isOver: () => (this.#drained ?? this.#closed) !== undefined,
      isClosed: () => this.#closed !== undefined,
      clock,
      errors: this.errors,
      log,
    });
    this.#front = new Front(this, { settings, log, metrics, onDied: options.onDied });
    this.slowClients = this.#front.slowClients;
    observeState(
      metrics,
      () => this.generation,
      () => this.inFlight,
    );
  }

  describe(): GatewayState {
    return describeGeneration(this.generation, this.#plugins, this.#team?.state);
  }

  providersWithoutKeys(): readonly string[] {
    return this.generation.issuers.filter(({ keys }) => keys.current === undefined).map(({ name }) => name);
  }

  get isLimitStoreDegraded(): boolean {
    return this.limits.isStoreDegraded;
  }

  get isRevocationStoreDegraded(): boolean {
    return this.#heldRevocations.shared?.isDegraded === true;
  }

  counted(by: 1 | -1): void {
    this.inFlight += by;
    if (by < 0) this.#front.released();
  }

  async listen({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    this.#requireOpen();
    this.#heldRevocations.start();
    for (const { keys } of this.generation.issuers) keys.start();
    await this.#firstAnswers({ next: this.generation, also: this.#heldRevocations.shared?.whole, signal });
    this.#sweepLater();
    this.limits.shedder.start();
    this.port = await this.#front.listen();
  }

  async reload(document: GatewayDocument): Promise<DocumentChanges> {
    const parsed = parseGatewayDocument(document, this.#plugins);
    if (this.#team) return this.#team.reload(parsed);
    const prepared = await this.#generations.prepare(parsed);
    prepared.commit();
    return prepared.changes;
  }

  async prepare(document: unknown): Promise<PreparedDocument> {
    return this.#generations.prepare(parseDocument(document, { name: "code", places: new Map() }, this.#plugins));
  }

  announceDrain(): void {
    this.isDraining = true;
    this.#front.announceDrain();
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
    for (const { issuers } of this.#generations.all) for (const { keys } of issuers) keys.close();
    const drained = this.drain();
    this.#cutOff();
    await drained;
    this.#front.close();
    this.#closePlugins();
    const pools = [...this.#generations.all].flatMap((generation) => [...generation.pools.values()]);
    for (const pool of pools) pool.destroy();
    await Promise.all([...pools.map((pool) => pool.close()), this.#heldRevocations.close()]);
    const issuers = [...this.#generations.all].flatMap((generation) => generation.issuers);
    await Promise.all(issuers.map(({ keys }) => keys.saved()));
  }

  #requireOpen(): void {
    if (!this.#drained && !this.#closed) return;
    const what = "the gateway was drained or closed before; create a new one to listen again";
    throw new GatewayError("ERR_GATEWAY_STATE", "failed_precondition", what);
  }

  #closePlugins(): void {
    const all = [...this.#generations.all].map(({ plugins }) => plugins);
    for (const [index, plugins] of all.entries()) plugins?.close(all.slice(index + 1));
  }

  #cutOff(): void {
    this.isStopping = true;
    const cut = (): void => this.#front.cut();
    if (this.grpcCalls.stop()) this.clock.schedule(statusGraceMs, cut, { keepAlive: false });
    else cut();
  }

  async #firstAnswers(of: Omit<FirstAnswersOptions, "clock">): Promise<void> {
    if (await firstAnswers({ ...of, clock: this.clock })) return;
    this.#log?.warn("not all services, keys of issuers and shared revocations are known yet; going on all the same");
  }

  /** Instances that have gone are let go also when no request comes for their service. */
  #sweepLater(): void {
    const refresh = this.errors.guard("gateway.sweep", (pool: ServicePool) => pool.refresh(), { origin: "timer" });
    const sweep = (): void => {
      for (const { pools } of this.#generations.all) for (const pool of pools.values()) refresh(pool);
      this.#sweepLater();
    };
    this.#sweep = this.clock.schedule(sweepMs, sweep, { keepAlive: false });
  }
}
