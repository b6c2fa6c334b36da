import type { AppError, Clock } from "@plinth/kernel";
import { authorityOf, type Instance, type InstanceFilter } from "@plinth/registry";
import { type Balancer, createBalancer, type Outcome, type Seat } from "@plinth/resilience";
import { type buildConnector, Client, type Dispatcher, Pool } from "undici";
import { TransportError } from "../errors.ts";
import type { ServiceDispatcherOptions } from "./dispatcher-options.ts";
import { dispatcherClosed, noAnswer, noInstance } from "./errors.ts";
import { watchInstances } from "./instance-watch.ts";

/** An instance that requests can be sent to. */
export interface Target {
  /** Changes with the address, so that nothing known of one sticks to another. */
  readonly id: string;
  /** What requests to it carry in `plinth-instance`; undefined: nothing. */
  readonly identity: string | undefined;
  /** Its share of the traffic. */
  readonly weight: number;
  readonly zone: string | undefined;
  readonly pool: Pool;
}

/** What a request of a service is to whoever ends it. */
export interface Cuttable {
  cut(error: Error): void;
}

type Numbers =
  | "maxConnections"
  | "maxPending"
  | "maxTries"
  | "firstAnswerMs"
  | "headersTimeoutMs"
  | "bodyTimeoutMs"
  | "maxHeadBytes"
  | "maxReplyBytes"
  | "keepAliveMs";

export interface TargetsOptions extends Required<Pick<ServiceDispatcherOptions, Numbers>> {
  readonly registry: ServiceDispatcherOptions["registry"];
  readonly clock: Clock;
  readonly random: (() => number) | undefined;
  readonly connect: buildConnector.connector;
}

export interface ServiceTargetsOptions extends TargetsOptions {
  readonly service: string;
  readonly filter: InstanceFilter | undefined;
  /** `http:` or `https:`. */
  readonly scheme: string;
}

/** The instances of one service, each with a pool of connections that lives as long as it is in the set. */
export class ServiceTargets {
  readonly #options: ServiceTargetsOptions;
  readonly #balancer: Balancer<Target>;
  readonly #watch: { close(): void };
  readonly #requests = new Set<Cuttable>();
  readonly #retiring = new Set<Pool>();
  readonly #misdirected = new Set<string>();
  readonly #answered = Promise.withResolvers<void>();
  readonly #patience: { cancel(): void };
  #waits = true;
  #isKnown = false;
  #failure: AppError | undefined;
  #idle: PromiseWithResolvers<void> | undefined;
  #closed: Promise<void> | undefined;
  usedAtMs: number;

  constructor(options: ServiceTargetsOptions) {
    const { registry, service, filter, clock, random, firstAnswerMs } = options;
    this.#options = options;
    this.#balancer = createBalancer<Target>({ clock, ...(random ? { random } : {}) });
    this.usedAtMs = clock.monotonicMs();
    this.#patience = clock.schedule(firstAnswerMs, () => this.#answer());
    this.#watch = watchInstances({
      registry,
      service,
      filter,
      onInstances: (instances) => {
        this.#isKnown = true;
        this.#replace(instances);
        this.#answer();
      },
      onEnd: (error) => {
        this.#failure = error;
        this.#answer();
      },
    });
  }

  get maxTries(): number {
    return this.#options.maxTries;
  }

  /** Requests under way. */
  get size(): number {
    return this.#requests.size;
  }

  /** Resolves with the registry's first answer, or when it has been waited for long enough; undefined from then on. */
  get answer(): Promise<void> | undefined {
    return this.#waits ? this.#answered.promise : undefined;
  }

  /** @throws {@link TransportError} `ERR_OVERLOADED`. */
  begin(request: Cuttable): void {
    const { maxPending, service, clock } = this.#options;
    if (this.#closed) throw dispatcherClosed();
    if (this.#requests.size >= maxPending)
      throw new TransportError(
        "ERR_OVERLOADED",
        "unavailable",
        `${maxPending} requests of ${service} are under way already`,
      );
    this.#requests.add(request);
    this.usedAtMs = clock.monotonicMs();
  }

  end(request: Cuttable): void {
    this.#requests.delete(request);
    if (this.#requests.size === 0) this.#idle?.resolve();
  }

  /**
   * The instance for a try, counted as in use until released. Undefined when there is none.
   * @param tried - None of these, as long as there is another.
   */
  pick(tried: ReadonlySet<Target>): Seat<Target> | undefined {
    if (tried.size === 0 && this.#misdirected.size === 0) return this.#balancer.pick();
    return this.#balancer.pick({ avoid: ({ member }) => tried.has(member) || this.#misdirected.has(member.id) });
  }

  /** Whether there is another to try. */
  hasOther(tried: ReadonlySet<Target>): boolean {
    return this.#balancer.seats.some(({ member }) => !tried.has(member));
  }

  /** Somebody else has its address: nothing goes there until the registry tells other instances, as long as there is another. */
  misdirect({ member }: Seat<Target>): void {
    this.#misdirected.add(member.id);
  }

  /** The time that the balancer goes by. */
  nowMs(): number {
    return this.#options.clock.monotonicMs();
  }

  /** Call once for each pick, with when that was, and when the head of the reply came. */
  release(seat: Seat<Target>, outcome: Outcome, pickedAtMs: number, repliedAtMs: number | undefined): void {
    const nowMs = this.nowMs();
    this.#balancer.release(seat, outcome, nowMs - pickedAtMs, (repliedAtMs ?? nowMs) - pickedAtMs);
  }

  /** Why nothing was picked. */
  get absence(): TransportError {
    if (this.#closed) return dispatcherClosed();
    const { service, firstAnswerMs } = this.#options;
    return this.#isKnown || this.#failure
      ? noInstance(service, "http", this.#failure)
      : noAnswer(service, firstAnswerMs);
  }

  /** Takes no more requests, and closes all connections when those under way have ended. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  /** Breaks off what is under way. */
  destroy(error: Error): void {
    for (const request of this.#requests) request.cut(error);
    for (const { member } of this.#balancer.seats) void member.pool.destroy(error);
    for (const pool of this.#retiring) void pool.destroy(error);
  }

  async #close(): Promise<void> {
    this.#watch.close();
    this.#answer();
    this.#idle = Promise.withResolvers<void>();
    if (this.#requests.size > 0) await this.#idle.promise;
    const pools = [...this.#balancer.seats.map(({ member }) => member.pool), ...this.#retiring];
    this.#balancer.replace([]);
    // no request is left, so that nothing is broken off; `close` would wait for connections that are being made
    await Promise.all(pools.map((pool) => pool.destroy()));
  }

  #answer(): void {
    this.#patience.cancel();
    this.#waits = false;
    this.#answered.resolve();
  }

  #replace(instances: readonly Instance[]): void {
    this.#misdirected.clear();
    const before = new Map(this.#balancer.seats.map(({ member }) => [member.id, member]));
    const members: Target[] = [];
    for (const instance of instances) {
      const authority = authorityOf(instance, "http");
      if (authority === undefined) continue;
      const { identity, weight, zone } = instance;
      const id = `${instance.id}@${authority}`;
      const pool = before.get(id)?.pool ?? this.#connect(authority);
      members.push({ id, identity, weight, zone, pool });
      before.delete(id);
    }
    this.#balancer.replace(members);
    for (const { pool } of before.values()) this.#retire(pool);
  }

  #connect(authority: string): Pool {
    const { scheme, maxConnections, headersTimeoutMs, bodyTimeoutMs, keepAliveMs } = this.#options;
    const { maxHeadBytes, maxReplyBytes, connect } = this.#options;
    return new Pool(`${scheme}//${authority}`, {
      factory: (origin, options: Client.Options) => new Connection(origin, options),
      connections: maxConnections,
      pipelining: 1,
      allowH2: false,
      headersTimeout: headersTimeoutMs,
      bodyTimeout: bodyTimeoutMs,
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMs,
      keepAliveTimeoutThreshold: 1_000,
      maxHeaderSize: maxHeadBytes,
      maxResponseSize: maxReplyBytes === Infinity ? -1 : maxReplyBytes,
      connect,
    });
  }

  /** What is under way on it, or waits for its connections, goes on to its end. */
  #retire(pool: Pool): void {
    this.#retiring.add(pool);
    void pool.close().finally(() => this.#retiring.delete(pool));
  }
}

/** A handler that asks whether the connection it is put on has served before. */
export interface AskingHandler extends Dispatcher.DispatchHandler {
  connection: { served: number } | undefined;
}

/** One connection of a pool, that counts what it has served. */
class Connection extends Client {
  served = 0;

  constructor(origin: string | URL, options: Client.Options) {
    super(origin, options);
    this.on("connect", () => (this.served = 0));
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    if (isAsking(handler)) handler.connection = this;
    return super.dispatch(options, handler);
  }
}

function isAsking(handler: Dispatcher.DispatchHandler): handler is AskingHandler {
  return "connection" in handler;
}
