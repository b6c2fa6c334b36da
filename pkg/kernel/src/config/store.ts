import { OptionError } from "../errors/option-error.ts";
import { Listeners } from "../listeners.ts";
import { changedKeys } from "./compare.ts";
import { declare, type Declared } from "./declared.ts";
import { ConfigError, type ConfigFault } from "./errors.ts";
import { type ConfigEntry, explainSnapshot } from "./explain.ts";
import { documentSchema } from "./json-schema.ts";
import type { Config } from "./load.ts";
import type { FileState } from "./read-text.ts";
import { valueAt } from "./data.ts";
import { isReloadable, type SettingsToken } from "./settings.ts";
import { type ConfigSources, readSnapshot, type Snapshot } from "./snapshot.ts";
import { show, touchesSecret } from "./validate.ts";
import { watchConfig, type WatchOptions } from "./watch.ts";

/** What a reload has changed. */
export interface ReloadResult {
  /** Dotted keys, of maps those of their entries: `log.levels.http`. */
  readonly changed: readonly string[];
}

/** The config of a running app: its values now, and how they change. */
export interface ConfigStore {
  /** All current values by section; another map after each reload that changes something. */
  readonly current: Config;
  /**
   * The frozen current value of a section; the same object until a reload changes something in it.
   * @throws {@link OptionError} `ERR_OPTION_RANGE` for a section that the store was not made with.
   */
  get<T>(settings: SettingsToken<T>): T;
  /**
   * Reads all sources anew, validates everything as a whole and swaps it at once. On any fault everything stays as it was.
   * Calls during a reload share one that follows it.
   *
   * @param options.signal - Ends the wait, and the reload too when nobody else waits for it. A source that hangs is waited for until then.
   * @throws {@link ConfigError} with every fault: `ERR_CONFIG_FILE`, `ERR_CONFIG_SOURCE`, `ERR_CONFIG_INVALID`; `ERR_CONFIG_FIXED`
   * when keys would change that cannot while the app runs; `ERR_CONFIG_CLOSED` after {@link close}. The signal's reason when it aborts.
   */
  reload(options?: { readonly signal?: AbortSignal | undefined }): Promise<ReloadResult>;
  /**
   * Calls `listener` after each reload that changed something in the section. What it throws is an uncaught exception and keeps
   * nobody else from hearing. Returns how to end it.
   */
  subscribe<T>(settings: SettingsToken<T>, listener: (next: T, old: T) => void): () => void;
  /**
   * Tells when a config file, a file that holds a secret, or a remote source may have changed; it reloads nothing itself. A source
   * that cannot be watched is told of, and all others are. Keeps no process alive, and ends with the signal or {@link close}.
   * @throws {@link OptionError} `ERR_OPTION_RANGE` for `pollMs`.
   */
  watch(options: WatchOptions): void;
  /** Each value with its source, by section, in the order of the schemas; secrets are `***`. */
  explain(): readonly ConfigEntry[];
  /** One JSON Schema (draft 2020-12) of a config file with these sections. */
  jsonSchema(): Record<string, unknown>;
  /** Ends reloads, watching and subscriptions; the values stay. Safe to call twice. */
  close(): void;
}

/**
 * Loads the config of an app and keeps it for reloads.
 *
 * @throws {@link ConfigError} `ERR_CONFIG_FILE`, `ERR_CONFIG_SOURCE` or `ERR_CONFIG_INVALID`, with every fault; the signal's reason when it aborts.
 */
export async function createConfigStore(
  sections: Iterable<SettingsToken>,
  sources: ConfigSources,
  { signal = new AbortController().signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<ConfigStore> {
  const declared = declare(sections);
  const files = new Map<string, FileState>();
  return new Store(declared, sources, await readSnapshot({ declared, sources, files, signal }), files);
}

interface Change {
  readonly next: unknown;
  readonly old: unknown;
}

/** A reload that is running or waits for the one before, and those who wait for it. */
interface Round {
  readonly result: Promise<ReloadResult>;
  readonly cancel: AbortController;
  waiting: number;
}

class Store implements ConfigStore {
  readonly #declared: Declared;
  readonly #sources: ConfigSources;
  readonly #listeners = new Map<string, Listeners<Change>>();
  readonly #closing = new AbortController();
  #snapshot: Snapshot;
  /** Of the last reload that went well. */
  #files: ReadonlyMap<string, FileState>;
  /** Of the last reload, whatever became of it: what it has not come to see is found in the others. */
  #lastFiles: ReadonlyMap<string, FileState>;
  #running: Round | undefined;
  #next: Round | undefined;

  constructor(declared: Declared, sources: ConfigSources, snapshot: Snapshot, files: ReadonlyMap<string, FileState>) {
    this.#declared = declared;
    this.#sources = sources;
    this.#snapshot = snapshot;
    this.#files = files;
    this.#lastFiles = files;
  }

  get current(): Config {
    return this.#snapshot.values;
  }

  get<T>(settings: SettingsToken<T>): T {
    this.#require(settings);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the schema of the token has made it
    return this.#snapshot.values.get(settings.section) as T;
  }

  async reload({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<ReloadResult> {
    signal?.throwIfAborted();
    if (this.#closing.signal.aborted) throw closed();
    const round = this.#running
      ? (this.#next ??= this.#round(this.#running))
      : (this.#running = this.#round(undefined));
    round.waiting++;
    const left = Promise.withResolvers<never>();
    const onAbort = (): void => left.reject(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([round.result, left.promise]);
    } finally {
      signal?.removeEventListener("abort", onAbort);
      round.waiting--;
      if (round.waiting === 0) {
        round.cancel.abort(signal?.reason);
        // who comes now begins another
        if (this.#next === round) this.#next = undefined;
      }
    }
  }

  subscribe<T>(settings: SettingsToken<T>, listener: (next: T, old: T) => void): () => void {
    this.#require(settings);
    const { section } = settings;
    const listeners = this.#listeners.get(section) ?? new Listeners<Change>();
    this.#listeners.set(section, listeners);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the schema of the token has made both
    return listeners.add(({ next, old }) => listener(next as T, old as T));
  }

  watch({ signal, ...options }: WatchOptions): void {
    const files = (): ReadonlyMap<string, FileState> => new Map([...this.#files, ...this.#lastFiles]);
    const ended = signal ? AbortSignal.any([signal, this.#closing.signal]) : this.#closing.signal;
    watchConfig({ files, sources: this.#sources.sources ?? [] }, { ...options, signal: ended });
  }

  explain(): readonly ConfigEntry[] {
    return explainSnapshot(this.#declared, this.#snapshot);
  }

  jsonSchema(): Record<string, unknown> {
    return documentSchema(this.#declared);
  }

  close(): void {
    this.#closing.abort(closed());
    this.#listeners.clear();
    for (const round of [this.#running, this.#next]) round?.cancel.abort(closed());
  }

  #require({ section }: SettingsToken): void {
    if (this.#declared.sections.has(section)) return;
    const what = `settings must be of a section of this config, not ${JSON.stringify(section)}`;
    throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", what);
  }

  #round(before: Round | undefined): Round {
    const cancel = new AbortController();
    const run = async (): Promise<ReloadResult> => {
      await before?.result.catch(() => {}); // told to those who wait for it
      if (this.#next === round) [this.#running, this.#next] = [round, undefined];
      try {
        cancel.signal.throwIfAborted();
        return await this.#reload(cancel.signal);
      } finally {
        if (this.#running === round && !this.#next) this.#running = undefined;
      }
    };
    const round: Round = { result: Promise.resolve().then(run), cancel, waiting: 0 };
    round.result.catch(() => {}); // who waited may have left
    return round;
  }

  async #reload(signal: AbortSignal): Promise<ReloadResult> {
    const old = this.#snapshot;
    const changes = new Map<string, readonly string[]>();
    const files = new Map<string, FileState>();
    const check = (section: string, value: unknown, read: Omit<Snapshot, "values">): readonly ConfigFault[] => {
      const keys = this.#changedKeys(section, value, read);
      changes.set(section, keys);
      return keys.flatMap((key) => this.#fixedFault(section, key, value, read));
    };
    const reading = { declared: this.#declared, sources: this.#sources, files, signal, check };
    const read = await readSnapshot(reading).finally(() => (this.#lastFiles = files));
    signal.throwIfAborted();
    this.#files = files;
    const changed = [...changes].filter(([, keys]) => keys.length > 0);
    const values = new Map(old.values);
    for (const [section] of changed) values.set(section, read.values.get(section));
    this.#snapshot = { ...read, values };
    for (const [section] of changed) {
      this.#listeners.get(section)?.tell({ next: values.get(section), old: old.values.get(section) });
    }
    return { changed: changed.flatMap(([, keys]) => keys) };
  }

  #changedKeys(section: string, value: unknown, { given }: Omit<Snapshot, "values">): string[] {
    const old = this.#snapshot;
    const before = { given: old.given[section], value: old.values.get(section) };
    return changedKeys(section, before, { given: given[section], value });
  }

  #fixedFault(section: string, key: string, value: unknown, read: Omit<Snapshot, "values">): ConfigFault[] {
    const settings = this.#declared.sections.get(section);
    const path = key === section ? [] : key.slice(section.length + 1).split(".");
    if (!settings || isReloadable(settings, path[0])) return [];
    const isHidden = touchesSecret(key, this.#declared.leaves);
    const shown = (given: unknown, made: unknown): string =>
      isHidden ? "***" : show(valueAt(given, path) ?? valueAt(made, path));
    const from = shown(this.#snapshot.given[section], this.#snapshot.values.get(section));
    const to = shown(read.given[section], value);
    const source = read.provenance.sourceAt(key);
    const was = this.#snapshot.provenance.sourceAt(key);
    const problem = `cannot change while the app runs, from ${from} to ${to}; restart the app to use it, or take it back`;
    return [{ key, problem, source: source === "default" && was !== source ? `${source}, was ${was}` : source }];
  }
}

function closed(): ConfigError {
  const fault = { key: "config", problem: "the app has stopped, and reads its config no more", source: "reload" };
  return new ConfigError("ERR_CONFIG_CLOSED", [fault]);
}
