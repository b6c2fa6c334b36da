import type { Clock } from "@plinth/kernel";
import { authorityOf, type Instance, type InstanceFilter, type Registry, type RegistryView } from "@plinth/registry";
import {
  type Balancer,
  createBalancer,
  createRetryBudget,
  type Outcome,
  type RetryBudget,
  type Seat,
} from "@plinth/resilience";
import type { Upstream, UpstreamFactory, UpstreamOptions } from "./upstream.ts";

/** An instance that can be sent requests. */
export interface Endpoint {
  /** Changes with the address, so that nothing known of one sticks to another. */
  readonly id: string;
  readonly instanceId: string;
  /** What requests to it carry in `plinth-instance`; undefined for one that does not look at that. */
  readonly identity: string | undefined;
  readonly weight: number;
  readonly upstream: Upstream;
}

export interface ServicePoolOptions {
  readonly service: string;
  /** Instances of this version alone; it stands behind the service's name in metrics and spans. */
  readonly version?: string | undefined;
  readonly registry: Pick<Registry, "follow">;
  readonly clock: Clock;
  readonly createUpstream: UpstreamFactory;
  readonly upstream: Omit<UpstreamOptions, "authority" | "clock">;
  /** Which instances get requests. Default: all that speak HTTP. */
  readonly filter?: InstanceFilter | undefined;
  /** Source of choice in [0, 1). Default `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/** A member whose address another answers at stays out for so long. */
const misdirectedMs = 30_000;

/** The instances of one service: connections come and go with them, and each request goes to the one of two that lets it wait less. */
export class ServicePool {
  readonly service: string;
  /** What may be sent again of all that is sent to the service. */
  readonly retryBudget: RetryBudget;
  readonly #options: ServicePoolOptions;
  readonly #view: RegistryView;
  readonly #balancer: Balancer<Endpoint>;
  readonly #retiring = new Set<Upstream>();
  /** Members at whose address another instance answers: left out as long as there are others, and tried again from time to time. */
  readonly #misdirected = new Map<string, number>();
  #known: readonly Instance[] | undefined;

  constructor(options: ServicePoolOptions) {
    const { service, version, registry, clock, random, filter } = options;
    this.service = version === undefined ? service : `${service}@${version}`;
    this.#options = options;
    this.retryBudget = createRetryBudget({ clock });
    this.#balancer = createBalancer<Endpoint>({ clock, ...(random ? { random } : {}) });
    this.#view = registry.follow(service, { filter: version === undefined ? filter : { ...filter, version } });
  }

  /** Resolves when the registry has answered once; rejects when it is closed before. */
  get ready(): Promise<void> {
    return this.#view.ready;
  }

  get seats(): readonly Seat<Endpoint>[] {
    return this.#balancer.seats;
  }

  /**
   * The instance for a request, counted as in use until released. Undefined when there is none.
   * @param tried - None of these, as long as there is another.
   */
  pick(tried?: readonly Seat<Endpoint>[]): Seat<Endpoint> | undefined {
    this.refresh();
    if (this.#misdirected.size > 0) {
      const nowMs = this.#options.clock.monotonicMs();
      const isOut = ({ member }: Seat<Endpoint>): boolean => (this.#misdirected.get(member.id) ?? 0) > nowMs;
      return this.#balancer.pick({ avoid: (seat) => tried?.includes(seat) === true || isOut(seat) });
    }
    return this.#balancer.pick(tried && { avoid: (seat) => tried.includes(seat) });
  }

  /** Another instance answers at its address: it is ejected until the registry takes it out, or for a while. */
  misdirected({ member }: Seat<Endpoint>): void {
    this.#misdirected.set(member.id, this.#options.clock.monotonicMs() + misdirectedMs);
  }

  /**
   * Call once for each pick.
   * @param times.elapsedMs - Since the pick.
   * @param times.latencyMs - Until the head of the reply, if there was one.
   */
  release(
    seat: Seat<Endpoint>,
    outcome: Outcome,
    times: { readonly elapsedMs: number; readonly latencyMs: number | undefined },
  ): void {
    this.#balancer.release(seat, outcome, times.elapsedMs, times.latencyMs);
  }

  /** Follows the registry's view. Cheap when nothing has changed; called for each request, and now and then without any. */
  refresh(): void {
    const instances = this.#view.current?.instances;
    if (instances === this.#known || instances === undefined) return;
    this.#known = instances;
    const before = new Map(this.#balancer.seats.map(({ member }) => [member.id, member]));
    const members: Endpoint[] = [];
    for (const instance of instances) {
      const authority = authorityOf(instance, "http");
      if (authority === undefined) continue;
      const id = `${instance.id}@${authority}${instance.identity === undefined ? "" : `#${instance.identity}`}`;
      const known = before.get(id);
      members.push(known ? { ...known, weight: instance.weight } : this.#connect(id, instance, authority));
      before.delete(id);
    }
    this.#balancer.replace(members);
    for (const [id, { upstream }] of before) {
      this.#misdirected.delete(id);
      this.#retire(upstream);
    }
  }

  /** Closes idle connections and resolves when the rest have ended. */
  async close(): Promise<void> {
    this.#view.close();
    this.#known = [];
    for (const { member } of this.#balancer.seats) this.#retire(member.upstream);
    this.#balancer.replace([]);
    await Promise.all([...this.#retiring].map((upstream) => upstream.close()));
  }

  /** Breaks everything off. */
  destroy(): void {
    void this.close();
    for (const upstream of this.#retiring) upstream.destroy();
  }

  #connect(id: string, instance: Instance, authority: string): Endpoint {
    const { createUpstream, upstream: options, clock } = this.#options;
    const upstream = createUpstream({ ...options, authority, clock });
    return { id, instanceId: instance.id, identity: instance.identity, weight: instance.weight, upstream };
  }

  /** What is under way on it goes on to its end. */
  #retire(upstream: Upstream): void {
    this.#retiring.add(upstream);
    void upstream.close().then(() => this.#retiring.delete(upstream));
  }
}
