import { type Clock, systemClock } from "../clock.ts";
import type { Environment } from "../config/environment.ts";
import type { SettingsToken } from "../config/settings.ts";
import type { ConfigStore } from "../config/store.ts";
import { AppError, isError, messageOf } from "../errors/app-error.ts";
import type { ErrorOrigin } from "../errors/error-bus.ts";
import { OptionError } from "../errors/option-error.ts";
import { createEarlyLogger, type EarlyLogger } from "../logger/early-logger.ts";
import { randomUUID } from "../node-crypto.ts";
import type { App, AppOptions, BuiltIn } from "./app.ts";
import { KernelConfig } from "./app-config.ts";
import type { WrittenDocument } from "./documents.ts";
import { describeApp } from "./describe.ts";
import type { AppDescription } from "./description.ts";
import { LifecycleError } from "./errors.ts";
import { type AppEvents, type AppState, EventLog } from "./events.ts";
import { analyzeGraph, type GraphAnalysis, requireWhole } from "./graph.ts";
import { Lifecycle } from "./lifecycle.ts";
import { isCancelled, limited } from "./limited.ts";
import { defineModule, type Module, type ProvidedBy } from "./module.ts";
import { provider } from "./provider.ts";
import type { RequestScope, RequestScopes, ScopeOptions } from "./request-scope.ts";
import { type RunOptions, runApps } from "./run.ts";
import type { ProcessErrors } from "./runnable.ts";
import { lifecycleSettings } from "./settings.ts";
import type { TaskRequest, TaskResult } from "./tasks.ts";
import type { Token } from "./token.ts";
import { requireList, requireObject } from "./untyped-options.ts";
import { appControl, appEvents, appInfo, appLog, appProcess, clock as clockToken, requestScopes } from "./tokens.ts";

/**
 * Puts modules together into an app. Nothing runs yet.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when the name is none, `ERR_OPTION_TYPE` when the modules, `expose` or `overrides` are no list.
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
  if (typeof name === "string" && /^[a-z0-9-]+$/.test(name)) return;
  const what = `name must be lower-case letters, digits and hyphens, not ${JSON.stringify(name)}`;
  throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", what);
}

/** The one setting that is heeded before the config is read: in what form faults of the config are logged. */
function earlyFormatOf(text: string | undefined): "auto" | "json" | "pretty" {
  return text === "json" || text === "pretty" ? text : "auto";
}

/** The logger has had its time for all other lines. */
const lastLinesMs = 1_000;

class KernelApp implements App {
  readonly name: string;
  readonly failure: Promise<unknown>;
  readonly log: EarlyLogger;
  readonly config: KernelConfig;
  readonly #options: AppOptions<readonly Module[]>;
  readonly #environment: Environment;
  readonly #events = new EventLog();
  readonly #clock: Clock;
  readonly #failed = Promise.withResolvers<unknown>();
  readonly #startCancel = new AbortController();
  #analysis: GraphAnalysis | undefined;
  #lifecycle: Lifecycle | undefined;
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #process: ProcessErrors | undefined;

  constructor(options: AppOptions<readonly Module[]>) {
    requireObject("options of createApp", options);
    requireName(options.name);
    requireList("modules", options.modules, "modules");
    requireList("expose", options.expose ?? [], "tokens");
    requireList("overrides", options.overrides ?? [], "providers");
    this.name = options.name;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.failure = this.#failed.promise;
    this.#environment = options.config?.environment ?? process.env;
    this.log = createEarlyLogger({
      fields: { service: this.name },
      destination: options.logDestination,
      format: earlyFormatOf(this.#environment.PLINTH_LOG_FORMAT),
    });
    this.config = new KernelConfig({
      sections: () => [lifecycleSettings, ...this.#analyze().graph.settings],
      sources: { ...options.config, environment: this.#environment },
      isWatched: options.config?.watch !== false,
      clock: this.#clock,
      events: this.#events,
    });
  }

  get state(): AppState {
    return this.#events.state;
  }

  get process(): ProcessErrors | undefined {
    return this.#process;
  }

  get events(): AppEvents {
    return this.#events;
  }

  start({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (this.#starting || this.#stopping) {
      const what = `app ${this.name} was ${this.#starting ? "started" : "stopped"} before; create a new app to start again`;
      return Promise.reject(new LifecycleError("ERR_APP_STATE", "failed_precondition", what));
    }
    // set before anything runs: who listens to events may start or stop the app
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#starting = promise;
    const cancel = signal ? AbortSignal.any([signal, this.#startCancel.signal]) : this.#startCancel.signal;
    this.#start(cancel).then(resolve, reject);
    return promise;
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

  async writeDocuments(name: string): Promise<readonly WrittenDocument[]> {
    const { writeDocuments } = await import("./write-documents.ts"); // which no service needs
    const graph = requireWhole(this.#analyze());
    const readConfig = (needed: ReadonlySet<SettingsToken>): Promise<ConfigStore> => this.config.loadLocally(needed);
    return writeDocuments(name, { graph, clock: this.#clock, readConfig });
  }

  async runTasks(request: TaskRequest): Promise<readonly TaskResult[]> {
    const { runTasks } = await import("./run-tasks.ts"); // which no service needs
    const { modules, overrides = [] } = this.#options;
    return runTasks(request, {
      modules: [this.#builtIns(), ...modules],
      overrides,
      clock: this.#clock,
      readConfig: (needed, signal) => this.config.loadOnly(needed, signal),
    });
  }

  run(options?: RunOptions): Promise<number> {
    this.config.takeArguments(process.argv.slice(2));
    return runApps([this], options);
  }

  async #start(signal: AbortSignal): Promise<void> {
    this.#events.emit({ type: "state", state: "starting" });
    try {
      const graph = requireWhole(this.#analyze());
      const settings = await this.config.load(signal);
      const limits = settings.get(lifecycleSettings);
      this.#lifecycle = new Lifecycle({ graph, settings, limits, clock: this.#clock, events: this.#events });
      await this.#lifecycle.start(signal);
      this.config.watch();
      this.log.release(); // no module has given a logger
    } catch (error) {
      this.config.close();
      this.#tellStart(error, signal);
      this.log.release();
      await this.#flushLog();
      throw error;
    }
  }

  /** A failed hook is told by the error bus, where there is one. */
  #tellStart(error: unknown, signal: AbortSignal): void {
    const isTold = this.#lifecycle?.isGroundUp === true && this.log.isAttached();
    if (isCancelled(error)) {
      this.#events.emit({ type: "state", state: "stopped" });
      this.log.info("start cancelled", { reason: messageOf(signal.reason) });
    } else {
      this.#events.emit({ type: "state", state: "failed" });
      if (!isTold) this.log.fatal("app did not start", { error });
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
    this.config.close();
    try {
      await this.#lifecycle?.stop();
    } finally {
      await this.#flushLog();
    }
  }

  /** The lines that tell how it ended come after the logger's own flush. */
  async #flushLog(): Promise<void> {
    const what = (): string => `writing the last log lines of ${this.name}`;
    try {
      await limited(() => this.log.flush(), { clock: this.#clock, what, limitMs: lastLinesMs, cancelGraceMs: 0 });
    } catch (error) {
      process.stderr.write(`${messageOf(error)}\n`);
    }
  }

  #attach(errors: ProcessErrors): () => void {
    this.#process = errors;
    return () => (this.#process = undefined);
  }

  #scopes(): RequestScopes {
    if (this.#lifecycle) return this.#lifecycle.scopes;
    const what = "there are no request scopes: the app has not started";
    throw new LifecycleError("ERR_APP_TOKEN", "failed_precondition", what);
  }

  /** Read once: the description of an app is that of its start. */
  #analyze(): GraphAnalysis {
    const { modules, expose = [], overrides = [] } = this.#options;
    const own = [appInfo, appEvents, appControl, clockToken, requestScopes, appLog, appProcess];
    return (this.#analysis ??= analyzeGraph([this.#builtIns(), ...modules], [...own, ...expose], overrides));
  }

  #builtIns(): Module {
    const { name, version = "0.0.0", logDestination } = this.#options;
    const environment = this.#environment;
    const info = { name, version, instanceId: `${name}-${randomUUID()}`, logDestination, environment };
    return defineModule("app", [
      provider({ provides: appInfo, create: () => info }),
      provider({ provides: appEvents, create: () => this.#events }),
      provider({ provides: appControl, create: () => ({ fail: (error, origin) => this.fail(error, origin) }) }),
      provider({ provides: clockToken, create: () => this.#clock }),
      provider({ provides: appLog, create: () => this.log }),
      provider({ provides: appProcess, create: () => ({ attach: (errors) => this.#attach(errors) }) }),
      provider({ provides: requestScopes, create: () => this.#scopes() }),
    ]);
  }
}
