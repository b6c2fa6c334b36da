import type { ConfigEntry } from "../config/explain.ts";
import type { AppDescription } from "./description.ts";
import type { WrittenDocument } from "./documents.ts";
import type { TaskRequest, TaskResult } from "./tasks.ts";

/** What `runApps` runs: an app, or something that stands for one, such as an app in a process of its own. */
export interface Runnable {
  readonly name: string;
  /** Resolves, with the error, at the first fatal one. */
  readonly failure: Promise<unknown>;
  start(options: { readonly signal: AbortSignal }): Promise<void>;
  stop(): Promise<void>;
  fail(error: unknown, origin: "process"): void;
  /** Absent: it keeps no lines of its own. */
  readonly log?: { flushSync(): void };
  /** What becomes of the errors of the process while this app is up. Absent, or not there yet: they stop it. */
  readonly process?: ProcessErrors | undefined;
  /** For `plinth graph`. Absent: its graph is not known in this process. */
  describe?(): AppDescription;
  /** For `plinth openapi` and the like. Absent: what it writes is not known in this process. */
  writeDocuments?(name: string): Promise<readonly WrittenDocument[]>;
  /** For `plinth migrate` and the like. Absent: what can be done for it is not known in this process. */
  runTasks?(request: TaskRequest): Promise<readonly TaskResult[]>;
  /** For `plinth config`. Absent: its config is not known in this process. */
  readonly config?: RunnableConfig;
}

/** What nobody else in the process takes. */
export interface ProcessErrors {
  /** Whether the process goes on after it; then it has been reported. Never throws. */
  keeps(event: "uncaughtException" | "unhandledRejection", error: unknown): boolean;
  /** Reports a warning of the process, once however often it comes. Never throws. */
  warn(warning: unknown): void;
  /** Writes what waits to be reported, as far as that can be done at once. */
  flushSync(): void;
}

export interface RunnableConfig {
  /** Each effective value with its source; reads the config when the app has not started. */
  explain(): Promise<readonly ConfigEntry[]>;
  /** The JSON Schema of all sections. */
  jsonSchema(): unknown;
  /** For SIGHUP. Absent: nothing of it changes while it runs. */
  reload?(): Promise<unknown>;
}

/** The part of `process` that running an app touches. */
export interface ProcessHost {
  on(event: string, listener: (...args: unknown[]) => void): unknown;
  off(event: string, listener: (...args: unknown[]) => void): unknown;
  exit(code: number): void;
  readonly stderr: { write(text: string): unknown };
  /** Where `PLINTH_COMMAND` stands. Absent: the apps run, whatever the environment says. */
  readonly env?: Record<string, string | undefined>;
  readonly pid?: number;
  readonly stdout?: { write(text: string, done: (error?: Error | null) => void): unknown };
  /** Whether whoever started this process can still be sent something. */
  readonly connected?: boolean;
  send?:
    | ((message: object, handle: undefined, options: undefined, done: (error: Error | null) => void) => unknown)
    | undefined;
}
