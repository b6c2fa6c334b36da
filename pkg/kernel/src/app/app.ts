import type { Clock } from "../clock.ts";
import type { ConfigSources } from "../config/snapshot.ts";
import type { ErrorOrigin } from "../errors/error-bus.ts";
import type { Logger } from "../logger/logger.ts";
import type { LogDestination } from "../logger/pino.ts";
import type { AppConfig } from "./app-config.ts";
import type { AppDescription } from "./description.ts";
import type { WrittenDocument } from "./documents.ts";
import type { AppEvents, AppState } from "./events.ts";
import type { Module, NeededBy, ProvidedBy } from "./module.ts";
import type { Provider } from "./provider.ts";
import type { RequestScope, ScopeOptions } from "./request-scope.ts";
import type { RunOptions } from "./run.ts";
import type { TaskRequest, TaskResult } from "./tasks.ts";
import type { AnyToken, Token } from "./token.ts";

/** Names of the tokens that every app provides itself. */
export type BuiltIn =
  | "app.info"
  | "app.events"
  | "app.control"
  | "app.clock"
  | "app.scopes"
  | "app.log"
  | "app.process";
type Missing<M extends readonly Module[]> = Exclude<NeededBy<M[number]>, ProvidedBy<M[number]> | BuiltIn>;

/** Nothing when the modules provide all that they need; else an object that no list of modules is, naming what is missing. */
export type Complete<M extends readonly Module[]> = [Missing<M>] extends [never]
  ? unknown
  : { readonly "no module provides the token": Missing<M> };

export interface AppOptions<M extends readonly Module[]> {
  /** Name of the service: in logs, metrics, traces and the registry. Lower-case letters, digits and hyphens. */
  readonly name: string;
  /** Default `0.0.0`. */
  readonly version?: string;
  readonly modules: M & Complete<M>;
  /**
   * Where settings come from, beside the schemas' defaults. Default: the environment, the file that it names, and, under
   * {@link App.run}, the command line.
   */
  readonly config?: Partial<ConfigSources> & {
    /** Reload when a config file, a secret's file or a remote source changes. Default true. */
    readonly watch?: boolean;
  };
  /** Tokens that {@link App.get}, or a request scope, is asked for although no provider needs them. */
  readonly expose?: readonly AnyToken[];
  /** Providers that replace those of the same token: for tests. */
  readonly overrides?: readonly Provider[];
  readonly clock?: Clock;
  /** Where log lines go. Default: standard output. */
  readonly logDestination?: LogDestination;
}

/** One service: a graph of providers with a life. Several live side by side in one process. */
export interface App<Provided extends string = string> {
  readonly name: string;
  readonly state: AppState;
  readonly events: AppEvents;
  /** For what is to be said before there is a logger, as well as after: lines are kept until it is there, or the start has failed. */
  readonly log: Logger;
  readonly config: AppConfig;
  /** Settles, with the error, when {@link App.fail} is first called. */
  readonly failure: Promise<unknown>;
  /**
   * Starts everything, needs before users; resolves when all is up, ready and joined. On failure everything created is stopped again.
   * @throws {@link LifecycleError} `ERR_GRAPH_INVALID`, `ERR_LIFECYCLE_START`, `ERR_APP_STATE`; {@link ConfigError}.
   */
  start(options?: { readonly signal?: AbortSignal }): Promise<void>;
  /**
   * Leaves, drains and stops everything. Safe to call twice and during a start, which it cancels.
   * @throws {@link LifecycleError} `ERR_LIFECYCLE_STOP` when a hook failed or overran; the others have still run.
   */
  stop(): Promise<void>;
  /** Reports a fatal error; under {@link App.run} the app then stops, with exit code 1. */
  fail(error: unknown, origin?: ErrorOrigin): void;
  /**
   * What a token stands for, once started.
   * @throws {@link LifecycleError} `ERR_APP_TOKEN` when it was not built.
   */
  get<T, Name extends Provided>(token: Token<T, Name>): T;
  /**
   * Opens a request scope by hand; servers open their own. Close it, or hold it with `await using`.
   * @throws {@link LifecycleError} `ERR_APP_TOKEN` before the start, `ERR_SCOPE_CLOSED` when the app is stopping.
   */
  openScope(options?: ScopeOptions): RequestScope<Provided>;
  /** What the app is made of and how far it has come: at any time, also when its graph has faults or its start has failed. */
  describe(): AppDescription;
  /**
   * What the app can write about itself under this name, such as `openapi`, from its modules and settings: nothing is started, and
   * no hook runs. Empty where no module writes one.
   * @throws {@link LifecycleError} `ERR_GRAPH_INVALID`, and when the `create` of what it is made from fails; {@link ConfigError}.
   */
  writeDocuments(name: string): Promise<readonly WrittenDocument[]>;
  /**
   * Does what `plinth migrate` and the like ask for: runs the tasks of this name, one after the other, of an app that is not started.
   * Of all providers those are started that the tasks need, and stopped afterwards. Empty where no module has one.
   * @throws {@link LifecycleError} `ERR_APP_TASK`, `ERR_GRAPH_INVALID`, `ERR_LIFECYCLE_START`; {@link ConfigError}; what a task throws.
   */
  runTasks(request: TaskRequest): Promise<readonly TaskResult[]>;
  /**
   * Starts, with the settings of the command line, waits for SIGTERM, SIGINT or a fatal error, stops, and tells the exit code.
   * See {@link runApps}.
   */
  run(options?: RunOptions): Promise<number>;
}
