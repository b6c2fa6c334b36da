import type { Clock } from "../clock.ts";
import { ConfigError } from "../config/errors.ts";
import type { ConfigEntry } from "../config/explain.ts";
import { configSchema } from "../config/json-schema.ts";
import type { SettingsToken } from "../config/settings.ts";
import type { ConfigSources } from "../config/snapshot.ts";
import { type ConfigStore, createConfigStore, type ReloadResult } from "../config/store.ts";
import { messageOf } from "../errors/app-error.ts";
import { LifecycleError } from "./errors.ts";
import type { EventLog } from "./events.ts";
import { cancelGraceMs, limited } from "./limited.ts";
import type { HookContext } from "./provider.ts";

/** The config of an app. */
export interface AppConfig {
  /**
   * Each value with its source; secrets are `***`. Reads the config when the app has not started.
   * @throws {@link ConfigError} with every fault.
   */
  explain(): Promise<readonly ConfigEntry[]>;
  /** One JSON Schema (draft 2020-12) of a config file for this app. */
  jsonSchema(): Record<string, unknown>;
  /**
   * Reads all sources anew and swaps what may change while the app runs; on any fault everything stays as it was. SIGHUP does
   * this under `app.run`. The outcome is an event, a log line and a count; a fault goes to the error bus too.
   * @throws {@link ConfigError} with every fault; {@link LifecycleError} `ERR_APP_STATE` when the app is not running.
   */
  reload(): Promise<ReloadResult>;
}

export interface KernelConfigOptions {
  /** Of all modules of the app. */
  readonly sections: () => Iterable<SettingsToken>;
  readonly sources: ConfigSources;
  /** Whether changes of files and remote sources are looked for. */
  readonly isWatched: boolean;
  readonly clock: Clock;
  readonly events: EventLog;
}

/** Sources are read before it is known what limits the app has. */
const readLimitMs = 60_000;

export class KernelConfig implements AppConfig {
  readonly #options: KernelConfigOptions;
  #arguments: readonly string[] | undefined;
  #store: ConfigStore | undefined;
  #isClosed = false;

  constructor(options: KernelConfigOptions) {
    this.#options = options;
  }

  /** The command line, unless the app was given one. */
  takeArguments(words: readonly string[]): void {
    this.#arguments = words;
  }

  /** For the start; what was read before, to be explained, may be out of date and knew no command line. */
  async load(signal: AbortSignal): Promise<ConfigStore> {
    return (this.#store = await this.#load(signal));
  }

  /** These sections alone, from what needs no network: what is wrong in the others is not looked for. */
  async loadLocally(needed: ReadonlySet<SettingsToken>): Promise<ConfigStore> {
    return this.#load(new AbortController().signal, this.#only(needed), { ...this.#options.sources, sources: [] });
  }

  /** These sections alone, from all sources: what is wrong in the others is not looked for. */
  async loadOnly(needed: ReadonlySet<SettingsToken>, signal: AbortSignal): Promise<ConfigStore> {
    return this.#load(signal, this.#only(needed));
  }

  async explain(): Promise<readonly ConfigEntry[]> {
    return (this.#store ?? (await this.#load(new AbortController().signal))).explain();
  }

  jsonSchema(): Record<string, unknown> {
    return configSchema(this.#options.sections());
  }

  async reload(): Promise<ReloadResult> {
    if (!this.#store || this.#isClosed) {
      const what = `the config is reloaded while the app runs, and it ${this.#store ? "has stopped" : "has not started"}`;
      throw new LifecycleError("ERR_APP_STATE", "failed_precondition", what);
    }
    const store = this.#store;
    try {
      const result = await this.#read("reading the config anew", ({ signal }) => store.reload({ signal }));
      this.#options.events.emit({
        type: "config",
        outcome: result.changed.length > 0 ? "changed" : "unchanged",
        ...result,
      });
      return result;
    } catch (error) {
      if (!this.#isClosed) this.#options.events.emit({ type: "config", outcome: "refused", error });
      throw error;
    }
  }

  /** Reloads from now on when a file, or a remote source, has changed. That a source cannot be watched is told; all else is watched. */
  watch(): void {
    const { clock, events, isWatched } = this.#options;
    if (!isWatched || !this.#store || this.#isClosed) return;
    this.#store.watch({
      clock,
      // told as an event, as every reload is
      onChange: () => void this.reload().catch(() => undefined),
      onFailure: (source, error) =>
        events.emit({ type: "config", outcome: "refused", error: unwatched(source, error) }),
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#store?.close();
  }

  #only(needed: ReadonlySet<SettingsToken>): Iterable<SettingsToken> {
    const all = new Set(this.#options.sections());
    return [...all].map((settings) => (needed.has(settings) ? settings : unchecked(settings)));
  }

  #load(
    signal: AbortSignal,
    sections: Iterable<SettingsToken> = this.#options.sections(),
    sources: ConfigSources = this.#options.sources,
  ): Promise<ConfigStore> {
    const words = this.#arguments;
    const all = { ...(words ? { arguments: words } : {}), ...sources };
    return this.#read(
      "reading the config",
      ({ signal: own }) => createConfigStore(sections, all, { signal: own }),
      signal,
    );
  }

  /** A remote source may hang. */
  #read<T>(what: string, work: (context: HookContext) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const { clock } = this.#options;
    const options = { clock, what: () => what, limitMs: readLimitMs, cancelGraceMs, passErrors: true };
    return limited(work, { ...options, ...(signal ? { signal } : {}) });
  }
}

/** Whatever is given for it, or is not, fits. */
function unchecked(settings: SettingsToken): SettingsToken {
  const { vendor, jsonSchema } = settings.schema["~standard"];
  const validate = (value: unknown): { readonly value: unknown } => ({ value });
  return { ...settings, schema: { "~standard": { version: 1, vendor, validate, jsonSchema } } };
}

function unwatched(source: string, error: unknown): ConfigError {
  const problem = `cannot be watched: ${messageOf(error)}; its changes are seen at the next reload, or after a restart`;
  return new ConfigError("ERR_CONFIG_SOURCE", [{ key: source, problem, source: "config source" }], error);
}
