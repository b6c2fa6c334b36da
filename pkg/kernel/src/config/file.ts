import { createRequire } from "node:module";
import { resolve } from "node:path";
import type * as Yaml from "yaml";
import type { LineCounter, Node, YAMLError } from "yaml";
import { messageOf } from "../errors/app-error.ts";
import { forbiddenKeys, isRecord, maxDepth } from "./data.ts";
import { ConfigError, type ConfigFault } from "./errors.ts";
import { type FileState, readTextFile, UnreadableFile } from "./read-text.ts";

/** A parsed document: plain data without prototypes, and for each dotted path the place it stands at. */
export interface ConfigDocument {
  readonly data: Record<string, unknown>;
  /** `http.port` → `config.yaml:12`. */
  readonly places: ReadonlyMap<string, string>;
}

const require = createRequire(import.meta.url);
/** Loaded with the first document: without one it would be a good part of what a start loads. */
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as its own types say
const yaml = (): typeof Yaml => (loaded ??= require("yaml") as typeof Yaml);
let loaded: typeof Yaml | undefined;

const maxFileBytes = 1024 * 1024;
/** What comes after the first faults of syntax mostly follows from them. */
const maxFaults = 20;
/** Every value is kept by its path, so that neither may be without end. */
const maxPathLength = 1_024;
const maxValues = 100_000;

export interface ReadFileOptions {
  /** Who named the file, such as `PLINTH_CONFIG`: the source of the fault when it cannot be read. Default `config file`. */
  readonly namedBy?: string;
  /** Takes what tells later whether the file has changed, also when it cannot be read. */
  readonly files?: Map<string, FileState>;
}

/**
 * Reads a YAML or JSON file (JSON is YAML).
 *
 * @throws {@link ConfigError} `ERR_CONFIG_FILE` when it is absent, unreadable, larger than 1 MiB, not UTF-8, or no mapping of plain data.
 */
export function readConfigFile(path: string, options: ReadFileOptions = {}): ConfigDocument {
  const text = readConfigText(path, options);
  try {
    return parseConfig(text, path);
  } catch (error) {
    throw error instanceof ConfigError ? error : unreadable(path, options, error);
  }
}

/**
 * Reads the text of a YAML or JSON file, for {@link parseConfig}.
 * @throws {@link ConfigError} `ERR_CONFIG_FILE` when it is absent, unreadable, larger than 1 MiB, or not UTF-8.
 */
export function readConfigText(path: string, options: ReadFileOptions = {}): string {
  try {
    const { text, state } = readTextFile(path, maxFileBytes);
    options.files?.set(path, state);
    return text;
  } catch (error) {
    if (error instanceof UnreadableFile) options.files?.set(path, error.state);
    throw unreadable(path, options, error);
  }
}

function unreadable(path: string, { namedBy = "config file" }: ReadFileOptions, error: unknown): ConfigError {
  const fault = { key: resolve(path), problem: `cannot be read: ${messageOf(error)}`, source: namedBy };
  // the fault has all that the system says; a log would repeat it with each cause
  return new ConfigError("ERR_CONFIG_FILE", [fault], error instanceof UnreadableFile ? undefined : error);
}

/**
 * Reads a YAML or JSON text.
 *
 * @param name - Names the text in places and faults: a file, a key of a store.
 * @throws {@link ConfigError} `ERR_CONFIG_FILE` with every fault, each with its line.
 */
export function parseConfig(text: string, name: string): ConfigDocument {
  const { LineCounter, parseDocument } = yaml();
  const lines = new LineCounter();
  const document = parseDocument(text.replace(/^\uFEFF/, ""), {
    lineCounter: lines,
    uniqueKeys: false, // checked below: the parser's own check takes quadratic time
    prettyErrors: false,
    merge: false,
  });
  const faults: ConfigFault[] = [...document.errors, ...document.warnings].slice(0, maxFaults).map((error) => ({
    key: name,
    problem: toProblem(error),
    source: `${name}:${lines.linePos(error.pos[0]).line}`,
  }));
  if (faults.length > 0) throw new ConfigError("ERR_CONFIG_FILE", faults);

  const walk = new Walk(name, lines, faults);
  // a text without a value is an empty document
  const data: unknown =
    walk.toPlain(document.contents, "", 0) ?? (faults.length === 0 ? { __proto__: null } : undefined);
  if (!isRecord(data)) walk.refuse("", "the file must hold a mapping of sections", document.contents);
  if (faults.length > 0 || !isRecord(data)) throw new ConfigError("ERR_CONFIG_FILE", faults);
  return { data, places: walk.places };
}

/** From the parser's nodes to plain data, with what is refused on the way. */
class Walk {
  readonly places = new Map<string, string>();
  readonly #name: string;
  readonly #lines: LineCounter;
  readonly #faults: ConfigFault[];
  #values = 0;

  constructor(name: string, lines: LineCounter, faults: ConfigFault[]) {
    this.#name = name;
    this.#lines = lines;
    this.#faults = faults;
  }

  refuse(path: string, problem: string, node: Node | null): undefined {
    this.#faults.push({ key: path || this.#name, problem, source: this.#placeOf(node) });
  }

  toPlain(node: Node | null, path: string, depth: number): unknown {
    if (node === null) return null;
    const { isMap, isScalar, isSeq } = yaml();
    this.#values++;
    if (this.#values > maxValues) {
      return this.#values === maxValues + 1 ? this.refuse("", `more than ${maxValues} values`, node) : undefined;
    }
    this.places.set(path, this.#placeOf(node));
    if (depth > maxDepth) return this.refuse(path, `nested deeper than ${maxDepth} levels`, node);
    if (isScalar(node)) {
      return isPlain(node.value) ? node.value : this.refuse(path, "this type has no plain value", node);
    }
    if (isSeq(node)) return node.items.map((item, index) => this.toPlain(nodeOf(item), `${path}.${index}`, depth + 1));
    if (!isMap(node)) return this.refuse(path, "aliases and anchors are not followed; write the value out", node);
    const result: Record<string, unknown> = { __proto__: null };
    for (const pair of node.items) {
      const key = nodeOf(pair.key);
      const name = isScalar(key) ? String(key.value) : undefined;
      const full = path === "" ? `${name}` : `${path}.${name}`;
      if (name === undefined) this.refuse(path, "a key must be plain text", key);
      else if (full.length > maxPathLength) {
        this.refuse(full, `a key with all above it has at most ${maxPathLength} characters`, key);
      } else if (forbiddenKeys.has(name)) this.refuse(full, "this key is never allowed", key);
      else if (name in result) this.refuse(full, `this key stands twice, first at ${this.places.get(full)}`, key);
      else {
        result[name] = this.toPlain(nodeOf(pair.value), full, depth + 1);
        // a value may begin below its key
        this.places.set(full, this.#placeOf(key));
      }
    }
    return result;
  }

  #placeOf(node: Node | null): string {
    return `${this.#name}:${this.#lines.linePos(node?.range?.[0] ?? 0).line}`;
  }
}

/** The parser's words, but where they speak of its insides. */
function toProblem({ code, message }: YAMLError): string {
  if (code === "MULTIPLE_DOCS") return "a second document begins here; one is read";
  return message.includes("call stack") ? "nested too deep to be read" : message;
}

function nodeOf(value: unknown): Node | null {
  return yaml().isNode(value) ? value : null;
}

function isPlain(value: unknown): boolean {
  return value === null || ["string", "number", "boolean"].includes(typeof value);
}
