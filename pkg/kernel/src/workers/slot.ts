import type { Scheduled } from "../clock.ts";
import type { WorkerMessage } from "./messages.ts";
import type { WorkerEnd, WorkerProcess } from "./worker-process.ts";

/** The limit of a stop that a worker has not told one of: that of the lifecycle by default, in milliseconds. */
const usualStopMs = 25_000;

/** Why another worker was started: its forerunner was killed by a signal, ended with another exit code than 0, or with 0. */
export type RestartReason = "signal" | "failed" | "ended";

/** The place of one worker, which others fill after it. */
export class Slot {
  readonly index: number;
  /** Undefined while none runs. */
  worker: RunningWorker | undefined;
  restart: Scheduled | undefined;
  /** Ends in a row, each soon after it was ready, or before. */
  failures = 0;
  /** Those in a row that were never ready. */
  failedStarts = 0;

  constructor(index: number) {
    this.index = index;
  }
}

const noProcess: WorkerProcess = Object.freeze({ pid: undefined, send: () => {}, kill: () => {} });

/** One worker process from its start to its end. */
export class RunningWorker {
  readonly index: number;
  readonly startedAtMs: number;
  process: WorkerProcess = noProcess;
  readyAtMs: number | undefined;
  /** What it told of the end of its apps. */
  ended: Extract<WorkerMessage, { type: "ended" }> | undefined;
  /** Of the apps it has told of, together, in milliseconds. */
  stopMs = 0;
  /** In a stop it was killed after so many milliseconds. */
  killedAfterMs: number | undefined;

  constructor(index: number, startedAtMs: number) {
    this.index = index;
    this.startedAtMs = startedAtMs;
  }

  get stopLimitMs(): number {
    return this.stopMs > 0 ? this.stopMs : usualStopMs;
  }

  /** Whether it has ended as one that was told to stop does. */
  isOrderly({ code, signal }: WorkerEnd): boolean {
    if (this.killedAfterMs !== undefined) return false;
    if (this.ended) return this.ended.code === 0 && code === 0;
    // It had nothing running yet: Ctrl-C in a terminal ends it before it listens to signals.
    return this.readyAtMs === undefined && (code === 0 || signal === "SIGINT" || signal === "SIGTERM");
  }
}

export function reasonOf({ code, signal, error }: WorkerEnd): RestartReason {
  if (signal !== null) return "signal";
  return code === 0 && error === undefined ? "ended" : "failed";
}

/** `ended with exit code 1: notes did not start: …` */
export function describeEnd({ ended, killedAfterMs }: RunningWorker, { code, signal, error }: WorkerEnd): string {
  if (error) return `could not be started: ${error.message}`;
  if (killedAfterMs !== undefined) return `did not end within ${killedAfterMs} ms and was killed`;
  const how = signal === null ? `ended with exit code ${code ?? "none"}` : `was ended by ${signal}`;
  return ended?.told ? `${how}: ${ended.told}` : how;
}
