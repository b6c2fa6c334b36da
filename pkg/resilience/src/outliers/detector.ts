import { requireNumber, requireWhole, systemClock, withDefaults } from "@plinth/kernel";
import { StallGuard } from "../stall-guard.ts";
import type { EjectReason, OutlierDetector, OutlierOptions, Outcome, Suspect } from "./types.ts";

type Rules = { readonly [K in keyof OutlierOptions]-?: NonNullable<OutlierOptions[K]> };

const outlierDefaults: Omit<Rules, "clock" | "random"> = Object.freeze({
  localFailures: 3,
  failures: 5,
  intervalMs: 10_000,
  ejectMs: 5_000,
  maxEjectMs: 300_000,
  maxEjectedRatio: 0.5,
  panicRatio: 0.5,
  rateMinMembers: 5,
  rateMinCalls: 100,
  rateDeviations: 1.9,
  rateGap: 0.1,
});

/** An ejection lasts up to this share longer. */
const jitterRatio = 0.1;

/**
 * Outlier detection after Envoy's: failures in a row, those without an answer and those with one apart, and success rates far below
 * the others'. Ejections last twice as long each time, are forgiven one by one, and never take more than a share of the members.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range.
 * @see Envoy, outlier detection: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier
 * @example
 * const suspect = detector.add("users-1");
 * if (detector.record(suspect, "local_failure", elapsedMs)) log.warn("ejected");
 */
export function createOutlierDetector(options: OutlierOptions = {}): OutlierDetector {
  const { clock = systemClock, random = Math.random } = options;
  const rules: Rules = { ...withDefaults(outlierDefaults, options), clock, random };
  requireCount("localFailures", rules.localFailures);
  requireCount("failures", rules.failures);
  requireNumber("intervalMs", rules.intervalMs, { min: 1 });
  requireNumber("ejectMs", rules.ejectMs, { min: 1 });
  requireNumber("maxEjectMs", rules.maxEjectMs, { min: rules.ejectMs });
  requireNumber("maxEjectedRatio", rules.maxEjectedRatio, { min: 0, max: 1 });
  requireNumber("panicRatio", rules.panicRatio, { min: 0, max: 1 });
  requireCount("rateMinMembers", rules.rateMinMembers);
  requireCount("rateMinCalls", rules.rateMinCalls);
  requireNumber("rateDeviations", rules.rateDeviations, { min: 0 });
  requireNumber("rateGap", rules.rateGap, { min: 0, max: 1 });
  return new Detector(rules);
}

/** A whole number from 1, or `Infinity`. */
function requireCount(name: string, value: number): void {
  if (value !== Infinity) requireWhole(name, value, { min: 1 });
}

class Detector implements OutlierDetector {
  readonly #rules: Rules;
  readonly #stalls = new StallGuard();
  #suspects: OwnSuspect[] = [];
  ejected = 0;
  /** When the first ejected one returns; Infinity when none is. */
  #nextReturnAtMs = Infinity;
  #nextCompareAtMs: number;

  constructor(rules: Rules) {
    this.#rules = rules;
    this.#nextCompareAtMs = rules.clock.monotonicMs() + rules.intervalMs;
  }

  get suspects(): readonly Suspect[] {
    return this.#suspects;
  }

  get isPanicking(): boolean {
    const count = this.#suspects.length;
    return this.ejected > 0 && count - this.ejected < count * this.#rules.panicRatio;
  }

  add(id: string): Suspect {
    const suspect = new OwnSuspect(id);
    this.#suspects.push(suspect);
    return suspect;
  }

  remove(suspects: readonly Suspect[]): void {
    const gone = new Set(suspects);
    this.#suspects = this.#suspects.filter((suspect) => !gone.has(suspect));
    const out = this.#suspects.filter(isGuessed).toSorted((a, b) => b.returnsAtMs - a.returnsAtMs);
    const condemned = this.#suspects.filter(isEjected).length - out.length;
    for (const suspect of out.slice(Math.max(0, this.#maxEjected() - condemned)))
      this.#takeBack(suspect, this.#rules.clock.monotonicMs());
    this.#recount();
  }

  record(suspect: Suspect, outcome: Outcome, elapsedMs: number, nowMs = this.#rules.clock.monotonicMs()): boolean {
    if (!isOwn(suspect)) return false;
    this.#stalls.touch(nowMs);
    if (outcome === "unknown") return false;
    if (outcome === "success") {
      suspect.calls++;
      suspect.successes++;
      suspect.localFailures = 0;
      suspect.failures = 0;
      return false;
    }
    if (this.#isExplainedByGap(suspect, nowMs - elapsedMs)) return false;
    suspect.calls++;
    if (outcome === "failure") {
      suspect.localFailures = 0; // it answered
      suspect.failures++;
    } else suspect.localFailures++;
    if (suspect.ejectedFor !== undefined) return false;
    const { localFailures, failures } = this.#rules;
    if (suspect.localFailures >= localFailures) return this.#eject(suspect, "local_failures", nowMs);
    if (suspect.failures >= failures) return this.#eject(suspect, "failures", nowMs);
    return false;
  }

  condemn(suspect: Suspect): boolean {
    if (!isOwn(suspect) || suspect.ejectedFor === "health_check" || !this.#suspects.includes(suspect)) return false;
    suspect.ejectedFor = "health_check";
    suspect.returnsAtMs = Infinity;
    this.#recount();
    return true;
  }

  readmit(suspect: Suspect): boolean {
    if (!isOwn(suspect) || !isEjected(suspect)) return false;
    this.#takeBack(suspect, this.#rules.clock.monotonicMs());
    suspect.localFailures = 0;
    suspect.failures = 0;
    this.#recount();
    return true;
  }

  sweep(nowMs = this.#rules.clock.monotonicMs()): boolean {
    this.#stalls.touch(nowMs);
    const hasReturned = nowMs >= this.#nextReturnAtMs && this.#takeBackDue(nowMs);
    const hasEjected = nowMs >= this.#nextCompareAtMs && this.#compare(nowMs);
    return hasReturned || hasEjected;
  }

  #isExplainedByGap(suspect: OwnSuspect, beganAtMs: number): boolean {
    const { gapEndedAtMs } = this.#stalls;
    if (beganAtMs >= gapEndedAtMs) return false;
    if (suspect.countedGapMs === gapEndedAtMs) return true;
    suspect.countedGapMs = gapEndedAtMs;
    return false;
  }

  #maxEjected(): number {
    const count = this.#suspects.length;
    return Math.min(count - 1, Math.max(1, Math.floor(count * this.#rules.maxEjectedRatio)));
  }

  #eject(suspect: OwnSuspect, reason: EjectReason, nowMs: number): boolean {
    if (this.ejected >= this.#maxEjected() || !this.#suspects.includes(suspect)) return false;
    const { ejectMs, maxEjectMs, intervalMs, random } = this.#rules;
    const forgiven = Math.floor((nowMs - suspect.returnedAtMs) / intervalMs);
    const before = Math.max(0, suspect.ejections - forgiven);
    const lengthMs = Math.min(maxEjectMs, ejectMs * 2 ** before);
    suspect.ejectedFor = reason;
    suspect.ejections = before + 1;
    suspect.returnsAtMs = nowMs + lengthMs * (1 + random() * jitterRatio);
    this.ejected++;
    this.#nextReturnAtMs = Math.min(this.#nextReturnAtMs, suspect.returnsAtMs);
    return true;
  }

  /** It is on probation: one more failure of the kind ejects it again, for longer. */
  #takeBack(suspect: OwnSuspect, nowMs: number): void {
    const { localFailures, failures } = this.#rules;
    suspect.localFailures = suspect.ejectedFor === "local_failures" ? localFailures - 1 : 0;
    suspect.failures = suspect.ejectedFor === "failures" ? failures - 1 : 0;
    suspect.calls = 0;
    suspect.successes = 0;
    suspect.ejectedFor = undefined;
    suspect.returnsAtMs = 0;
    suspect.returnedAtMs = nowMs;
  }

  #takeBackDue(nowMs: number): boolean {
    for (const suspect of this.#suspects)
      if (isEjected(suspect) && suspect.returnsAtMs <= nowMs) this.#takeBack(suspect, nowMs);
    this.#recount();
    return true;
  }

  #recount(): void {
    this.ejected = 0;
    this.#nextReturnAtMs = Infinity;
    for (const suspect of this.#suspects) {
      if (!isEjected(suspect)) continue;
      this.ejected++;
      this.#nextReturnAtMs = Math.min(this.#nextReturnAtMs, suspect.returnsAtMs);
    }
  }

  /** Ejects whose success rate in the interval that has ended is far below the others', the worst first. */
  #compare(nowMs: number): boolean {
    const { intervalMs, rateMinMembers, rateMinCalls, rateDeviations, rateGap } = this.#rules;
    this.#nextCompareAtMs = nowMs + intervalMs;
    const compared = this.#suspects.filter((suspect) => !isEjected(suspect) && suspect.calls >= rateMinCalls);
    let hasEjected = false;
    if (compared.length >= rateMinMembers) {
      const rates = compared.map(rateOf);
      const mean = rates.reduce((sum, rate) => sum + rate, 0) / rates.length;
      const variance = rates.reduce((sum, rate) => sum + (rate - mean) ** 2, 0) / rates.length;
      const least = mean - Math.max(rateGap, rateDeviations * Math.sqrt(variance));
      const outliers = compared.filter((suspect) => rateOf(suspect) < least).toSorted((a, b) => rateOf(a) - rateOf(b));
      for (const suspect of outliers) hasEjected = this.#eject(suspect, "success_rate", nowMs) || hasEjected;
    }
    for (const suspect of this.#suspects) {
      suspect.calls = 0;
      suspect.successes = 0;
    }
    return hasEjected;
  }
}

/** Suspects are made here only, so that the check is of the class alone. */
function isOwn(suspect: Suspect): suspect is OwnSuspect {
  return suspect instanceof OwnSuspect;
}

const isEjected = ({ ejectedFor }: Suspect): boolean => ejectedFor !== undefined;
/** Ejected for what was seen of it in passing. */
const isGuessed = (suspect: Suspect): boolean => isEjected(suspect) && suspect.ejectedFor !== "health_check";
const rateOf = ({ calls, successes }: OwnSuspect): number => successes / calls;

class OwnSuspect implements Suspect {
  readonly id: string;
  ejectedFor: EjectReason | undefined;
  /** As of the latest one; what was forgiven since is worked out at the next. */
  ejections = 0;
  returnsAtMs = 0;
  returnedAtMs = 0;
  /** In a row. */
  localFailures = 0;
  /** In a row, answers without one between that was none. */
  failures = 0;
  /** In this interval. */
  calls = 0;
  successes = 0;
  /** Which gap a failure was counted for. */
  countedGapMs = -Infinity;

  constructor(id: string) {
    this.id = id;
  }
}
