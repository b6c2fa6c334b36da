import { token } from "./token.ts";

/** Something to be done for an app that does not run: `plinth migrate` asks for those named `migrate`. */
export interface AppTask {
  /** What it is asked for by. */
  readonly name: string;
  /** Which of several of this name: the database that it works on. */
  readonly subject: string;
  /**
   * What it needs has been started, and is stopped afterwards; nothing else of the app is made.
   * @param args - As they were asked for: not checked.
   * @throws what keeps it from doing what it was asked for.
   */
  run(args: TaskArguments, context: { readonly signal: AbortSignal }): Promise<TaskResult>;
}

export type TaskArguments = Readonly<Record<string, string | number | boolean>>;

export interface TaskResult {
  /** For a terminal. */
  readonly text: string;
  /** The same for programs: what JSON can hold. */
  readonly data: Readonly<Record<string, unknown>>;
  /** What is wrong with what it tells. */
  readonly faults: readonly string[];
}

export interface TaskRequest {
  readonly name: string;
  /** This one alone. Default: all of the name. */
  readonly subject?: string | undefined;
  readonly args?: TaskArguments;
  /** Refuses where there are several, instead of running one after the other. Default false. */
  readonly single?: boolean | undefined;
  readonly signal?: AbortSignal;
}

/** What can be done for the app while it does not run; every module may add some. Nothing of it is made when the app runs. */
export const appTasks = token("app.tasks").listOf<AppTask>();
