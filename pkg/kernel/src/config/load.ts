import { type ConfigDocument, readConfigFile } from "./file.ts";
import { ConfigError, type ConfigFault } from "./errors.ts";
import { type Leaf, leavesOf, parseVariable, variableName } from "./environment.ts";
import { didYouMean } from "./nearest.ts";
import type { SettingsToken } from "./settings.ts";

export type ConfigData = Readonly<Record<string, unknown>>;
export type Environment = Readonly<Record<string, string | undefined>>;

export interface ConfigSources {
  /** What the app sets in code; file and environment win over it. */
  readonly defaults?: ConfigData;
  /** Path of a YAML or JSON file. Default: the variable `PLINTH_CONFIG`, else none. */
  readonly file?: string | undefined;
  /** Where variables are read from. */
  readonly environment: Environment;
  /** What wins over everything: for tests and embedding. */
  readonly overrides?: ConfigData;
}

/** Validated settings by section. */
export type Config = ReadonlyMap<string, unknown>;

const prefix = "PLINTH_";

/**
 * Merges schema defaults < code defaults < file < environment < overrides, validates every section, and freezes the result.
 * An empty variable counts as not set.
 *
 * @throws {@link ConfigError} `ERR_CONFIG_FILE` or `ERR_CONFIG_INVALID`, with every fault, its key, its source, what was expected and given.
 */
export async function loadConfig(sections: Iterable<SettingsToken>, sources: ConfigSources): Promise<Config> {
  const faults: ConfigFault[] = [];
  const bySection = uniqueSections(sections, faults);
  const path = sources.file ?? (sources.environment[`${prefix}CONFIG`] || undefined);
  const file: ConfigDocument = path === undefined ? { data: {}, places: new Map() } : readConfigFile(path);
  const origins = new Map<string, string>();
  const merged: Record<string, unknown> = Object.create(null);

  mergeInto(merged, sources.defaults ?? {}, "", () => "code", origins);
  mergeInto(merged, file.data, "", (key) => file.places.get(key) ?? path ?? "config file", origins);
  const secrets = new Set<string>();
  const known: string[] = [];
  for (const { section, schema } of bySection.values()) {
    for (const leaf of leavesOf(schema["~standard"].jsonSchema?.input({ target: "draft-2020-12" }), [section])) {
      known.push(leaf.path.join("."));
      if (leaf.secret) secrets.add(leaf.path.join("."));
      applyVariable(leaf, sources.environment, merged, origins, faults);
    }
  }
  mergeInto(merged, sources.overrides ?? {}, "", () => "override", origins);

  for (const key of Object.keys(merged)) {
    if (bySection.has(key)) continue;
    faults.push({
      key,
      problem: `no module has this section${didYouMean(key, bySection.keys())}`,
      source: originOf(key, origins),
    });
  }
  const config = new Map<string, unknown>();
  for (const { section, schema } of bySection.values()) {
    const given = merged[section] ?? {};
    const result = await schema["~standard"].validate(given);
    if (!result.issues) config.set(section, deepFreeze(result.value));
    else
      for (const issue of result.issues) faults.push(...toFaults(section, issue, given, { origins, secrets, known }));
  }
  if (faults.length > 0) throw new ConfigError("ERR_CONFIG_INVALID", dedupe(faults));
  return config;
}

function uniqueSections(sections: Iterable<SettingsToken>, faults: ConfigFault[]): Map<string, SettingsToken> {
  const result = new Map<string, SettingsToken>();
  for (const settings of sections) {
    const twin = result.get(settings.section);
    if (twin && twin !== settings)
      faults.push({ key: settings.section, problem: "two modules declare this section", source: "code" });
    result.set(settings.section, settings);
  }
  return result;
}

function applyVariable(
  leaf: Leaf,
  environment: Environment,
  merged: Record<string, unknown>,
  origins: Map<string, string>,
  faults: ConfigFault[],
): void {
  const variable = variableName(prefix, leaf.path);
  const text = environment[variable];
  if (text === undefined || text === "") return;
  const parsed = parseVariable(leaf, text, variable);
  if ("fault" in parsed) {
    faults.push(parsed.fault);
    return;
  }
  let patch: unknown = parsed.value;
  for (const key of leaf.path.toReversed()) patch = { [key]: patch };
  if (isRecord(patch)) mergeInto(merged, patch, "", () => variable, origins);
}

function mergeInto(
  target: Record<string, unknown>,
  source: ConfigData,
  path: string,
  origin: (key: string) => string,
  origins: Map<string, string>,
): void {
  for (const [key, value] of Object.entries(source)) {
    if (value === undefined) continue;
    const full = path === "" ? key : `${path}.${key}`;
    if (isRecord(value)) {
      const present = target[key];
      const child: Record<string, unknown> = isRecord(present) ? present : Object.create(null);
      target[key] = child;
      origins.set(full, origin(full));
      mergeInto(child, value, full, origin, origins);
    } else {
      target[key] = value;
      origins.set(full, origin(full));
    }
  }
}

interface Issue {
  readonly message: string;
  readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
  readonly keys?: unknown;
}

interface Knowledge {
  readonly origins: ReadonlyMap<string, string>;
  readonly secrets: ReadonlySet<string>;
  /** Dotted paths of all leaves. */
  readonly known: readonly string[];
}

function toFaults(
  section: string,
  issue: Issue,
  given: unknown,
  { origins, secrets, known }: Knowledge,
): ConfigFault[] {
  const path = (issue.path ?? []).map((part) => String(typeof part === "object" ? part.key : part));
  const key = [section, ...path].join(".");
  let value: unknown = given;
  for (const part of path) value = isRecord(value) || Array.isArray(value) ? Reflect.get(value, part) : undefined;
  if (Array.isArray(issue.keys)) {
    // zod's form of unknown keys: one fault for each
    const siblings = known
      .filter((leaf) => leaf.startsWith(`${key}.`))
      .map((leaf) => leaf.slice(key.length + 1).split(".")[0] ?? "");
    return issue.keys.map(String).map((name) => ({
      key: `${key}.${name}`,
      problem: `unknown key${didYouMean(name, siblings)}`,
      source: originOf(`${key}.${name}`, origins),
    }));
  }
  const masked = secrets.has(key) ? "***" : (JSON.stringify(value)?.slice(0, 100) ?? "nothing");
  return [
    { key, problem: `${issue.message.replace(/^Invalid input: /, "")}, got ${masked}`, source: originOf(key, origins) },
  ];
}

/** The source of a key, or of the nearest thing above it that came from somewhere. */
function originOf(key: string, origins: ReadonlyMap<string, string>): string {
  for (let path = key; path !== ""; path = path.slice(0, Math.max(0, path.lastIndexOf(".")))) {
    const origin = origins.get(path);
    if (origin !== undefined) return origin;
  }
  return "default";
}

function dedupe(faults: readonly ConfigFault[]): ConfigFault[] {
  // a variable that could not be parsed is absent from the merged data, and may then be missed as well: one fault is enough
  const seen = new Set<string>();
  return faults.filter(({ key }) => !seen.has(key) && seen.add(key));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const child of Object.values(value)) deepFreeze(child);
  }
  return value;
}
