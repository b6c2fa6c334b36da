import type { PrimaryMessage } from "./messages.ts";

/** One worker process, as its primary sees it. */
export interface WorkerProcess {
  /** Undefined when the system could not start it. */
  readonly pid: number | undefined;
  /** Never throws; what is sent to a process that has gone is lost. */
  send(message: PrimaryMessage): void;
  /** Ends it at once. One that has ended already is fine. */
  kill(): void;
}

/** How a worker process has ended. */
export interface WorkerEnd {
  readonly code: number | null;
  readonly signal: string | null;
  /** Why there never was one. */
  readonly error?: Error;
}

export interface WorkerEvents {
  readonly onMessage: (message: unknown) => void;
  /** Called once, when it has ended and all that it sent has been received. */
  readonly onEnd: (end: WorkerEnd) => void;
}

/** Starts the worker process of a number from 1 on. */
export type Fork = (worker: number, events: WorkerEvents) => WorkerProcess;
