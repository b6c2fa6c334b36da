import { type ConfigDocument, ConfigError, type ConfigFault, parseConfig } from "@plinth/kernel";
import type { KvEntry } from "./kv.ts";

const maxDepth = 64;
const forbiddenParts: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/**
 * The YAML or JSON document that one key holds.
 * @throws {@link ConfigError} `ERR_CONFIG_FILE` with every fault, each with its line.
 */
export function toDocument(entry: KvEntry): ConfigDocument {
  return parseConfig(toText(entry), `consul:${entry.key}`);
}

/** What one key holds. @throws {@link ConfigError} `ERR_CONFIG_FILE` when it is not UTF-8. */
export function toText(entry: KvEntry): string {
  const text = decode(entry);
  if (text !== undefined) return text;
  const name = `consul:${entry.key}`;
  throw new ConfigError("ERR_CONFIG_FILE", [{ key: name, problem: notUtf8, source: name }]);
}

/**
 * The document that a folder makes, each key one value: `config/notes/http/port` under `config/notes/` is `http.port`.
 * Keys without a value are not set; keys that end in `/` mark folders.
 * @throws {@link ConfigError} `ERR_CONFIG_FILE` with every fault, each with its key.
 */
export function toFolderDocument(prefix: string, entries: readonly KvEntry[]): ConfigDocument {
  const folder = new FolderDocument(prefix, new Set(entries.filter(isSet).map(({ key }) => key)));
  for (const entry of entries) if (isSet(entry)) folder.add(entry);
  return folder.finish();
}

export function isSet({ key, value }: KvEntry): boolean {
  return !key.endsWith("/") && value.length > 0;
}

const notUtf8 = "the value is not UTF-8";

class FolderDocument implements ConfigDocument {
  readonly data: Record<string, unknown> = { __proto__: null };
  readonly places = new Map<string, string>();
  readonly #prefix: string;
  readonly #keys: ReadonlySet<string>;
  readonly #faults: ConfigFault[] = [];

  constructor(prefix: string, keys: ReadonlySet<string>) {
    this.#prefix = prefix;
    this.#keys = keys;
  }

  add(entry: KvEntry): void {
    const parts = entry.key.slice(this.#prefix.length).split("/");
    const path = parts.join(".");
    const problem = this.#problemOf(entry.key, parts);
    if (problem !== undefined) {
      this.#faults.push({ key: path, problem, source: `consul:${entry.key}` });
      return;
    }
    const value = this.#valueOf(entry, path);
    const name = parts.pop();
    if (name !== undefined) this.#folderOf(parts)[name] = value;
  }

  finish(): ConfigDocument {
    if (this.#faults.length > 0) throw new ConfigError("ERR_CONFIG_FILE", this.#faults);
    return this;
  }

  #problemOf(key: string, parts: readonly string[]): string | undefined {
    if (parts.length > maxDepth) return `nested deeper than ${maxDepth} levels`;
    if (parts.includes("")) return "a part of the key is empty";
    const forbidden = parts.find((part) => forbiddenParts.has(part));
    if (forbidden !== undefined) return `the part ${forbidden} is never allowed`;
    for (let depth = 1; depth < parts.length; depth++) {
      const above = this.#prefix + parts.slice(0, depth).join("/");
      if (this.#keys.has(above))
        return `${above} holds a value, so ${key} cannot stand below it; delete one of the two`;
    }
    return undefined;
  }

  #valueOf(entry: KvEntry, path: string): unknown {
    const name = `consul:${entry.key}`;
    const text = decode(entry);
    if (text === undefined) {
      this.#faults.push({ key: path, problem: notUtf8, source: name });
      return undefined;
    }
    try {
      const { value, places } = parseValue(text, name);
      for (const [below, place] of places) this.places.set(path + below, place);
      return value;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      for (const { key, ...fault } of error.faults) this.#faults.push({ key: path + key, ...fault });
      return undefined;
    }
  }

  #folderOf(parts: readonly string[]): Record<string, unknown> {
    let folder = this.data;
    for (const [at, part] of parts.entries()) {
      const present = folder[part];
      const next = isFolder(present) ? present : { __proto__: null };
      folder[part] = next;
      folder = next;
      const path = parts.slice(0, at + 1);
      this.places.set(path.join("."), `consul:${this.#prefix}${path.join("/")}/`);
    }
    return folder;
  }
}

function isFolder(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Undefined for what is no UTF-8. A byte order mark is left out. */
function decode({ value }: KvEntry): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(value);
  } catch {
    return undefined; // what is wrong with it is said where it is known which key it is
  }
}

interface ParsedValue {
  readonly value: unknown;
  /** By path below the value: empty, or as `.tls.cert`. */
  readonly places: ReadonlyMap<string, string>;
}

/**
 * Any YAML value, as it would stand in a file behind its key.
 * @throws {@link ConfigError} `ERR_CONFIG_FILE`, the keys of its faults below the value.
 */
function parseValue(text: string, name: string): ParsedValue {
  if (documentMark.test(text)) {
    throw new ConfigError("ERR_CONFIG_FILE", [
      { key: "", problem: "a document mark (---, ...) cannot stand in a value; put quotes around it", source: name },
    ]);
  }
  const wrapped = `${wrapper}:\n  ${text.replaceAll("\n", "\n  ")}`;
  // the wrapper takes the first line, and what stands in the first line of a value stands at its key
  const toPlace = (place: string): string => {
    const line = Number(place.slice(name.length + 1)) - 1;
    return line > 1 ? `${name}:${line}` : name;
  };
  try {
    const { data, places } = parseConfig(wrapped, name);
    const below = [...places].filter(([path]) => path !== "");
    return {
      value: data[wrapper],
      places: new Map(below.map(([path, place]) => [path.slice(wrapper.length), toPlace(place)])),
    };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const faults = error.faults.map(({ key, problem, source }) => ({
      key: key === name ? "" : key.slice(wrapper.length),
      problem: problem.replace(/ first at .*$/s, (end) => ` first at ${toPlace(end.slice(" first at ".length))}`),
      source: toPlace(source),
    }));
    throw new ConfigError("ERR_CONFIG_FILE", faults, error);
  }
}

const wrapper = "value";
const documentMark = /^(?:---|\.\.\.)(?:\s|$)/m;
