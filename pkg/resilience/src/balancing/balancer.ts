import { type Clock, OptionError, requireNumber, systemClock } from "@plinth/kernel";
import { createOutlierDetector } from "../outliers/detector.ts";
import type { OutlierDetector, Outcome, Suspect } from "../outliers/types.ts";
import { OwnSeat } from "./own-seat.ts";
import { type Policy, type PolicyRules, toPolicy } from "./policies.ts";
import type { Balancer, BalancerOptions, BalancingPolicy, Member, PickWish, Seat } from "./types.ts";

/** Work stays in its own zone while at least this share of its members there is open. */
const minOpenInZone = 0.5;
/** What one call counts in what calls usually take. */
const usualShare = 0.02;

/**
 * Balances work over members by latency and load, in turn or by key; leaves out members that fail, starts new ones slowly, and prefers
 * those of the own zone.
 *
 * The cost of a member is its smoothed latency × (work in flight by its weight + 1). What each weighs decides how often it is
 * drawn, so that without load each gets its share, and with load each bears its share.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option, or the weight, that is out of range.
 * @see Eigler, Finagle's peak EWMA: https://twitter.github.io/finagle/guide/Clients.html#power-of-two-choices-p2c-least-loaded
 * @example
 * const seat = balancer.pick();
 * if (seat) balancer.release(seat, (await call(seat.member)) ? "success" : "local_failure", elapsedMs);
 */
export function createBalancer<T extends Member>(options: BalancerOptions = {}): Balancer<T> {
  return new SeatBalancer<T>(options);
}

class SeatBalancer<T extends Member> implements Balancer<T> {
  readonly #clock: Clock;
  readonly #policyName: BalancingPolicy;
  readonly #rules: PolicyRules;
  readonly #detector: OutlierDetector | undefined;
  readonly #zone: string | undefined;
  readonly #spillOver: number;
  readonly #readInFlight = (): number => this.#inFlight;
  #inFlight = 0;
  /** What calls that succeed take, whoever answers. */
  #usualMs = 0;
  #seats: OwnSeat<T>[] = [];
  /** Undefined when there are no members. */
  #policy: Policy<T> | undefined;
  /** Of the other zones, while the own one comes first. */
  #elsewhere: Policy<T> | undefined;

  constructor(options: BalancerOptions) {
    const { policy = "p2c-ewma", clock = systemClock, random = Math.random, outliers = {}, zone } = options;
    const { decayMs = 10_000, slowStartMs = 10_000, spillOver = 2, hashBound = 1.25 } = options;
    requireNumber("decayMs", decayMs, { min: 1 });
    requireNumber("slowStartMs", slowStartMs, { min: 0 });
    requireNumber("spillOver", spillOver, { min: 1 });
    requireNumber("hashBound", hashBound, { min: 1 + Number.EPSILON });
    this.#policyName = policy;
    this.#clock = clock;
    this.#rules = { random, decayMs, slowStartMs, hashBound };
    this.#zone = zone;
    this.#spillOver = spillOver;
    this.#detector = outliers === false ? undefined : createOutlierDetector({ ...outliers, clock, random });
  }

  get seats(): readonly Seat<T>[] {
    return this.#seats;
  }

  get isPanicking(): boolean {
    return this.#detector?.isPanicking ?? false;
  }

  replace(members: readonly T[]): void {
    for (const { id, weight = 1 } of members) requireWeight(id, weight);
    const nowMs = this.#clock.monotonicMs();
    const known = new Map(this.#seats.map((seat) => [seat.member.id, seat]));
    const usualMs = median(this.#seats.map(({ latencyMs }) => latencyMs).filter((ms) => ms !== undefined));
    const next = new Map<string, OwnSeat<T>>();
    for (const member of members) {
      const seat = known.get(member.id) ?? this.#join(member, { nowMs, usualMs, isFirst: known.size === 0 });
      seat.member = member;
      seat.weight = member.weight ?? 1;
      next.set(member.id, seat);
    }
    const gone = this.#seats.filter(({ member }) => !next.has(member.id));
    for (const seat of gone) seat.isGone = true;
    this.#seats = [...next.values()];
    this.#detector?.remove(gone.map(({ suspect }) => suspect).filter((suspect) => suspect !== undefined));
    const mean = this.#seats.reduce((sum, { weight }) => sum + weight, 0) / this.#seats.length;
    for (const seat of this.#seats) seat.relativeWeight = seat.weight / mean;
    this.#recount(nowMs);
  }

  pick(wish?: PickWish<T>): Seat<T> | undefined {
    const nowMs = this.#clock.monotonicMs();
    if (this.#detector?.sweep(nowMs) === true) this.#recount(nowMs);
    const policy = this.#policy;
    if (!policy) return undefined;
    let seat = policy.choose(nowMs, wish);
    if (this.#elsewhere) seat = this.#spill(seat, this.#elsewhere, nowMs, wish);
    if (wish?.avoid?.(seat) === true) seat = this.#leastLoaded(wish.avoid) ?? seat;
    seat.inFlight++;
    this.#inFlight++;
    return seat;
  }

  release(seat: Seat<T>, outcome: Outcome, elapsedMs: number, latencyMs = elapsedMs): void {
    if (!isOwn(seat)) return;
    seat.inFlight--;
    this.#inFlight--;
    const nowMs = this.#clock.monotonicMs();
    const { decayMs } = this.#rules;
    if (outcome === "success") {
      seat.addLatency(latencyMs, nowMs, decayMs);
      this.#usualMs += (latencyMs - this.#usualMs) * usualShare;
    } else if (outcome === "unknown") seat.addUnfinished(latencyMs, nowMs, decayMs);
    else seat.addFailure(latencyMs, nowMs, decayMs, this.#usualMs);
    if (seat.suspect && !seat.isGone && this.#detector?.record(seat.suspect, outcome, elapsedMs, nowMs) === true)
      this.#recount(nowMs);
  }

  condemn(id: string): void {
    const suspect = this.#suspectOf(id);
    if (suspect && this.#detector?.condemn(suspect) === true) this.#recount(this.#clock.monotonicMs());
  }

  readmit(id: string): void {
    const suspect = this.#suspectOf(id);
    if (suspect && this.#detector?.readmit(suspect) === true) this.#recount(this.#clock.monotonicMs());
  }

  #suspectOf(id: string): Suspect | undefined {
    return this.#seats.find(({ member }) => member.id === id)?.suspect;
  }

  /** The first members are all new alike; one that joins others begins slowly, with what they let us wait. */
  #join(
    member: T,
    {
      nowMs,
      usualMs,
      isFirst,
    }: { readonly nowMs: number; readonly usualMs: number | undefined; readonly isFirst: boolean },
  ): OwnSeat<T> {
    const seat = new OwnSeat(member, nowMs);
    seat.suspect = this.#detector?.add(member.id);
    seat.adoptLatency(usualMs, nowMs);
    if (!isFirst) seat.startSlowly(nowMs + this.#rules.slowStartMs);
    return seat;
  }

  /** Who may be picked has changed. */
  #recount(nowMs: number): void {
    for (const seat of this.#seats) {
      if (seat.wasEjected && !seat.ejected) seat.startSlowly(nowMs + this.#rules.slowStartMs);
      seat.wasEjected = seat.ejected;
    }
    const open = this.isPanicking ? this.#seats : this.#seats.filter(({ ejected }) => !ejected);
    const inZone = this.#openInZone(open);
    this.#policy = this.#toPolicy(inZone ?? open);
    this.#elsewhere = inZone && this.#toPolicy(open.filter(({ member }) => member.zone !== this.#zone));
  }

  #toPolicy(seats: readonly OwnSeat<T>[]): Policy<T> | undefined {
    return seats.length > 0 ? toPolicy(this.#policyName, seats, this.#rules, this.#readInFlight) : undefined;
  }

  /** Those that come first for their zone; undefined when there are none, or too few are left of them. A key knows no zones. */
  #openInZone(open: readonly OwnSeat<T>[]): readonly OwnSeat<T>[] | undefined {
    const zone = this.#zone;
    if (zone === undefined || this.#policyName === "consistent-hash") return undefined;
    const all = this.#seats.filter(({ member }) => member.zone === zone).length;
    const own = open.filter(({ member }) => member.zone === zone);
    return own.length > 0 && own.length >= all * minOpenInZone ? own : undefined;
  }

  /** Elsewhere, when that would cost so much less. */
  #spill(own: OwnSeat<T>, elsewhere: Policy<T>, nowMs: number, wish: PickWish<T> | undefined): OwnSeat<T> {
    const isUnwanted = wish?.avoid?.(own) === true;
    // Most seats are idle enough that nothing could cost so much less: nobody else is looked for then.
    if (!isUnwanted && own.inFlight === 0) return own;
    const other = elsewhere.choose(nowMs, wish);
    return isUnwanted || elsewhere.costOf(own, nowMs) > this.#spillOver * elsewhere.costOf(other, nowMs) ? other : own;
  }

  /** Of all, ejected ones too. */
  #leastLoaded(avoid: (seat: Seat<T>) => boolean): OwnSeat<T> | undefined {
    let best: OwnSeat<T> | undefined;
    for (const seat of this.#seats) if (!avoid(seat) && (!best || seat.load(1) < best.load(1))) best = seat;
    return best;
  }
}

/** Seats are made here only, so that the check is of the class alone. */
function isOwn<T extends Member>(seat: Seat<T>): seat is OwnSeat<T> {
  return seat instanceof OwnSeat;
}

function requireWeight(id: string, weight: number): void {
  if (weight > 0 && weight < Infinity) return;
  throw new OptionError(
    "ERR_OPTION_RANGE",
    "invalid_argument",
    `the weight of ${id} must be a number above 0, not ${weight}`,
  );
}

/** The upper of two in the middle; undefined of nothing. */
function median(values: readonly number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
