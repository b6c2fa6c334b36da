import { phraseOf, refuse, requireObject } from "../app/untyped-options.ts";
import type { Clock, Scheduled } from "../clock.ts";
import { printable } from "../config/printable.ts";
import { runOutsideContext } from "../context.ts";
import { isError, messageOf } from "../errors/app-error.ts";
import { OptionError, requireNumber, requireWhole, withDefaults } from "../errors/option-error.ts";
import { toText } from "../logger/text.ts";
import type { CheckChange, CheckDetails, CheckResult, CheckSchedule, HealthCheck } from "./check.ts";

export const checkDefaults: Readonly<Record<keyof CheckSchedule, number>> = Object.freeze({
  intervalMs: 5_000,
  timeoutMs: 1_000,
  failuresToFlip: 2,
  successesToFlip: 1,
});

export interface ScheduledCheckOptions {
  readonly clock: Clock;
  /** Source of jitter in [0, 1). */
  readonly random: () => number;
  /** For what the check does not say itself. */
  readonly defaults: typeof checkDefaults;
  /** Told when it begins to fail or recovers. */
  readonly onChange: (change: CheckChange) => void;
  /** Called after each run. */
  readonly onRun: () => void;
}

interface Failure {
  readonly output: "failed" | "timed out";
  readonly cause: unknown;
}

interface Verdict {
  readonly passing: boolean;
  readonly failures: number;
  readonly successes: number;
  readonly flips: number;
  readonly sinceMs: number;
  readonly sinceEpochMs: number;
  readonly endedAtMs: number;
  readonly durationMs: number;
  /** The last one, while the last run failed or the check counts as failing. */
  readonly failure: Failure | undefined;
}

interface Run {
  readonly startedAtMs: number;
  readonly controller: AbortController;
  limit: Scheduled | undefined;
  /** It has timed out, or the app stops: how it ends no longer matters. */
  isOver: boolean;
}

/** One check on its schedule: at most one run at a time, each under its limit, and a verdict that outlasts a single failure. */
export class ScheduledCheck {
  readonly name: string;
  readonly critical: boolean;
  readonly #check: HealthCheck;
  readonly #schedule: typeof checkDefaults;
  readonly #options: ScheduledCheckOptions;
  #verdict: Verdict | undefined;
  /** Until what `run` returned has settled. */
  #run: Run | undefined;
  #next: Scheduled | undefined;
  #isOn = false;

  /** @throws {@link OptionError} `ERR_OPTION_RANGE` for a name or number out of range, `ERR_OPTION_TYPE` for what is no check. */
  constructor(check: HealthCheck, options: ScheduledCheckOptions) {
    requireSound(check);
    this.name = check.name;
    this.critical = check.critical ?? true;
    this.#check = check;
    this.#schedule = withDefaults(options.defaults, check);
    this.#options = options;
    const of = (key: keyof CheckSchedule): [string, number] => [
      `${key} of health check ${this.name}`,
      this.#schedule[key],
    ];
    requireNumber(...of("intervalMs"), { min: 10 });
    requireNumber(...of("timeoutMs"), { min: 1 });
    requireWhole(...of("failuresToFlip"), { min: 1 });
    requireWhole(...of("successesToFlip"), { min: 1 });
  }

  /** Undefined until it has run. */
  get passing(): boolean | undefined {
    return this.#verdict?.passing;
  }

  /** Whether its verdict is one to go by: it has run, and not so long ago that its schedule must have stood still. */
  get isCurrent(): boolean {
    const { intervalMs, timeoutMs } = this.#schedule;
    return this.#verdict !== undefined && this.#sinceMs(this.#verdict.endedAtMs) <= intervalMs + timeoutMs;
  }

  /** Runs it now and from now on. */
  start(): void {
    this.#isOn = true;
    this.runNow();
  }

  /** Nothing runs after this: the run under way is told by its signal, and its outcome dropped. */
  stop(): void {
    this.#isOn = false;
    this.#next?.cancel();
    if (this.#run?.isOver === false) this.#abandon(this.#run, new Error("the app stops"));
  }

  /** Runs it before its time, unless a run is under way. */
  runNow(): void {
    if (!this.#isOn) return;
    this.#next?.cancel();
    if (this.#run === undefined) this.#begin();
    else if (this.#run.isOver) {
      const tookMs = Math.round(this.#sinceMs(this.#run.startedAtMs));
      this.#timedOut(this.#run, `still runs after ${tookMs} ms, heedless of its signal`);
    }
  }

  result(): CheckResult {
    const { name } = this;
    const bad = this.critical ? "fail" : "warn";
    const verdict = this.#verdict;
    if (!verdict) return { name, status: bad, output: "not run yet" };
    const { passing, failure } = verdict;
    const durationMs = Math.round(verdict.durationMs);
    const ageMs = Math.round(this.#sinceMs(verdict.endedAtMs));
    if (passing || !failure) return { name, status: "pass", durationMs, ageMs };
    return { name, status: bad, durationMs, ageMs, output: failure.output };
  }

  details(): CheckDetails {
    const { failures = 0, successes = 0, flips = 0, sinceEpochMs, failure } = this.#verdict ?? {};
    return {
      ...this.result(),
      critical: this.critical,
      ...this.#schedule,
      ...(sinceEpochMs === undefined ? {} : { since: new Date(sinceEpochMs).toISOString() }),
      consecutiveFailures: failures,
      consecutiveSuccesses: successes,
      flips,
      ...(failure ? { cause: textOf(failure.cause) } : {}),
      hangs: this.#run?.isOver === true && this.#isOn,
    };
  }

  #sinceMs(atMs: number): number {
    return this.#options.clock.monotonicMs() - atMs;
  }

  #begin(): void {
    const run: Run = {
      startedAtMs: this.#options.clock.monotonicMs(),
      controller: new AbortController(),
      limit: undefined,
      isOver: false,
    };
    this.#run = run;
    this.#limit(run);
    // of no request: it serves all who ask, so it must not end with the first one's deadline
    const work = runOutsideContext(async () => this.#check.run({ signal: run.controller.signal }));
    work.then(
      () => this.#settled(run, undefined),
      (cause: unknown) => this.#settled(run, { output: "failed", cause }),
    );
  }

  /**
   * Timers come before I/O: after a stall of the event loop the limit would strike while the answer waits to be read. So it
   * begins anew, once, when it strikes much too late.
   */
  #limit(run: Run, isSecond = false): void {
    const { clock } = this.#options;
    const { timeoutMs } = this.#schedule;
    const dueAtMs = clock.monotonicMs() + timeoutMs;
    const strike = (): void => {
      const isLate = clock.monotonicMs() - dueAtMs > Math.max(minStallMs, timeoutMs / 10);
      if (isLate && !isSecond) this.#limit(run, true);
      else this.#timedOut(run, `took longer than ${timeoutMs} ms`);
    };
    run.limit = clock.schedule(timeoutMs, strike, { keepAlive: false });
  }

  #settled(run: Run, failure: Failure | undefined): void {
    run.limit?.cancel();
    this.#run = undefined;
    if (!run.isOver) this.#record(run, failure);
  }

  #timedOut(run: Run, how: string): void {
    const cause = new Error(`health check ${this.name} ${how}`);
    this.#abandon(run, cause);
    this.#record(run, { output: "timed out", cause });
  }

  #abandon(run: Run, reason: Error): void {
    run.isOver = true;
    run.limit?.cancel();
    run.controller.abort(reason);
  }

  #record(run: Run, failure: Failure | undefined): void {
    const { clock, onChange, onRun } = this.#options;
    const before = this.#verdict;
    const endedAtMs = clock.monotonicMs();
    const failures = failure ? (before?.failures ?? 0) + 1 : 0;
    const successes = failure ? 0 : (before?.successes ?? 0) + 1;
    const passing = this.#passes(failures, successes);
    const isNew = before === undefined || passing !== before.passing;
    this.#verdict = {
      passing,
      failures,
      successes,
      flips: (before?.flips ?? 0) + (before && isNew ? 1 : 0),
      sinceMs: isNew ? endedAtMs : before.sinceMs,
      sinceEpochMs: isNew ? clock.now() : before.sinceEpochMs,
      endedAtMs,
      durationMs: endedAtMs - run.startedAtMs,
      failure: failure ?? (passing ? undefined : before?.failure),
    };
    this.#plan();
    if (isNew && (before || !passing)) {
      const { name, critical } = this;
      const afterMs = before ? endedAtMs - before.sinceMs : 0;
      onChange({ name, critical, passing, afterMs, ...(failure ? { cause: failure.cause } : {}) });
    }
    onRun();
  }

  #passes(failures: number, successes: number): boolean {
    const { failuresToFlip, successesToFlip } = this.#schedule;
    if (this.#verdict === undefined) return failures === 0;
    return this.#verdict.passing ? failures < failuresToFlip : successes >= successesToFlip;
  }

  #plan(): void {
    const { clock, random } = this.#options;
    const { intervalMs } = this.#schedule;
    if (intervalMs === Infinity) return;
    const delayMs = intervalMs * (1 - maxJitterRatio * random());
    this.#next = clock.schedule(delayMs, () => this.runNow(), { keepAlive: false });
  }
}

/** So that the checks of many instances that started together do not stay together. */
const maxJitterRatio = 0.1;
/** A timer that is this late was held up by something. */
const minStallMs = 100;
const maxNameLength = 100;
const maxCauseLength = 1_000;
const maxCauses = 5;

function requireSound(check: HealthCheck): void {
  requireObject("a health check", check);
  const [name, run] = ["name", "run"].map((key): unknown => Reflect.get(check, key));
  if (typeof name !== "string") refuse(`name of a health check must be a text, not ${phraseOf(name)}`);
  if (name === "" || name.length > maxNameLength) {
    const text = `name of a health check must have 1 to ${maxNameLength} characters, not ${name.length}`;
    throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", text);
  }
  if (typeof run !== "function") refuse(`run of health check ${name} must be a function, not ${phraseOf(run)}`);
}

/** An error with its causes as one line, without the passwords of URLs. */
function textOf(thrown: unknown): string {
  const texts: string[] = [];
  for (let error = thrown; error !== undefined && texts.length < maxCauses; error = causeOf(error)) {
    texts.push(messageOf(error));
  }
  return printable(toText(texts.join(": ")), maxCauseLength);
}

function causeOf(error: unknown): unknown {
  try {
    return isError(error) ? error.cause : undefined;
  } catch {
    return undefined; // a getter that throws
  }
}
