import { hash32, pairHash } from "./hash.ts";
import type { OwnSeat } from "./own-seat.ts";
import type { BalancingPolicy, Member, PickWish, Seat } from "./types.ts";
import { WeightedDraw } from "./weighted-draw.ts";

/** What the policies of one balancer go by. */
export interface PolicyRules {
  readonly random: () => number;
  readonly decayMs: number;
  readonly slowStartMs: number;
  readonly hashBound: number;
}

/** Chooses among the seats that are open now, of which there is at least one. */
export interface Policy<T extends Member> {
  choose(nowMs: number, wish: PickWish<T> | undefined): OwnSeat<T>;
  /** What is wrong with a seat as things are, to compare it with one of another policy. */
  costOf(seat: OwnSeat<T>, nowMs: number): number;
}

/** A policy over these seats; made anew when they change. `inFlight` tells the work in flight at all of them. */
export function toPolicy<T extends Member>(
  name: BalancingPolicy,
  seats: readonly OwnSeat<T>[],
  rules: PolicyRules,
  inFlight: () => number,
): Policy<T> {
  switch (name) {
    case "p2c-ewma":
      return new TwoChoices(seats, rules);
    case "round-robin":
      return new SmoothRoundRobin(seats, rules);
    case "consistent-hash":
      return new BoundedRendezvous(seats, rules, inFlight);
  }
}

/** So much in flight is no load that a key would leave its member for, whatever the others have. */
const lightLoad = 8;

type Avoid<T extends Member> = ((seat: Seat<T>) => boolean) | undefined;

/**
 * The better of two drawn by weight. A seat in its slow start that is drawn gives way to the other as often as its share says.
 * @see Mitzenmacher, The Power of Two Choices in Randomized Load Balancing: https://doi.org/10.1109/71.963420
 */
class TwoChoices<T extends Member> implements Policy<T> {
  readonly #seats: readonly OwnSeat<T>[];
  readonly #rules: PolicyRules;
  readonly #draw: WeightedDraw;

  constructor(seats: readonly OwnSeat<T>[], rules: PolicyRules) {
    this.#seats = seats;
    this.#rules = rules;
    this.#draw = new WeightedDraw(
      Float64Array.from(seats, ({ weight }) => weight),
      rules.random,
    );
  }

  choose(nowMs: number, wish: PickWish<T> | undefined): OwnSeat<T> {
    const index = this.#draw.draw();
    const a = seatAt(this.#seats, index);
    const b = seatAt(this.#seats, this.#draw.drawOther(index));
    if (wish?.avoid) return this.#chooseOther(a, b, nowMs, wish.avoid);
    if (a === b) return a;
    const shareOfA = this.#shareOf(a, nowMs);
    if (shareOfA < 1 && this.#rules.random() >= shareOfA) return b;
    const shareOfB = this.#shareOf(b, nowMs);
    if (shareOfB < 1 && this.#rules.random() >= shareOfB) return a;
    const { decayMs } = this.#rules;
    return b.costAt(nowMs, shareOfB, decayMs) < a.costAt(nowMs, shareOfA, decayMs) ? b : a;
  }

  costOf(seat: OwnSeat<T>, nowMs: number): number {
    return seat.costAt(nowMs, this.#shareOf(seat, nowMs), this.#rules.decayMs);
  }

  #chooseOther(a: OwnSeat<T>, b: OwnSeat<T>, nowMs: number, avoid: (seat: Seat<T>) => boolean): OwnSeat<T> {
    const isAOut = avoid(a);
    const isBOut = avoid(b);
    if (!isAOut && !isBOut) return this.costOf(b, nowMs) < this.costOf(a, nowMs) ? b : a;
    if (!isAOut) return a;
    if (!isBOut) return b;
    let best: OwnSeat<T> | undefined;
    for (const seat of this.#seats)
      if (!avoid(seat) && (!best || this.costOf(seat, nowMs) < this.costOf(best, nowMs))) best = seat;
    return best ?? a;
  }

  #shareOf(seat: OwnSeat<T>, nowMs: number): number {
    return seat.shareAt(nowMs, this.#rules.slowStartMs);
  }
}

/**
 * In turn by weight, spread as evenly as the weights allow: a, a, b, a, c and not a, a, a, b, c.
 * @see nginx, smooth weighted balancing: https://github.com/nginx/nginx/commit/52327e0627f49dbda1e8db695e63a4b0af4448b1
 */
class SmoothRoundRobin<T extends Member> implements Policy<T> {
  readonly #seats: readonly OwnSeat<T>[];
  readonly #rules: PolicyRules;

  constructor(seats: readonly OwnSeat<T>[], rules: PolicyRules) {
    this.#seats = seats;
    this.#rules = rules;
  }

  choose(nowMs: number, wish: PickWish<T> | undefined): OwnSeat<T> {
    const avoid = wish?.avoid;
    let best: OwnSeat<T> | undefined;
    let bestTurn = -Infinity;
    let total = 0;
    for (const seat of this.#seats) {
      if (avoid?.(seat) === true) continue;
      const weight = seat.weight * seat.shareAt(nowMs, this.#rules.slowStartMs);
      total += weight;
      seat.turn += weight;
      if (seat.turn <= bestTurn) continue;
      best = seat;
      bestTurn = seat.turn;
    }
    if (!best) return seatAt(this.#seats, 0);
    best.turn -= total;
    return best;
  }

  costOf(seat: OwnSeat<T>, nowMs: number): number {
    return seat.load(seat.shareAt(nowMs, this.#rules.slowStartMs));
  }
}

/**
 * The member that a key likes best, by rendezvous hashing: each key has an order of its own of all members, so that only the keys
 * of a member that leaves go elsewhere, and one that joins takes its share evenly from all. A member with its bound of work in flight
 * is passed over for the next that the key likes. Time in proportion to the number of members: use a subset of large fleets.
 * @see Thaler and Ravishankar, Using name-based mappings to increase hit rates: https://doi.org/10.1109/90.663936
 * @see Mirrokni, Thorup, Zadimoghaddam, Consistent Hashing with Bounded Loads: https://arxiv.org/abs/1608.01350
 */
class BoundedRendezvous<T extends Member> implements Policy<T> {
  readonly #seats: readonly OwnSeat<T>[];
  readonly #keyless: Policy<T>;
  readonly #hashBound: number;
  readonly #inFlight: () => number;
  readonly #totalWeight: number;
  readonly #isEven: boolean;

  constructor(seats: readonly OwnSeat<T>[], rules: PolicyRules, inFlight: () => number) {
    this.#seats = seats;
    this.#keyless = new TwoChoices(seats, rules);
    this.#hashBound = rules.hashBound;
    this.#inFlight = inFlight;
    this.#totalWeight = seats.reduce((sum, { weight }) => sum + weight, 0);
    this.#isEven = seats.every(({ weight }) => weight === seats[0]?.weight);
  }

  choose(nowMs: number, wish: PickWish<T> | undefined): OwnSeat<T> {
    if (wish?.key === undefined) return this.#keyless.choose(nowMs, wish);
    const hash = hash32(wish.key);
    return (
      this.#favourite(hash, { avoid: wish.avoid, isBounded: true }) ??
      this.#favourite(hash, { avoid: wish.avoid, isBounded: false }) ??
      this.#favourite(hash, { avoid: undefined, isBounded: false }) ??
      seatAt(this.#seats, 0)
    );
  }

  costOf(seat: OwnSeat<T>, nowMs: number): number {
    return this.#keyless.costOf(seat, nowMs);
  }

  #favourite(
    hash: number,
    { avoid, isBounded }: { readonly avoid: Avoid<T>; readonly isBounded: boolean },
  ): OwnSeat<T> | undefined {
    const perWeight = isBounded ? (this.#hashBound * (this.#inFlight() + 1)) / this.#totalWeight : Infinity;
    let best: OwnSeat<T> | undefined;
    let bestScore = -Infinity;
    for (const seat of this.#seats) {
      if (seat.inFlight >= Math.max(lightLoad, Math.ceil(perWeight * seat.weight)) || avoid?.(seat) === true) continue;
      const pair = pairHash(hash, seat.idHash);
      const score = this.#isEven ? pair : seat.weight / -Math.log((pair + 0.5) / 2 ** 32);
      if (score <= bestScore) continue;
      best = seat;
      bestScore = score;
    }
    return best;
  }
}

function seatAt<T extends Member>(seats: readonly OwnSeat<T>[], index: number): OwnSeat<T> {
  const seat = seats[index];
  if (!seat) throw new RangeError(`there is no seat ${index} of ${seats.length}`);
  return seat;
}
