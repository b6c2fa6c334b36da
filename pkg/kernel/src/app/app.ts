import { randomUUID } from "node:crypto";
import { type Clock, systemClock } from "../clock.ts";
import { type ConfigSources, loadConfig } from "../config/load.ts";
import type { ErrorOrigin } from "../errors/error-bus.ts";
import { AppError, isError } from "../errors/app-error.ts";
import { OptionError } from "../errors/option-error.ts";
import type { LogDestination } from "../logger/pino.ts";
import { LifecycleError } from "./errors.ts";
import { type AppEvents, type AppState, EventLog } from "./events.ts";
import { describeApp } from "./describe.ts";
import type { AppDescription } from "./description.ts";
import { analyzeGraph, type GraphAnalysis, requireWhole } from "./graph.ts";
import { type Limits, Lifecycle } from "./lifecycle.ts";
import { defineModule, type Module, type NeededBy, type ProvidedBy } from "./module.ts";
import { type Provider, provider } from "./provider.ts";
import type { RequestScope, RequestScopes, ScopeOptions } from "./request-scope.ts";
import { type RunOptions, runApps } from "./run.ts";
import { lifecycleSettings } from "./settings.ts";
import { appControl, appEvents, appInfo, clock as clockToken, requestScopes } from "./tokens.ts";
import type { AnyToken, Token } from "./token.ts";

/** Names of the tokens that every app provides itself. */
export type BuiltIn = "app.info" | "app.events" | "app.control" | "app.clock" | "app.scopes";
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
  /** Where settings come from, beside the schemas' defaults. Default: the environment, and the file that `PLINTH_CONFIG` names. */
  readonly config?: Partial<ConfigSources>;
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
  /** Starts, waits for SIGTERM, SIGINT or a fatal error, stops, and tells the exit code. See {@link runApps}. */
  run(options?: RunOptions): Promise<number>;
}

/**
 * Puts modules together into an app. Nothing runs yet.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when the name is none.
 * @example
 * const app = createApp({ name: "notes", modules: [coreModule, notesModule] });
 * process.exitCode = await app.run();
 */
export function createApp<const M extends readonly Module[]>(
  options: AppOptions<M>,
): App<ProvidedBy<M[number]> | BuiltIn> {
  return new KernelApp(options);
}

function requireName(name: string): void {
  if (/^[a-z0-9-]+$/.test(name)) return;
  const what = `name must be lower-case letters, digits and hyphens, not ${JSON.stringify(name)}`;
  throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", what);
}

class KernelApp implements App {
  readonly name: string;
  readonly failure: Promise<unknown>;
  readonly #options: AppOptions<readonly Module[]>;
  readonly #events = new EventLog();
  readonly #clock: Clock;
  readonly #failed = Promise.withResolvers<unknown>();
  readonly #startCancel = new AbortController();
  #analysis: GraphAnalysis | undefined;
  #lifecycle: Lifecycle | undefined;
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: AppOptions<readonly Module[]>) {
    requireName(options.name);
    this.name = options.name;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.failure = this.#failed.promise;
  }

  get state(): AppState {
    return this.#events.state;
  }

  get events(): AppEvents {
    return this.#events;
  }

  start({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (this.#starting || this.#stopping) {
      const what = `app ${this.name} was ${this.#starting ? "started" : "stopped"} before; create a new app to start again`;
      return Promise.reject(new LifecycleError("ERR_APP_STATE", "failed_precondition", what));
    }
    this.#starting = this.#start(
      signal ? AbortSignal.any([signal, this.#startCancel.signal]) : this.#startCancel.signal,
    );
    return this.#starting;
  }

  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop());
  }

  fail(error: unknown, origin: ErrorOrigin = "lifecycle"): void {
    this.#events.emit({ type: "fatal", error, origin });
    // wrapped where a promise would take it for another one, or stumble over its getters
    const isObject = (typeof error === "object" && error !== null) || typeof error === "function";
    this.#failed.resolve(isObject && !isError(error) ? AppError.from(error) : error);
  }

  get<T>(token: Token<T>): T {
    const value = this.#lifecycle?.valueOf(token);
    if (value === undefined) {
      const why = this.#lifecycle
        ? "nothing needs it, so it was not built; name it in the app's `expose` list"
        : "the app has not started";
      throw new LifecycleError("ERR_APP_TOKEN", "failed_precondition", `"${token.name}" is not there: ${why}`);
    }
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the provider of the token was checked against its type
    return value.built as T;
  }

  openScope(options?: ScopeOptions): RequestScope {
    return this.#scopes().open(options);
  }

  describe(): AppDescription {
    return describeApp(this.name, this.#analyze(), this.#events);
  }

  run(options?: RunOptions): Promise<number> {
    return runApps([this], options);
  }

  async #start(signal: AbortSignal): Promise<void> {
    this.#events.emit({ type: "state", state: "starting" });
    try {
      const { config = {} } = this.#options;
      const graph = requireWhole(this.#analyze());
      const settings = await loadConfig([lifecycleSettings, ...graph.settings], {
        environment: process.env,
        ...config,
      });
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the schema of this section has made it
      const limits = settings.get(lifecycleSettings.section) as Limits;
      const reader = {
        get: (section: string) => settings.get(section),
        live: () => {
          throw new Error("not yet");
        },
      };
      this.#lifecycle = new Lifecycle({ graph, settings: reader, limits, clock: this.#clock, events: this.#events });
      await this.#lifecycle.start(signal);
    } catch (error) {
      this.#events.emit({ type: "state", state: "failed" });
      throw error;
    }
  }

  async #stop(): Promise<void> {
    this.#startCancel.abort(new Error("the app was told to stop"));
    if (!this.#starting) this.#events.emit({ type: "state", state: "stopped" });
    try {
      await this.#starting;
    } catch {
      return; // start has reported why, and has already stopped what it had created
    }
    await this.#lifecycle?.stop();
  }

  #scopes(): RequestScopes {
    if (this.#lifecycle) return this.#lifecycle.scopes;
    const what = "there are no request scopes: the app has not started";
    throw new LifecycleError("ERR_APP_TOKEN", "failed_precondition", what);
  }

  /** Read once: the description of an app is that of its start. */
  #analyze(): GraphAnalysis {
    const { modules, expose = [], overrides = [] } = this.#options;
    const own = [appInfo, appEvents, appControl, clockToken, requestScopes];
    return (this.#analysis ??= analyzeGraph([this.#builtIns(), ...modules], [...own, ...expose], overrides));
  }

  #builtIns(): Module {
    const { name, version = "0.0.0", logDestination, config } = this.#options;
    const environment = config?.environment ?? process.env;
    const info = { name, version, instanceId: `${name}-${randomUUID()}`, logDestination, environment };
    return defineModule("app", [
      provider({ provides: appInfo, create: () => info }),
      provider({ provides: appEvents, create: () => this.#events }),
      provider({ provides: appControl, create: () => ({ fail: (error, origin) => this.fail(error, origin) }) }),
      provider({ provides: clockToken, create: () => this.#clock }),
      provider({ provides: requestScopes, create: () => this.#scopes() }),
    ]);
  }
}
