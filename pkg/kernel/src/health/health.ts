import type { Clock } from "../clock.ts";
import { runOutsideContext } from "../context.ts";
import { requireNumber } from "../errors/option-error.ts";
import { Listeners } from "../listeners.ts";

/** Something readiness depends on. It throws or rejects when it is not well; the text goes to the log and to verbose answers, never to others. */
export interface HealthCheck {
  readonly name: string;
  /** A failing critical check makes the app not ready; another only degrades it. Default true. */
  readonly critical?: boolean;
  /** How often it runs by itself, in milliseconds, 10 or more; a random tenth is taken off each time. Default 5_000. */
  readonly intervalMs?: number;
  /** After this many milliseconds, 1 or more, it counts as failed. Default 1_000. */
  readonly timeoutMs?: number;
  /** Failures in a row, 1 or more, that turn a passing check into a failing one; the first run of all decides alone. Default 2. */
  readonly failuresToFlip?: number;
  /** Successes in a row, 1 or more, that turn a failing check into a passing one. Default 1. */
  readonly successesToFlip?: number;
  run(context: { readonly signal: AbortSignal }): void | Promise<void>;
}

export type AppHealth = "starting" | "ready" | "draining" | "stopped";

export interface CheckResult {
  readonly name: string;
  readonly status: "pass" | "warn" | "fail";
  readonly durationMs: number;
  /** Fixed words; the check's own error goes to the log. */
  readonly output?: "failed" | "timed out";
}

export interface ReadinessReport {
  readonly ready: boolean;
  readonly status: "pass" | "warn" | "fail";
  readonly state: AppHealth;
  readonly checks: readonly CheckResult[];
}

export interface Health {
  readonly state: AppHealth;
  setState(state: AppHealth): void;
  /** @throws {@link OptionError} `ERR_OPTION_RANGE` when its time limit is out of range. */
  register(check: HealthCheck): void;
  /** The verdict of the last {@link HealthOptions.cacheMs}; any number of callers start one round of checks. */
  readiness(): Promise<ReadinessReport>;
  /** Calls `listener` at each change of {@link state}. Returns how to end that. */
  onState(listener: (state: AppHealth) => void): () => void;
}

export interface HealthOptions {
  readonly clock: Clock;
  /** How long a verdict of the checks is kept, in milliseconds, 0 or more. Default 1_000. */
  readonly cacheMs?: number;
  /** Told of each failing check, with the cause that the report leaves out. */
  readonly onFailure?: (check: string, cause: unknown) => void;
}

/** Liveness never looks outside; readiness is the app's state and its checks. */
export function createHealth({ clock, cacheMs = 1_000, onFailure = () => {} }: HealthOptions): Health {
  const checks: HealthCheck[] = [];
  const listeners = new Listeners<AppHealth>();
  let state: AppHealth = "starting";
  let round: { settledAtMs: number | undefined; readonly results: Promise<readonly CheckResult[]> } | undefined;

  function startRound(): NonNullable<typeof round> {
    const started: NonNullable<typeof round> = {
      settledAtMs: undefined,
      // of no request: it serves all who ask, so it must not end with the first one's deadline
      results: runOutsideContext(() => Promise.all(checks.map(runCheck))).finally(
        () => (started.settledAtMs = clock.monotonicMs()),
      ),
    };
    return started;
  }

  async function runCheck(check: HealthCheck): Promise<CheckResult> {
    const { name, critical = true, timeoutMs = 1_000 } = check;
    const startedAtMs = clock.monotonicMs();
    const controller = new AbortController();
    let isLate = false;
    const late = Promise.withResolvers<"timed out">();
    const timer = clock.schedule(timeoutMs, () => late.resolve("timed out"), { keepAlive: false });
    const failed = critical ? "fail" : "warn";
    const work = (async () => check.run({ signal: controller.signal }))().then(
      () => undefined,
      (cause: unknown) => {
        if (!isLate) onFailure(name, cause);
        return "failed" as const;
      },
    );
    const output = await Promise.race([work, late.promise]);
    timer.cancel();
    const durationMs = Math.round(clock.monotonicMs() - startedAtMs);
    if (output === undefined) return { name, status: "pass", durationMs };
    if (output === "timed out") {
      isLate = true;
      const reason = new Error(`health check ${name} took longer than ${timeoutMs} ms`);
      controller.abort(reason);
      onFailure(name, reason);
    }
    return { name, status: failed, durationMs, output };
  }

  const isReady = (): boolean => state === "ready";
  const notReady = (): ReadinessReport => ({ ready: false, status: "fail", state, checks: [] });

  return {
    get state() {
      return state;
    },
    setState(next) {
      if (next === state) return;
      state = next;
      listeners.tell(next);
    },
    register(check) {
      requireNumber(`timeoutMs of health check ${check.name}`, check.timeoutMs ?? 1_000, { min: 1 });
      checks.push(check);
      round = undefined;
    },
    async readiness() {
      if (!isReady()) return notReady();
      const isStale = round?.settledAtMs !== undefined && clock.monotonicMs() - round.settledAtMs >= cacheMs;
      if (round === undefined || isStale) round = startRound();
      const results = await round.results;
      if (!isReady()) return notReady(); // the app began to drain meanwhile
      const status = results.some((result) => result.status === "fail")
        ? "fail"
        : results.some((result) => result.status === "warn")
          ? "warn"
          : "pass";
      return { ready: status !== "fail", status, state, checks: results };
    },
    onState(listener) {
      return listeners.add(listener);
    },
  };
}
