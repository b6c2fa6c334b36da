import { type Clock, requireNumber, requireWhole, systemClock } from "@plinth/kernel";

/** What a {@link Balancer} chooses among. */
export interface Member {
  /** Unique in the set; state is kept for an id that stays. */
  readonly id: string;
}

/** One member's place in the balancer. */
export interface Seat<T extends Member> {
  readonly member: T;
  /** Picked and not yet released. */
  readonly inFlight: number;
  /** Whether it is kept out for now. */
  readonly ejected: boolean;
}

/** How work on a member ended: it answered; it could not be reached; or neither can be told, as when the caller left. */
export type Outcome = "reached" | "unreachable" | "unknown";

export interface BalancerOptions {
  /** Default: the system's. Only its monotonic time is read. */
  readonly clock?: Clock;
  /** Source of choice in [0, 1). Tests pass a fixed one. Default `Math.random`. */
  readonly random?: () => number;
  /** A member that could not be reached this many times in a row is ejected, 1 or more. Default 3. */
  readonly ejectAfter?: number;
  /** How long the first time, in milliseconds, 1 or more; doubles with each ejection without a success between. Default 5_000. */
  readonly ejectMs?: number;
  /** No ejection is longer, in milliseconds. Default 300_000. */
  readonly maxEjectMs?: number;
  /** Largest share of members ejected at one time, 0 to 1. At least one may be, and at least one never is. Default 0.5. */
  readonly maxEjectedRatio?: number;
}

/** Chooses the member for each piece of work. A pure state machine: no timers. */
export interface Balancer<T extends Member> {
  /** The members from now on. State of the ids that stay is kept; a member given anew under its id replaces the old. */
  replace(members: readonly T[]): void;
  readonly seats: readonly Seat<T>[];
  /**
   * The less loaded of two members chosen at random, among those not ejected. Counts it as in flight until released.
   * @param except - Not this one, as long as there is another.
   * @returns Undefined when there are no members.
   */
  pick(except?: Seat<T>): Seat<T> | undefined;
  /** Call once for each pick. */
  release(seat: Seat<T>, outcome: Outcome): void;
}

class OwnSeat<T extends Member> implements Seat<T> {
  member: T;
  inFlight = 0;
  ejected = false;
  /** Unreachable this many times in a row. */
  failures = 0;
  /** Ejected this many times without a success between. */
  ejections = 0;
  returnsAtMs = 0;

  constructor(member: T) {
    this.member = member;
  }
}

/** Seats are made here only, so that the check is of the class alone. */
function isOwn<T extends Member>(seat: Seat<T>): seat is OwnSeat<T> {
  return seat instanceof OwnSeat;
}

/**
 * Balances by the power of two choices over work in flight, and leaves out members that cannot be reached.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range.
 * @see Mitzenmacher, The Power of Two Choices in Randomized Load Balancing: https://doi.org/10.1109/71.963420
 * @example
 * const seat = balancer.pick();
 * if (seat) balancer.release(seat, (await call(seat.member)) ? "reached" : "unreachable");
 */
export function createBalancer<T extends Member>(options: BalancerOptions = {}): Balancer<T> {
  return new TwoChoices<T>(options);
}

class TwoChoices<T extends Member> implements Balancer<T> {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #ejectAfter: number;
  readonly #ejectMs: number;
  readonly #maxEjectMs: number;
  readonly #maxEjectedRatio: number;
  #seats: OwnSeat<T>[] = [];
  /** Those not ejected: what is picked from. */
  #open: OwnSeat<T>[] = [];
  /** When the first ejected one returns; Infinity when none is, so that the clock is read only when needed. */
  #nextReturnAtMs = Infinity;

  constructor(options: BalancerOptions) {
    const { clock = systemClock, random = Math.random } = options;
    const { ejectAfter = 3, ejectMs = 5_000, maxEjectMs = 300_000, maxEjectedRatio = 0.5 } = options;
    requireWhole("ejectAfter", ejectAfter, { min: 1 });
    requireNumber("ejectMs", ejectMs, { min: 1 });
    requireNumber("maxEjectMs", maxEjectMs, { min: ejectMs });
    requireNumber("maxEjectedRatio", maxEjectedRatio, { min: 0, max: 1 });
    this.#clock = clock;
    this.#random = random;
    this.#ejectAfter = ejectAfter;
    this.#ejectMs = ejectMs;
    this.#maxEjectMs = maxEjectMs;
    this.#maxEjectedRatio = maxEjectedRatio;
  }

  get seats(): readonly Seat<T>[] {
    return this.#seats;
  }

  replace(members: readonly T[]): void {
    const known = new Map(this.#seats.map((seat) => [seat.member.id, seat]));
    this.#seats = members.map((member) => {
      const seat = known.get(member.id) ?? new OwnSeat(member);
      seat.member = member;
      return seat;
    });
    // Fewer members may be ejected of a smaller set: those that would return first do so now.
    const out = this.#seats.filter(({ ejected }) => ejected).toSorted((a, b) => b.returnsAtMs - a.returnsAtMs);
    for (const seat of out.slice(this.#maxEjected())) this.#readmit(seat);
    this.#recount();
  }

  pick(except?: Seat<T>): Seat<T> | undefined {
    if (this.#nextReturnAtMs !== Infinity) this.#readmitDue();
    const open = this.#open;
    const chosen = open.length > 1 ? this.#choose(open, except) : (open[0] ?? this.#seats[0]);
    const seat =
      chosen === except && this.#seats.length > 1 ? (this.#seats.find((one) => one !== except) ?? chosen) : chosen;
    if (seat) seat.inFlight++;
    return seat;
  }

  release(seat: Seat<T>, outcome: Outcome): void {
    if (!isOwn(seat)) return;
    seat.inFlight--;
    if (outcome === "reached") {
      seat.failures = 0;
      seat.ejections = 0;
    } else if (outcome === "unreachable" && !seat.ejected && ++seat.failures >= this.#ejectAfter) this.#eject(seat);
  }

  #choose(open: readonly OwnSeat<T>[], except: Seat<T> | undefined): OwnSeat<T> | undefined {
    const first = Math.floor(this.#random() * open.length);
    let second = Math.floor(this.#random() * (open.length - 1));
    if (second >= first) second++;
    const a = open[first];
    const b = open[second];
    if (a === undefined || b === undefined || b === except) return a;
    if (a === except) return b;
    return b.inFlight < a.inFlight ? b : a;
  }

  #maxEjected(): number {
    const count = this.#seats.length;
    return Math.min(count - 1, Math.max(1, Math.floor(count * this.#maxEjectedRatio)));
  }

  #eject(seat: OwnSeat<T>): void {
    if (!this.#seats.includes(seat) || this.#seats.length - this.#open.length >= this.#maxEjected()) return;
    seat.ejected = true;
    seat.returnsAtMs = this.#clock.monotonicMs() + Math.min(this.#maxEjectMs, this.#ejectMs * 2 ** seat.ejections);
    seat.ejections++;
    this.#recount();
  }

  /** It is on probation: one more failure ejects it again, for longer. */
  #readmit(seat: OwnSeat<T>): void {
    seat.ejected = false;
    seat.failures = this.#ejectAfter - 1;
  }

  #readmitDue(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#nextReturnAtMs) return;
    for (const seat of this.#seats) if (seat.ejected && seat.returnsAtMs <= nowMs) this.#readmit(seat);
    this.#recount();
  }

  #recount(): void {
    this.#open = this.#seats.filter(({ ejected }) => !ejected);
    this.#nextReturnAtMs = Infinity;
    for (const seat of this.#seats) {
      if (seat.ejected) this.#nextReturnAtMs = Math.min(this.#nextReturnAtMs, seat.returnsAtMs);
    }
  }
}
