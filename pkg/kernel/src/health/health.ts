import type { Clock } from "../clock.ts";
import { OptionError, withDefaults } from "../errors/option-error.ts";
import { Listeners } from "../listeners.ts";
import type { CheckChange, CheckDetails, CheckResult, CheckSchedule, CheckStatus, HealthCheck } from "./check.ts";
import { checkDefaults, ScheduledCheck } from "./scheduled-check.ts";
import type { StallMonitor } from "./stall-monitor.ts";

/** How far the app is in its life. */
export type AppPhase = "starting" | "ready" | "draining" | "stopped";

/**
 * What is shown: the phase, and while that is `ready`, what the checks make of it. `starting` until each critical check has run,
 * `degraded` while one that is not critical fails, `failing` while a critical one does.
 */
export type AppHealth = AppPhase | "degraded" | "failing";

export interface ReadinessReport {
  /** Whether the app should get traffic: its state is `ready` or `degraded`. */
  readonly ready: boolean;
  readonly status: CheckStatus;
  readonly state: AppHealth;
  readonly checks: readonly CheckResult[];
}

export interface LivenessReport {
  readonly alive: boolean;
  /** The stall of the event loop that is under way or has just ended, in milliseconds; 0 when there is none. */
  readonly stalledMs: number;
  /** The longest that is allowed, in milliseconds. Absent: none is looked for. */
  readonly maxStallMs?: number;
}

/** What operators may know besides. */
export interface HealthDetails {
  readonly phase: AppPhase;
  /** When the state began, as ISO 8601. */
  readonly since: string;
  readonly uptimeMs: number;
  readonly stalls: number;
  readonly checks: readonly CheckDetails[];
}

export interface Health {
  readonly state: AppHealth;
  /** Checks run while the phase is `ready`, and only then. */
  setPhase(phase: AppPhase): void;
  /**
   * Adds a check. It runs at once where others do.
   * @throws {@link OptionError} `ERR_OPTION_RANGE` for a name that another check has, and for a name or number out of range;
   *   `ERR_OPTION_TYPE` for what is no check.
   */
  register(check: HealthCheck): void;
  /**
   * What the checks have found, from their last runs. It waits only for critical checks that have not run yet, or not for so long
   * that their schedule must have stood still; however many callers wait, each check runs once.
   */
  readiness(): Promise<ReadinessReport>;
  /** Whether this process works at all. It looks at nothing outside. */
  liveness(): LivenessReport;
  details(): HealthDetails;
  /** Calls `listener` at each change of {@link state}. Returns how to end that. */
  onState(listener: (state: AppHealth) => void): () => void;
  /** The phase is `stopped`, and no timer is left. Safe to call twice. */
  close(): void;
}

export interface HealthOptions extends CheckSchedule {
  readonly clock: Clock;
  /** Source of jitter in [0, 1). Default `Math.random`. */
  readonly random?: () => number;
  /** Closed with it. Absent: the process is alive whatever it does. */
  readonly stalls?: StallMonitor | undefined;
  /** Told when a check begins to fail or recovers, with the cause that the report leaves out. */
  readonly onChange?: (change: CheckChange) => void;
}

/**
 * Liveness never looks outside; readiness is the app's phase and its checks. Without any check, nothing is known, so it is not ready.
 *
 * @param options - `intervalMs`, `timeoutMs`, `failuresToFlip` and `successesToFlip` hold for checks that do not say them.
 */
export function createHealth({ clock, stalls, ...options }: HealthOptions): Health {
  const { random = Math.random, onChange = () => {} } = options;
  const defaults = withDefaults(checkDefaults, options);
  const checks: ScheduledCheck[] = [];
  const listeners = new Listeners<AppHealth>();
  const createdAtMs = clock.monotonicMs();
  let phase: AppPhase = "starting";
  let state: AppHealth = "starting";
  let sinceEpochMs = clock.now();
  /** Whether each critical check has run since the app was last up. */
  let isKnown = false;
  let waiting: PromiseWithResolvers<void> | undefined;

  const critical = (): readonly ScheduledCheck[] => checks.filter((check) => check.critical);
  const mustWait = (): boolean => phase === "ready" && checks.some((check) => check.critical && !check.isCurrent);

  /** Tells whoever has to know of a run or a phase. */
  function update(): void {
    if (phase !== "ready") isKnown = false;
    else if (checks.length > 0 && critical().every(({ passing }) => passing !== undefined)) isKnown = true;
    const next = assess();
    if (waiting && !mustWait()) {
      waiting.resolve();
      waiting = undefined;
    }
    if (next === state) return;
    state = next;
    sinceEpochMs = clock.now();
    listeners.tell(next);
  }

  function assess(): AppHealth {
    if (phase !== "ready") return phase;
    const failing = checks.filter(({ passing }) => passing === false);
    if (failing.some((check) => check.critical)) return "failing";
    if (!isKnown) return "starting";
    return failing.length > 0 ? "degraded" : "ready";
  }

  function report(): ReadinessReport {
    const ready = state === "ready" || state === "degraded";
    const status = state === "ready" ? "pass" : ready ? "warn" : "fail";
    return { ready, status, state, checks: checks.map((check) => check.result()) };
  }

  function setPhase(next: AppPhase): void {
    if (next === phase) return;
    phase = next;
    for (const check of checks) {
      if (next === "ready") check.start();
      else check.stop();
    }
    update();
  }

  return {
    get state() {
      return state;
    },
    setPhase,
    register(check) {
      const added = new ScheduledCheck(check, { clock, random, defaults, onChange, onRun: update });
      if (checks.some(({ name }) => name === added.name)) {
        const text = `name of a health check must be its own, and ${added.name} is registered already; give one of the two another`;
        throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", text);
      }
      checks.push(added);
      if (phase === "ready") added.start();
    },
    async readiness() {
      if (mustWait()) {
        for (const check of checks) if (!check.isCurrent) check.runNow();
        waiting ??= Promise.withResolvers();
        await waiting.promise;
      }
      return report();
    },
    liveness() {
      if (!stalls) return { alive: true, stalledMs: 0 };
      const stalledMs = stalls.stalledMs();
      return { alive: stalledMs === 0, stalledMs: Math.round(stalledMs), maxStallMs: stalls.maxStallMs };
    },
    details: () => ({
      phase,
      since: new Date(sinceEpochMs).toISOString(),
      uptimeMs: Math.round(clock.monotonicMs() - createdAtMs),
      stalls: stalls?.count ?? 0,
      checks: checks.map((check) => check.details()),
    }),
    onState: (listener) => listeners.add(listener),
    close() {
      setPhase("stopped");
      stalls?.close();
    },
  };
}
