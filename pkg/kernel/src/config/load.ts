import { messageOf } from "../errors/app-error.ts";
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
  const path = sources.file || sources.environment[`${prefix}CONFIG`] || undefined;
  const file: ConfigDocument = path === undefined ? { data: {}, places: new Map() } : readConfigFile(path);
  const merged: Record<string, unknown> = { __proto__: null };
  const knowledge: Knowledge = { origins: new Map(), leaves: [], unparsed: new Set() };

  mergeInto(merged, sources.defaults ?? {}, "", () => "code", knowledge.origins);
  mergeInto(merged, file.data, "", (key) => file.places.get(key) ?? path ?? "config file", knowledge.origins);
  for (const settings of bySection.values()) {
    for (const leaf of declaredLeaves(settings, faults)) {
      knowledge.leaves.push(leaf);
      const fault = applyVariable(leaf, sources.environment, merged, knowledge.origins);
      if (!fault) continue;
      faults.push(fault);
      knowledge.unparsed.add(fault.key);
    }
  }
  mergeInto(merged, sources.overrides ?? {}, "", () => "override", knowledge.origins);

  for (const key of Object.keys(merged)) {
    if (bySection.has(key)) continue;
    faults.push({
      key,
      problem: `no module has this section${didYouMean(key, bySection.keys())}`,
      source: originOf(key, knowledge.origins),
    });
  }
  const config = new Map<string, unknown>();
  for (const settings of bySection.values()) {
    const { section } = settings;
    const given = merged[section] ?? {};
    const result = await validate(settings, given);
    if (!result.issues) config.set(section, deepFreeze(result.value));
    else for (const issue of result.issues) faults.push(...toFaults(section, issue, given, knowledge));
  }
  if (faults.length > 0) throw new ConfigError("ERR_CONFIG_INVALID", faults);
  return config;
}

type Result = { readonly issues?: undefined; readonly value: unknown } | { readonly issues: readonly Issue[] };

async function validate({ schema }: SettingsToken, given: unknown): Promise<Result> {
  try {
    return await schema["~standard"].validate(given);
  } catch (error) {
    return { issues: [{ message: `the schema itself failed: ${messageOf(error)}` }] };
  }
}

/** What variables can set, from the section's JSON Schema. */
function declaredLeaves({ section, schema }: SettingsToken, faults: ConfigFault[]): Leaf[] {
  try {
    const source = schema["~standard"].jsonSchema;
    // zod's words for: a type that JSON does not know, a date or a class, is no reason to fail
    const libraryOptions = { unrepresentable: "any" };
    return leavesOf(source?.input({ target: "draft-2020-12", libraryOptions }), [section]);
  } catch (error) {
    faults.push({ key: section, problem: `its schema has no JSON Schema: ${messageOf(error)}`, source: "code" });
    return [];
  }
}

function uniqueSections(sections: Iterable<SettingsToken>, faults: ConfigFault[]): Map<string, SettingsToken> {
  const result = new Map<string, SettingsToken>();
  for (const settings of sections) {
    const twin = result.get(settings.section);
    if (twin && twin !== settings) {
      faults.push({ key: settings.section, problem: "two modules declare this section", source: "code" });
    }
    result.set(settings.section, settings);
  }
  return result;
}

function applyVariable(
  leaf: Leaf,
  environment: Environment,
  merged: Record<string, unknown>,
  origins: Map<string, string>,
): ConfigFault | undefined {
  const variable = variableName(prefix, leaf.path);
  const text = environment[variable];
  if (text === undefined || text === "") return undefined;
  const parsed = parseVariable(leaf, text, variable);
  if ("fault" in parsed) return parsed.fault;
  let patch: unknown = parsed.value;
  for (const key of leaf.path.toReversed()) patch = { [key]: patch };
  if (isRecord(patch)) mergeInto(merged, patch, "", () => variable, origins);
  return undefined;
}

function mergeInto(
  target: Record<string, unknown>,
  source: ConfigData,
  path: string,
  origin: (key: string) => string,
  origins: Map<string, string>,
): void {
  for (const [key, value] of Object.entries(source)) {
    // a section with nothing under its name, as when every line of it is commented out, sets nothing
    if (value === undefined || (value === null && path === "")) continue;
    const full = path === "" ? key : `${path}.${key}`;
    const present = target[key];
    origins.set(full, origin(full));
    if (isRecord(value)) {
      const child: Record<string, unknown> = isRecord(present) ? present : { __proto__: null };
      target[key] = child;
      mergeInto(child, value, full, origin, origins);
    } else if (Array.isArray(value)) {
      target[key] = value.map((item: unknown, index) => copy(item, `${full}.${index}`, origin, origins));
    } else {
      target[key] = value;
    }
  }
}

/** Lists replace each other whole; what they hold is copied, so that freezing it freezes nothing of the caller's. */
function copy(value: unknown, path: string, origin: (key: string) => string, origins: Map<string, string>): unknown {
  origins.set(path, origin(path));
  if (Array.isArray(value)) return value.map((item: unknown, index) => copy(item, `${path}.${index}`, origin, origins));
  if (!isRecord(value)) return value;
  const result: Record<string, unknown> = { __proto__: null };
  mergeInto(result, value, path, origin, origins);
  return result;
}

interface Issue {
  readonly message: string;
  readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
  readonly keys?: unknown;
}

interface Knowledge {
  readonly origins: Map<string, string>;
  readonly leaves: Leaf[];
  /** Keys whose variable could not be parsed: that they are absent is no second fault. */
  readonly unparsed: Set<string>;
}

function toFaults(section: string, issue: Issue, given: unknown, knowledge: Knowledge): ConfigFault[] {
  const { origins, leaves, unparsed } = knowledge;
  const path = (issue.path ?? []).map((part) => String(typeof part === "object" ? part.key : part));
  const key = [section, ...path].join(".");
  if (unparsed.has(key)) return [];
  if (Array.isArray(issue.keys)) {
    // zod's form of unknown keys: one fault for each
    const siblings = leaves
      .map((leaf) => leaf.path.join("."))
      .filter((leaf) => leaf.startsWith(`${key}.`))
      .map((leaf) => leaf.slice(key.length + 1).split(".")[0] ?? "");
    return issue.keys.map(String).map((name) => ({
      key: `${key}.${name}`,
      problem: `unknown key${didYouMean(name, siblings)}`,
      source: originOf(`${key}.${name}`, origins),
    }));
  }
  let value: unknown = given;
  for (const part of path) value = isRecord(value) || Array.isArray(value) ? Reflect.get(value, part) : undefined;
  const message = issue.message.replace(/^Invalid input: /, "");
  const problem = touchesSecret(key, leaves) ? hide(message, value) : `${message}, got ${show(value)}`;
  return [{ key, problem, source: originOf(key, origins) }];
}

/** Whether a key is a secret, stands inside one, or holds one. */
function touchesSecret(key: string, leaves: readonly Leaf[]): boolean {
  return leaves.some(({ path, secret }) => {
    const leaf = path.join(".");
    return secret && (leaf === key || leaf.startsWith(`${key}.`) || key.startsWith(`${leaf}.`));
  });
}

/** Some validators put what was given into their message. */
function hide(message: string, value: unknown): string {
  const text = typeof value === "string" ? value : undefined;
  return `${text !== undefined && text !== "" && message.includes(text) ? "not as expected" : message}, got ***`;
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  return (typeof value === "string" ? JSON.stringify(value) : messageOf(value)).slice(0, 100);
}

/** The source of a key, or of the nearest thing above it that came from somewhere. */
function originOf(key: string, origins: ReadonlyMap<string, string>): string {
  for (let path = key; path !== ""; path = path.slice(0, Math.max(0, path.lastIndexOf(".")))) {
    const origin = origins.get(path);
    if (origin !== undefined) return origin;
  }
  return "default";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** Plain data only: what a schema made of it, a `URL` or a typed array, is its own affair. */
function deepFreeze(value: unknown): unknown {
  if ((isRecord(value) || Array.isArray(value)) && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const child of Object.values(value)) deepFreeze(child);
  }
  return value;
}
