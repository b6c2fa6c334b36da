import type { Instance, RegistryView } from "@plinth/registry";
import {
  type Balancer,
  type Breaker,
  type ConcurrencyCap,
  createBalancer,
  createBreaker,
  createConcurrencyCap,
  createRetryBudget,
  type RetryBudget,
  type Seat,
  subset,
} from "@plinth/resilience";
import type { ServiceConfig } from "../config/schema-services.ts";
import { addressOf } from "./address.ts";
import { HealthChecks } from "./health-checks.ts";
import { InstanceChoice, type InstanceWish } from "./instance-choice.ts";
import { hasWorked, outcomeOf, type TryEnd } from "./outcomes.ts";
import type { ServicePoolOptions, TryReport } from "./pool-options.ts";
import { failingStatusesOf, toBalancerOptions } from "./pool-rules.ts";
import { staticView } from "./static-view.ts";
import type { Upstream } from "./upstream.ts";

/** An instance that can be sent requests. */
export interface Endpoint {
  /** Changes with the address, so that nothing known of one sticks to another. */
  readonly id: string;
  readonly instanceId: string;
  readonly authority: string;
  /** What requests to it carry in `plinth-instance`; undefined for one that does not look at that. */
  readonly identity: string | undefined;
  readonly weight: number;
  readonly zone: string | undefined;
  /** What a cookie holds that keeps callers with it; undefined where there is none. */
  readonly token: string | undefined;
  readonly upstream: Upstream;
}

/** A member whose address another answers at stays out for so long. */
const misdirectedMs = 30_000;
/** Probes of an instance have connections of their own: one, and one whose end is still to come. */
const probeConnections = 2;

/** The instances of one service: connections come and go with them, and each request goes to the one of two that lets it wait less. */
export class ServicePool {
  readonly service: string;
  /** What may be sent again of all that is sent to the service. */
  readonly retryBudget: RetryBudget;
  /** Replies that speak against an instance. */
  readonly failingStatuses: ReadonlySet<number>;
  /** Undefined: the balancer decides alone. */
  readonly choice: InstanceChoice | undefined;
  readonly #cap: ConcurrencyCap | undefined;
  readonly #options: Omit<ServicePoolOptions, "before">;
  readonly #config: Partial<ServiceConfig>;
  readonly #view: RegistryView;
  readonly #balancer: Balancer<Endpoint>;
  readonly #breaker: Breaker | undefined;
  readonly #health: HealthChecks | undefined;
  /** This process's part: all of them together give an instance no more than was set, at least one each. */
  readonly #maxConnections: number;
  /** Every pick goes by the balancer alone. */
  readonly #isPlain: boolean;
  readonly #retiring = new Set<Upstream>();
  /** Members at whose address another instance answers: left out as long as there are others, and tried again from time to time. */
  readonly #misdirected = new Map<string, number>();
  /** Members that the pool before kept out for their probes: they begin so here. */
  readonly #outBefore: Set<string>;
  #known: readonly Instance[] | undefined;

  constructor({ before, ...options }: ServicePoolOptions) {
    const { service, version, registry, clock, random, filter, zone } = options;
    const config: Partial<ServiceConfig> = options.config ?? {};
    const { balancing, breaker, caps, health } = config;
    this.service = version === undefined ? service : `${service}@${version}`;
    this.#options = options;
    this.#config = config;
    this.#outBefore = new Set(before?.failingProbes);
    this.retryBudget = createRetryBudget({ clock });
    this.failingStatuses = failingStatusesOf(config.ejection);
    this.#balancer = createBalancer<Endpoint>({
      clock,
      ...(random ? { random } : {}),
      ...toBalancerOptions(config, zone),
    });
    if (balancing?.hashBy !== undefined || balancing?.sticky) this.choice = new InstanceChoice(balancing);
    if (breaker) this.#breaker = createBreaker({ ...breaker, minCalls: breaker.minRequests, clock });
    const { workers = 1 } = options;
    this.#maxConnections = Math.max(1, Math.floor((caps?.maxConnections ?? options.upstream.maxConnections) / workers));
    if (caps) this.#cap = createConcurrencyCap({ maxInFlight: 1, maxQueue: 0, maxWaitMs: caps.maxWaitMs, clock });
    this.#isPlain = !this.choice && !this.#breaker && !this.#cap;
    if (health) this.#health = this.#checksOf(health);
    this.#view = config.static
      ? staticView(service, config.static)
      : registry.follow(service, { filter: version === undefined ? filter : { ...filter, version } });
  }

  /** Resolves when the registry has answered once; rejects when it is closed before. */
  get ready(): Promise<void> {
    return this.#view.ready;
  }

  /** Its instances speak HTTP/2, as gRPC needs. */
  get isHttp2(): boolean {
    return this.#config.protocol === "http2";
  }

  get seats(): readonly Seat<Endpoint>[] {
    return this.#balancer.seats;
  }

  /** So many are out that all get requests. */
  get isPanicking(): boolean {
    return this.#balancer.isPanicking;
  }

  /** Ids of members that are out for their probes. */
  get failingProbes(): readonly string[] {
    return this.#health?.out ?? [];
  }

  /**
   * The instance for a request, counted as in use until released. Undefined when there is none.
   * @param tried - None of these, as long as there is another.
   * @param operation - Name of the route.
   */
  pick(tried?: readonly Seat<Endpoint>[], wish?: InstanceWish, operation = ""): Seat<Endpoint> | undefined {
    this.refresh();
    if (this.#isPlain && this.#misdirected.size === 0)
      return this.#balancer.pick(tried && { avoid: (seat) => tried.includes(seat) });
    return this.#pickBy(tried, wish, operation);
  }

  /** Places at all instances together; undefined where nothing waits for one, or there are none. */
  busyCap(): ConcurrencyCap | undefined {
    if (!this.#cap) return undefined;
    this.refresh();
    return this.#balancer.seats.length > 0 ? this.#cap : undefined;
  }

  /** How many wait for a place. */
  get waiting(): number {
    return this.#cap?.waiting ?? 0;
  }

  /** Whether a request could go elsewhere. */
  hasOther(tried: readonly Seat<Endpoint>[] | undefined): boolean {
    return this.#balancer.seats.some((seat) => tried?.includes(seat) !== true);
  }

  /** Until a breaker lets a request of the route through, in milliseconds, when that is why none was picked; else undefined. */
  shutForMs(operation: string): number | undefined {
    const breaker = this.#breaker;
    const open = this.#balancer.seats.filter(({ ejected }) => !ejected || this.isPanicking);
    if (!breaker || open.length === 0) return undefined;
    return Math.min(...open.map(({ member }) => breaker.circuit(member.id, operation).retryAfterMs));
  }

  /** The breakers that are not closed. */
  get trippedBreakers(): ReturnType<Breaker["tripped"]> {
    return this.#breaker?.tripped() ?? [];
  }

  /** Another instance answers at its address: it is ejected until the registry takes it out, or for a while. */
  misdirected({ member }: Seat<Endpoint>): void {
    this.#misdirected.set(member.id, this.#options.clock.monotonicMs() + misdirectedMs);
  }

  /** Call once for each pick. */
  release(seat: Seat<Endpoint>, end: TryEnd, { hasFailed, elapsedMs, latencyMs, operation }: TryReport): void {
    const outcome = outcomeOf(end, hasFailed, this.#config.ejection?.countSlow === true);
    this.#balancer.release(seat, outcome, elapsedMs, latencyMs);
    if (!this.#breaker) return;
    const ok = hasWorked(end, hasFailed);
    if (ok !== undefined) this.#breaker.circuit(seat.member.id, operation).record(ok, elapsedMs);
  }

  /** Follows the registry's view. Cheap when nothing has changed; called for each request, and now and then without any. */
  refresh(): void {
    const instances = this.#view.current?.instances;
    if (instances === this.#known || instances === undefined) return;
    this.#known = instances;
    const size = this.#config.balancing?.subsetSize;
    const used = size === undefined ? instances : subset(instances, { size, client: this.#options.client ?? "" });
    const before = new Map(this.#balancer.seats.map(({ member }) => [member.id, member]));
    const members: Endpoint[] = [];
    for (const instance of used) {
      const authority = addressOf(instance, this.#config.protocol);
      if (authority === undefined) continue;
      const id = `${instance.id}@${authority}${instance.identity === undefined ? "" : `#${instance.identity}`}`;
      const known = before.get(id);
      const { weight, zone } = instance;
      members.push(known ? { ...known, weight, zone } : this.#connect(id, instance, authority));
      before.delete(id);
    }
    this.#balancer.replace(members);
    for (const [id, { upstream }] of before) {
      this.#misdirected.delete(id);
      this.#breaker?.forget(id);
      this.#retire(upstream);
    }
    this.#followMembers(members);
  }

  /** No more probes: another pool has taken its place, and it is there for the requests that have begun alone. */
  supersede(): void {
    this.#health?.close();
  }

  /** Closes idle connections and resolves when the rest have ended. */
  async close(): Promise<void> {
    this.#view.close();
    this.#health?.close();
    this.#options.tls?.close();
    this.#known = this.#view.current?.instances ?? [];
    for (const { member } of this.#balancer.seats) this.#retire(member.upstream);
    this.#balancer.replace([]);
    await Promise.all([...this.#retiring].map((upstream) => upstream.close()));
  }

  /** Breaks everything off. */
  destroy(): void {
    void this.close();
    for (const upstream of this.#retiring) upstream.destroy();
  }

  #pickBy(
    tried: readonly Seat<Endpoint>[] | undefined,
    wish: InstanceWish | undefined,
    operation: string,
  ): Seat<Endpoint> | undefined {
    const breaker = this.#breaker;
    const nowMs = this.#options.clock.monotonicMs();
    const refused: Seat<Endpoint>[] = [];
    const isOut = (seat: Seat<Endpoint>): boolean =>
      tried?.includes(seat) === true ||
      refused.includes(seat) ||
      (this.#cap !== undefined && seat.inFlight >= this.#maxConnections) ||
      (this.#misdirected.size > 0 && (this.#misdirected.get(seat.member.id) ?? 0) > nowMs);
    for (;;) {
      const kept = this.#keptBy(wish?.cookie);
      const avoid = kept && !isOut(kept) ? (seat: Seat<Endpoint>) => seat !== kept : isOut;
      const seat = this.#balancer.pick({ key: wish?.key, avoid });
      if (!seat || !breaker || breaker.circuit(seat.member.id, operation).allow()) return seat;
      this.#balancer.release(seat, "unknown", 0);
      if (refused.includes(seat)) return undefined; // all others have been asked
      refused.push(seat);
    }
  }

  /** Who answered the caller before, as long as it is not out. */
  #keptBy(token: string | undefined): Seat<Endpoint> | undefined {
    if (!token) return undefined;
    return this.#balancer.seats.find((seat) => seat.member.token === token && !seat.ejected);
  }

  #followMembers(members: readonly Endpoint[]): void {
    const { caps } = this.#config;
    const { workers = 1 } = this.#options;
    if (caps && members.length > 0) {
      const maxInFlight = Math.min(1_000_000, members.length * this.#maxConnections);
      const maxQueue = Math.min(1_000_000, Math.ceil((members.length * caps.maxPending) / workers));
      this.#cap?.resize({ maxInFlight, maxQueue });
    }
    if (!this.#health) return;
    this.#health.watch(members, this.#outBefore);
    this.#outBefore.clear();
    for (const id of this.#health.out) this.#balancer.condemn(id);
  }

  #checksOf(config: NonNullable<ServiceConfig["health"]>): HealthChecks {
    const { clock, random, createUpstream, upstream, tls, events } = this.#options;
    const own = { ...upstream, maxConnections: probeConnections, headersTimeoutMs: config.timeoutMs };
    return new HealthChecks({
      config,
      clock,
      random,
      connect: (authority) => createUpstream({ ...own, authority, clock, tls }),
      onProbed: (id, passed, state) => {
        events?.probed(this.service, passed);
        const seat = this.#balancer.seats.find(({ member }) => member.id === id);
        const wasOut = seat?.ejectedFor === "health_check";
        if (state === "well") this.#balancer.readmit(id);
        else if (state === "out") this.#balancer.condemn(id);
        if (seat && state !== "between" && wasOut !== (state === "out"))
          events?.healthChanged(this.service, seat.member.instanceId, !wasOut);
      },
    });
  }

  #connect(id: string, instance: Instance, authority: string): Endpoint {
    const { createUpstream, upstream: options, clock, tls } = this.#options;
    const { identity, weight, zone } = instance;
    const upstream = createUpstream({ ...options, maxConnections: this.#maxConnections, authority, clock, tls });
    const token = this.choice?.tokenOf(this.service, id);
    return { id, instanceId: instance.id, authority, identity, weight, zone, token, upstream };
  }

  /** What is under way on it goes on to its end. */
  #retire(upstream: Upstream): void {
    this.#retiring.add(upstream);
    void upstream.close().then(() => this.#retiring.delete(upstream));
  }
}
