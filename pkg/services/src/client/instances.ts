import { type AppError, type Clock, requireNumber } from "@plinth/kernel";
import {
  type Balancer,
  type Breaker,
  type Circuit,
  createBalancer,
  createBreaker,
  type Outcome,
  type Seat,
  subset,
} from "@plinth/resilience";
import type { RpcChannel } from "@plinth/transport";
import type { CircuitDescription, InstanceDescription } from "./describe.ts";
import { type Called, circuitsOpen, nobody } from "./failures.ts";
import type { BalancedChannelOptions, ServiceTransport } from "./options.ts";
import { followPlaces, Line, type Place, type Target } from "./targets.ts";

/** An instance that was chosen for an attempt. */
export interface Picked {
  readonly seat: Seat<Target>;
  readonly circuit: Circuit | undefined;
  readonly pickedAtMs: number;
}

/** What a pick asks for. */
export interface Wish {
  readonly key: string | undefined;
  /** Ids of those that were tried before: others come first. */
  readonly tried: ReadonlySet<string> | undefined;
}

export interface InstancesOptions extends BalancedChannelOptions {
  readonly transport: ServiceTransport;
  readonly clock: Clock;
  readonly clientId: string;
  readonly subsetSize: number;
  readonly firstAnswerMs: number;
  readonly open: (address: string) => Promise<RpcChannel>;
}

const never = new AbortController().signal;

/** The instances of one service: who is there, who is to be called next, and how each does. */
export class Instances {
  readonly #options: InstancesOptions;
  readonly #balancer: Balancer<Target>;
  readonly #breaker: Breaker | undefined;
  readonly #misdirected = new Set<string>();
  readonly #retiring = new Set<Promise<void>>();
  readonly #lines = new Set<Line>();
  readonly #answered = Promise.withResolvers<void>();
  readonly #patience: { cancel(): void };
  readonly #following: { close(): void };
  #failure: AppError | undefined;
  #waits = true;
  isKnown = false;

  /** @throws OptionError for what cannot be found by, or balanced by. */
  constructor(options: InstancesOptions) {
    const { clock, random, zone, breaker = {}, firstAnswerMs } = options;
    requireNumber("firstAnswerMs", firstAnswerMs, { min: 1 });
    this.#options = options;
    this.#balancer = createBalancer<Target>({ ...options.balancing, clock, random, zone });
    this.#breaker = breaker === false ? undefined : createBreaker({ ...breaker, clock });
    // the limits of a subset are looked at where they are used: once now, so that they fail here
    if (options.subsetSize !== Infinity) subset([], { size: options.subsetSize, client: options.clientId });
    this.#patience = clock.schedule(firstAnswerMs, () => this.#answer(), { keepAlive: false });
    const { service, find, transport, filter } = options;
    try {
      this.#following = followPlaces(
        { service, find, transport, filter },
        {
          onPlaces: (places) => {
            this.isKnown = true;
            this.#replace(places);
            this.#answer();
          },
          onEnd: (error) => {
            this.#failure = error;
            this.#answer();
          },
        },
      );
    } catch (error) {
      this.#patience.cancel();
      throw error;
    }
  }

  /** Resolves with the first answer of the registry, or when it has been waited for long enough; undefined from then on. */
  get answer(): Promise<void> | undefined {
    return this.#waits ? this.#answered.promise : undefined;
  }

  get isPanicking(): boolean {
    return this.#balancer.isPanicking;
  }

  /** Whether there is somebody that is not among these. */
  hasOther(tried: ReadonlySet<string>): boolean {
    return this.#balancer.seats.some(({ member }) => !tried.has(member.id));
  }

  /**
   * The instance for an attempt, counted as in use until released.
   * @throws RpcError `ERR_NO_INSTANCE` when there is none, `ERR_CIRCUIT_OPEN` when none takes this method now.
   */
  pick(called: Called, wish: Wish): Picked {
    const isPlain = wish.key === undefined && wish.tried === undefined && this.#misdirected.size === 0;
    const seat = isPlain ? this.#balancer.pick() : undefined;
    if (!seat) return this.#search(called, wish, new Map());
    const circuit = this.#breaker?.circuit(seat.member.id, called.method);
    if (!circuit || circuit.allow()) return { seat, circuit, pickedAtMs: this.#options.clock.monotonicMs() };
    this.#balancer.release(seat, "unknown", 0);
    return this.#search(called, wish, new Map([[seat.member.id, circuit]]));
  }

  /** @param shut - Circuits that are open, by instance. */
  #search(called: Called, { key, tried }: Wish, shut: Map<string, Circuit>): Picked {
    const isShut = ({ member }: Seat<Target>): boolean => shut.has(member.id);
    const isUnwanted = (seat: Seat<Target>): boolean =>
      isShut(seat) || tried?.has(seat.member.id) === true || this.#misdirected.has(seat.member.id);
    for (;;) {
      let seat = this.#balancer.pick({ key, avoid: isUnwanted });
      if (seat && isShut(seat)) {
        // all others are unwanted: one that was tried before is better than nobody
        this.#balancer.release(seat, "unknown", 0);
        seat = this.#balancer.pick({ key, avoid: isShut });
      }
      if (!seat) throw this.#absence(called);
      const circuit = this.#breaker?.circuit(seat.member.id, called.method);
      if (!isShut(seat) && circuit?.allow() !== false) {
        return { seat, circuit, pickedAtMs: this.#options.clock.monotonicMs() };
      }
      this.#balancer.release(seat, "unknown", 0);
      if (!circuit || isShut(seat)) throw circuitsOpen(called, [...shut.values()]);
      shut.set(seat.member.id, circuit);
    }
  }

  /** Call once for each pick. @param latencyMs - How long it let us wait, where that is less than until now. */
  release({ seat, circuit, pickedAtMs }: Picked, outcome: Outcome, latencyMs?: number): void {
    const elapsedMs = this.#options.clock.monotonicMs() - pickedAtMs;
    this.#balancer.release(seat, outcome, elapsedMs, latencyMs);
    if (outcome !== "unknown") circuit?.record(outcome === "success", elapsedMs);
    if (outcome === "success" || outcome === "failure") seat.member.line.answered();
  }

  /** It let an attempt wait for all of its time. */
  unanswered({ seat, pickedAtMs }: Picked): void {
    const { service, clock, log } = this.#options;
    const { line, address } = seat.member;
    const past = line.unanswered(pickedAtMs, clock.monotonicMs());
    if (!past) return;
    log?.debug("an instance is silent: it is called on a new connection", { service, address });
    this.#lines.add(past);
    this.#retire(past);
  }

  /** Somebody else has its address: nothing goes there until other instances are told of, as long as there is another. */
  misdirect({ seat }: Picked): void {
    this.#misdirected.add(seat.member.id);
  }

  describe(): readonly InstanceDescription[] {
    return this.#balancer.seats.map(({ member, inFlight, latencyMs, ejected, ejectedFor }) => {
      const { id, address, zone, weight } = member;
      const state = this.#misdirected.has(id) ? "misdirected" : ejected ? "ejected" : "ready";
      return { id, address, zone, weight, inFlight, latencyMs, state, ejectedFor };
    });
  }

  circuits(): readonly CircuitDescription[] {
    const tripped = this.#breaker?.tripped() ?? [];
    return tripped.map(({ instance, operation: method, state, calls, failures, retryAfterMs }) => ({
      instance,
      method,
      state,
      calls,
      failures,
      retryAfterMs,
    }));
  }

  /** Follows nobody any more, and closes all channels: in order as far as `signal` lets it. */
  async close(signal: AbortSignal): Promise<void> {
    this.#following.close();
    this.#answer();
    await Promise.all([...this.#lines].map((line) => line.close(signal)));
    await Promise.all(this.#retiring);
    this.#balancer.replace([]);
  }

  #answer(): void {
    this.#patience.cancel();
    this.#waits = false;
    this.#answered.resolve();
  }

  #absence(called: Called): AppError {
    const { service, transport, firstAnswerMs, find } = this.#options;
    if (this.isKnown || this.#failure) {
      const why = this.#failure === undefined ? "" : `: ${this.#failure.message}`;
      return nobody(
        called,
        `the registry knows no instance of ${service} that speaks ${transport}${why}`,
        this.#failure,
      );
    }
    if (!("registry" in find)) return nobody(called, `there is no instance of ${service}`);
    const missing = `the registry has not told within ${firstAnswerMs} ms who serves ${service}`;
    return nobody(called, `${missing}; look whether it can be reached`);
  }

  #replace(all: readonly Place[]): void {
    const { subsetSize: size, clientId: client, open } = this.#options;
    const places = size === Infinity ? all : subset(all, { size, client });
    this.#misdirected.clear();
    const before = new Map(this.#balancer.seats.map(({ member }) => [member.id, member]));
    const members: Target[] = [];
    for (const place of places) {
      const line = before.get(place.id)?.line ?? new Line(() => open(place.address));
      members.push({ ...place, line });
      this.#lines.add(line);
      before.delete(place.id);
    }
    this.#balancer.replace(members);
    for (const { id, line } of before.values()) {
      this.#breaker?.forget(id);
      this.#retire(line);
    }
  }

  /** What is under way on it goes on to its end. */
  #retire(line: Line): void {
    const { service, log } = this.#options;
    const closed = line
      .close(never)
      .catch((error: unknown) => log?.warn("the channel to an instance that left did not close", { service, error }))
      .finally(() => {
        this.#lines.delete(line);
        this.#retiring.delete(closed);
      });
    this.#retiring.add(closed);
  }
}
