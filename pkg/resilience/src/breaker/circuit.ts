import type { Clock } from "@plinth/kernel";
import { RollingCounts } from "../rolling-counts.ts";
import type { StallGuard } from "../stall-guard.ts";
import type { Circuit, CircuitState } from "./breaker.ts";

/** What all circuits of one breaker go by. */
export interface CircuitRules {
  readonly errorRatio: number;
  readonly minCalls: number;
  readonly windowMs: number;
  readonly openMs: number;
  readonly maxOpenMs: number;
  readonly recoveryMs: number;
  readonly clock: Clock;
  readonly stalls: StallGuard;
}

/** While it recovers so much less is enough to trip it again: few calls go through. */
const recoveryMinShare = 0.25;
/** The share that recovery begins with. */
const firstShare = 0.05;

/** One circuit: closed → open → recovering → closed, by time and by what it is told. */
export class OwnCircuit implements Circuit {
  readonly instance: string;
  readonly operation: string;
  readonly #rules: CircuitRules;
  /** Calls first, failures second. */
  readonly #counts: RollingCounts;
  /** Until when nothing goes through; recovery begins then. -Infinity: it has not tripped, or has recovered. */
  #openUntilMs = -Infinity;
  /** Trips that were not followed by a window of calm. */
  #trips = 0;
  #closedAtMs = -Infinity;
  /** Of one call, while it recovers: at 1 a call goes. */
  #credit = 0;
  /** Which gap a failure was counted for. */
  #countedGapMs = -Infinity;

  constructor(instance: string, operation: string, rules: CircuitRules) {
    this.instance = instance;
    this.operation = operation;
    this.#rules = rules;
    this.#counts = new RollingCounts(rules.windowMs, rules.clock.monotonicMs());
  }

  get state(): CircuitState {
    return this.#stateAt(this.#rules.clock.monotonicMs());
  }

  get calls(): number {
    this.#counts.advance(this.#rules.clock.monotonicMs());
    return this.#counts.first;
  }

  get failures(): number {
    this.#counts.advance(this.#rules.clock.monotonicMs());
    return this.#counts.second;
  }

  get retryAfterMs(): number {
    return Math.max(0, Math.ceil(this.#openUntilMs - this.#rules.clock.monotonicMs()));
  }

  allow(): boolean {
    const { clock, stalls, recoveryMs } = this.#rules;
    const nowMs = clock.monotonicMs();
    stalls.touch(nowMs);
    const state = this.#stateAt(nowMs);
    if (state !== "recovering") return state === "closed";
    // Shares are kept by adding up, not by drawing: the first call goes through, and of the others as many as are due.
    this.#credit += Math.max(firstShare, (nowMs - this.#openUntilMs) / recoveryMs);
    if (this.#credit < 1) return false;
    this.#credit -= 1;
    return true;
  }

  record(ok: boolean, elapsedMs: number): void {
    const { clock, stalls, errorRatio } = this.#rules;
    const nowMs = clock.monotonicMs();
    stalls.touch(nowMs);
    const state = this.#stateAt(nowMs);
    // What began before it tripped says nothing that was not known; so it is with what it let through before.
    if (state === "open" || (state === "recovering" && nowMs - elapsedMs < this.#openUntilMs)) return;
    if (!ok && this.#isExplainedByGap(nowMs - elapsedMs)) return;
    const counts = this.#counts;
    counts.advance(nowMs);
    counts.addFirst();
    if (ok) return;
    counts.addSecond();
    if (counts.first >= this.#minCalls(state) && counts.second >= counts.first * errorRatio) this.#trip(nowMs);
  }

  #isExplainedByGap(beganAtMs: number): boolean {
    const { gapEndedAtMs } = this.#rules.stalls;
    if (beganAtMs >= gapEndedAtMs) return false;
    if (this.#countedGapMs === gapEndedAtMs) return true;
    this.#countedGapMs = gapEndedAtMs;
    return false;
  }

  #minCalls(state: CircuitState): number {
    const { minCalls } = this.#rules;
    return state === "recovering" ? Math.ceil(minCalls * recoveryMinShare) : minCalls;
  }

  #stateAt(nowMs: number): CircuitState {
    if (this.#openUntilMs === -Infinity) return "closed";
    if (nowMs < this.#openUntilMs) return "open";
    const recoveredAtMs = this.#openUntilMs + this.#rules.recoveryMs;
    if (nowMs < recoveredAtMs) return "recovering";
    this.#closedAtMs = recoveredAtMs;
    this.#openUntilMs = -Infinity;
    return "closed";
  }

  #trip(nowMs: number): void {
    const { windowMs, openMs, maxOpenMs } = this.#rules;
    const isRecovering = this.#openUntilMs !== -Infinity;
    if (!isRecovering && nowMs - this.#closedAtMs >= windowMs) this.#trips = 0;
    this.#openUntilMs = nowMs + Math.min(maxOpenMs, openMs * 2 ** this.#trips);
    this.#trips++;
    this.#credit = 1;
    this.#counts.clear(nowMs);
  }
}
