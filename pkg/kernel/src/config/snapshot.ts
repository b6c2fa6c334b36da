import { readArguments, splitArguments } from "./arguments.ts";
import { type ConfigData, deepFreeze } from "./data.ts";
import { type Declared, fileVariable, profileVariable } from "./declared.ts";
import { type Named, readDocuments } from "./documents.ts";
import { type Environment, readEnvironment } from "./environment.ts";
import { ConfigError, type ConfigFault } from "./errors.ts";
import { type Merged, mergeLayer } from "./merge.ts";
import { didYouMean } from "./nearest.ts";
import { Provenance } from "./provenance.ts";
import type { FileState } from "./read-text.ts";
import { readSecretFiles } from "./secret-files.ts";
import type { ConfigSource } from "./source.ts";
import { validateSection } from "./validate.ts";

/** Where the config comes from; what stands later here wins. Beneath all are the defaults of the schemas. */
export interface ConfigSources {
  /** What the app sets in code. */
  readonly defaults?: ConfigData;
  /** Path of a YAML or JSON file. Default: `--config`, else the variable `PLINTH_CONFIG`, else none. */
  readonly file?: string | undefined;
  /**
   * Names a second file beside the first, which must exist: `production` is `config.production.yaml` beside `config.yaml`.
   * Default: `--profile`, else the variable `PLINTH_PROFILE`, else none.
   */
  readonly profile?: string | undefined;
  /** Further places, such as a key-value store; later ones win. */
  readonly sources?: readonly ConfigSource[];
  /** Where variables are read from, at each load anew. */
  readonly environment: Environment;
  /** The command line without program and script: `process.argv.slice(2)`. Each word must be of the config. Default: none. */
  readonly arguments?: readonly string[];
  /** What wins over everything: for tests and embedding. */
  readonly overrides?: ConfigData;
}

/** The config as it was at one moment. */
export interface Snapshot {
  /** By section: what the schemas made of it, frozen. */
  readonly values: ReadonlyMap<string, unknown>;
  /** By section: what the sources gave, before the schemas. */
  readonly given: Readonly<Record<string, unknown>>;
  readonly provenance: Provenance;
}

export interface Reading {
  readonly declared: Declared;
  readonly sources: ConfigSources;
  /** Takes what tells later whether a file has changed, also of those that cannot be read. */
  readonly files: Map<string, FileState>;
  readonly signal: AbortSignal;
  /** Finds what is wrong with a snapshot that is valid in itself. */
  readonly check?: (section: string, value: unknown, read: Omit<Snapshot, "values">) => readonly ConfigFault[];
}

/**
 * Reads all sources and validates every section.
 * @throws {@link ConfigError} with every fault; the signal's reason when it aborts, also while a source or a schema hangs.
 */
export async function readSnapshot(reading: Reading): Promise<Snapshot> {
  const { signal } = reading;
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.throwIfAborted();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([readAll(reading), aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

async function readAll({ declared, sources, files, signal, check }: Reading): Promise<Snapshot> {
  const { environment } = sources;
  const split = splitArguments(sources.arguments ?? []);
  const documents = await readDocuments({
    file: firstNamed(
      ["config.file", sources.file],
      ["--config", split.file],
      [fileVariable, environment[fileVariable]],
    ),
    profile: firstNamed(
      ["config.profile", sources.profile],
      ["--profile", split.profile],
      [profileVariable, environment[profileVariable]],
    ),
    sources: sources.sources ?? [],
    files,
    signal,
  });
  const variables = readEnvironment(declared, environment);
  const words = readArguments(declared, split);

  const provenance = new Provenance();
  const faults: ConfigFault[] = [...declared.faults, ...documents.faults, ...variables.faults, ...words.faults];
  const merged: Merged = { data: { __proto__: null }, provenance, faults };
  mergeLayer(merged, { data: sources.defaults ?? {}, sourceOf: () => "code" });
  for (const layer of [...documents.layers, variables, words]) mergeLayer(merged, layer);
  mergeLayer(merged, { data: sources.overrides ?? {}, sourceOf: () => "override" });
  const unread = new Set([...variables.unread, ...words.unread, ...readSecretFiles(merged, declared, files)]);

  for (const key of Object.keys(merged.data)) {
    if (declared.sections.has(key)) continue;
    const problem = `no module has this section${didYouMean(key, declared.sections.keys())}`;
    faults.push({ key, problem, source: provenance.sourceOf(key) });
  }
  const values = new Map<string, unknown>();
  // without a document much is missing that is no fault of its own
  for (const settings of documents.code === undefined ? declared.sections.values() : []) {
    const { section } = settings;
    const given = (merged.data[section] ??= { __proto__: null });
    const result = await validateSection(settings, given, { leaves: declared.leaves, provenance, unread });
    if ("value" in result) values.set(section, deepFreeze(result.value));
    else faults.push(...result.faults);
  }
  const invalid = faults.length > 0;
  for (const [section, value] of values)
    faults.push(...(check?.(section, value, { given: merged.data, provenance }) ?? []));
  if (faults.length > 0) {
    throw new ConfigError(
      documents.code ?? (invalid ? "ERR_CONFIG_INVALID" : "ERR_CONFIG_FIXED"),
      faults,
      documents.cause,
    );
  }
  return { values, given: merged.data, provenance };
}

/** An empty name is none. */
function firstNamed(...given: readonly (readonly [by: string, name: string | undefined])[]): Named | undefined {
  for (const [by, name] of given) if (name) return { name, by };
  return undefined;
}
