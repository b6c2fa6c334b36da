import type { EjectReason, Suspect } from "../outliers/types.ts";
import { hash32 } from "./hash.ts";
import type { Member, Seat } from "./types.ts";

/** What one millisecond of latency is worth in a cost: below it differences say nothing, and a cost is never 0. */
const baseMs = 1;
/** A failure counts as so many times the latency that was known: what fails fast is not fast. */
const failurePenalty = 3;
/** No latency counts as more. */
const maxLatencyMs = 60_000;
/** In the place of a latency. */
const unknown = -1;
/** The share that a slow start begins with. */
const firstShare = 0.1;

/** A seat as the balancer keeps it: load, smoothed latency and slow start of one member. */
export class OwnSeat<T extends Member> implements Seat<T> {
  member: T;
  weight = 1;
  inFlight = 0;
  /** Left the set while it was in use. */
  isGone = false;
  suspect: Suspect | undefined;
  /** As of when it was last looked who is ejected. */
  wasEjected = false;
  /** Weight by the mean of all. */
  relativeWeight = 1;
  readonly idHash: number;
  /** What smooth round robin has given it and not yet taken. */
  turn = 0;
  /** A plain number in all states, so that none is put on the heap with each call. */
  #latencyMs = unknown;
  #latencyAtMs: number;
  /** Before, it gets a share that grows. */
  #rampEndsAtMs = -Infinity;

  constructor(member: T, nowMs: number) {
    this.member = member;
    this.idHash = hash32(member.id);
    this.#latencyAtMs = nowMs;
  }

  get latencyMs(): number | undefined {
    return this.#latencyMs < 0 ? undefined : this.#latencyMs;
  }

  get ejected(): boolean {
    return this.suspect?.ejectedFor !== undefined;
  }

  get ejectedFor(): EjectReason | undefined {
    return this.suspect?.ejectedFor;
  }

  /** Begins with what others have, for lack of anything of its own. */
  adoptLatency(latencyMs: number | undefined, nowMs: number): void {
    this.#latencyMs = latencyMs ?? unknown;
    this.#latencyAtMs = nowMs;
  }

  startSlowly(untilMs: number): void {
    this.#rampEndsAtMs = untilMs;
  }

  /** How much of its weight counts now: less than 1 during a slow start. */
  shareAt(nowMs: number, slowStartMs: number): number {
    const leftMs = this.#rampEndsAtMs - nowMs;
    return leftMs <= 0 ? 1 : Math.max(firstShare, 1 - leftMs / slowStartMs);
  }

  /** What a piece of work given to it now is likely to wait, in milliseconds, more or less. */
  costAt(nowMs: number, share: number, decayMs: number): number {
    return (this.#latencyNow(nowMs, decayMs) + baseMs) * this.load(share);
  }

  /** Work in flight by its weight, with the piece that it would be given. */
  load(share: number): number {
    return this.inFlight / (this.relativeWeight * share) + 1;
  }

  /** Smooths by time: what was weighs e^(−Δt / decayMs). */
  addLatency(latencyMs: number, nowMs: number, decayMs: number): void {
    const known = this.#latencyMs;
    const sampleMs = Math.min(maxLatencyMs, Math.max(0, latencyMs));
    const kept = known < 0 ? 0 : Math.exp((this.#latencyAtMs - nowMs) / decayMs);
    this.#latencyMs = sampleMs + (known - sampleMs) * kept;
    this.#latencyAtMs = nowMs;
  }

  /** @param usualMs - What all members let us wait: one that never succeeded has no latency of its own. */
  addFailure(latencyMs: number, nowMs: number, decayMs: number, usualMs: number): void {
    const knownMs = Math.max(baseMs, usualMs, this.#latencyMs);
    this.addLatency(Math.max(latencyMs, failurePenalty * knownMs), nowMs, decayMs);
  }

  /** Broken off: it would have taken at least so long. */
  addUnfinished(latencyMs: number, nowMs: number, decayMs: number): void {
    if (this.#latencyMs >= 0 && latencyMs > this.#latencyMs) this.addLatency(latencyMs, nowMs, decayMs);
  }

  /** One that rests is forgotten little by little, else it would never be tried again. One that is busy is not: it may hang. */
  #latencyNow(nowMs: number, decayMs: number): number {
    const latencyMs = Math.max(0, this.#latencyMs);
    return this.inFlight > 0 ? latencyMs : latencyMs * Math.exp((this.#latencyAtMs - nowMs) / decayMs);
  }
}
