import type { Clock } from "@plinth/kernel";
import type { EjectReason, OutlierOptions, Outcome } from "../outliers/types.ts";

/** What a {@link Balancer} chooses among. */
export interface Member {
  /** Unique in the set; state is kept for an id that stays. */
  readonly id: string;
  /** Share of the work relative to its peers, above 0. Default 1. */
  readonly weight?: number | undefined;
  /** Failure domain that it is in. */
  readonly zone?: string | undefined;
}

/** One member's place in the balancer. */
export interface Seat<T extends Member> {
  readonly member: T;
  /** Picked and not yet released. */
  readonly inFlight: number;
  /** What it lets us wait, smoothed, in milliseconds; undefined before anything is known. */
  readonly latencyMs: number | undefined;
  /** Whether it is kept out for now. */
  readonly ejected: boolean;
  readonly ejectedFor: EjectReason | undefined;
}

/** What one pick asks for. Make one for each call, and only when there is something to ask. */
export interface PickWish<T extends Member> {
  /** Same key, same member, as far as the set stays: for `consistent-hash`. */
  readonly key?: string | undefined;
  /** Members to leave out as long as there is another, as those tried before. */
  readonly avoid?: ((seat: Seat<T>) => boolean) | undefined;
}

/**
 * - `p2c-ewma`: of two drawn by weight, the one with less smoothed latency × (work in flight by weight + 1)
 * - `round-robin`: in turn, by weight, smoothly
 * - `consistent-hash`: by the pick's key, with bounded loads; without a key as `p2c-ewma`
 */
export type BalancingPolicy = "p2c-ewma" | "round-robin" | "consistent-hash";

export interface BalancerOptions {
  /** Default `p2c-ewma`. */
  readonly policy?: BalancingPolicy | undefined;
  /** Default: the system's. Only its monotonic time is read. */
  readonly clock?: Clock | undefined;
  /** Source of choice in [0, 1). Tests pass a fixed one. Default `Math.random`. */
  readonly random?: (() => number) | undefined;
  /** When members are kept out; `false`: never. */
  readonly outliers?: Omit<OutlierOptions, "clock" | "random"> | false | undefined;
  /** After how long the smoothed latency has forgotten two thirds of what was, in milliseconds above 0. Default 10_000. */
  readonly decayMs?: number | undefined;
  /** How long a member that joins or returns takes to get its whole share, in milliseconds; 0: at once. Default 10_000. */
  readonly slowStartMs?: number | undefined;
  /** The zone that we are in: its members come first. Default: all zones are one. */
  readonly zone?: string | undefined;
  /** Work spills over to another zone when there it would cost this many times less, 1 or more. Default 2. */
  readonly spillOver?: number | undefined;
  /** `consistent-hash`: no member with more than 8 in flight has more than this many times its share, above 1; `Infinity`: unbounded. Default 1.25. */
  readonly hashBound?: number | undefined;
}

/** Chooses the member for each piece of work. A pure state machine: no timers. */
export interface Balancer<T extends Member> {
  /** The members from now on. State of the ids that stay is kept; a member given anew under its id replaces the old. */
  replace(members: readonly T[]): void;
  readonly seats: readonly Seat<T>[];
  /** So many are ejected that the rest could not bear the load: ejected ones are used too. */
  readonly isPanicking: boolean;
  /**
   * Counts the chosen one as in flight until released.
   * @returns Undefined when there are no members.
   */
  pick(wish?: PickWish<T>): Seat<T> | undefined;
  /**
   * Call once for each pick.
   * @param elapsedMs - Since the pick, in milliseconds.
   * @param latencyMs - How long it let us wait, when that is less, as until the head of a long reply. Default `elapsedMs`.
   */
  release(seat: Seat<T>, outcome: Outcome, elapsedMs: number, latencyMs?: number): void;
  /** Keeps a member out until it is readmitted, as when probes find that it does not serve. With `outliers: false` it has no effect. */
  condemn(id: string): void;
  /** Takes an ejected member back before its time, as when a probe says that it is well. */
  readmit(id: string): void;
}
