import { readFileSync, statSync } from "node:fs";
import { isMap, isNode, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLError } from "yaml";
import { messageOf } from "../errors/app-error.ts";
import { ConfigError, type ConfigFault } from "./errors.ts";

/** A parsed document: plain data without prototypes, and for each dotted path the place it stands at. */
export interface ConfigDocument {
  readonly data: Record<string, unknown>;
  /** `http.port` → `config.yaml:12`. */
  readonly places: ReadonlyMap<string, string>;
}

const maxFileBytes = 1024 * 1024;
const maxDepth = 64;
/** What comes after the first faults of syntax mostly follows from them. */
const maxFaults = 20;
const forbiddenKeys: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/**
 * Reads a YAML or JSON file (JSON is YAML).
 * @throws {@link ConfigError} `ERR_CONFIG_FILE` when it is absent, unreadable, larger than 1 MiB, not UTF-8, or no mapping of plain data.
 */
export function readConfigFile(path: string): ConfigDocument {
  let text: string;
  try {
    const file = statSync(path);
    if (!file.isFile()) throw new Error("it is no regular file");
    if (file.size > maxFileBytes) throw new Error(`it has ${file.size} bytes, at most ${maxFileBytes} are read`);
    text = new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    throw new ConfigError(
      "ERR_CONFIG_FILE",
      [{ key: path, problem: `cannot be read: ${messageOf(error)}`, source: "config file" }],
      error,
    );
  }
  return parseConfig(text, path);
}

/** @throws {@link ConfigError} `ERR_CONFIG_FILE` with every syntax fault, each with its line. */
export function parseConfig(text: string, fileName: string): ConfigDocument {
  const lines = new LineCounter();
  const document = parseDocument(text.replace(/^\uFEFF/, ""), {
    lineCounter: lines,
    uniqueKeys: false, // checked below: the parser's own check takes quadratic time
    prettyErrors: false,
    merge: false,
  });
  const faults: ConfigFault[] = [...document.errors, ...document.warnings].slice(0, maxFaults).map((error) => ({
    key: fileName,
    problem: toProblem(error),
    source: `${fileName}:${lines.linePos(error.pos[0]).line}`,
  }));
  if (faults.length > 0) throw new ConfigError("ERR_CONFIG_FILE", faults);

  const places = new Map<string, string>();
  const placeOf = (node: Node | null): string => `${fileName}:${lines.linePos(node?.range?.[0] ?? 0).line}`;
  const refuse = (path: string, problem: string, node: Node | null): undefined => {
    faults.push({ key: path || fileName, problem, source: placeOf(node) });
  };
  const toPlain = (node: Node | null, path: string, depth: number): unknown => {
    if (node === null) return null;
    places.set(path, placeOf(node));
    if (depth > maxDepth) return refuse(path, `nested deeper than ${maxDepth} levels`, node);
    if (isScalar(node)) return isPlain(node.value) ? node.value : refuse(path, "this type has no plain value", node);
    if (isSeq(node)) return node.items.map((item, index) => toPlain(nodeOf(item), `${path}.${index}`, depth + 1));
    if (!isMap(node)) return refuse(path, "aliases and anchors are not followed; write the value out", node);
    const result: Record<string, unknown> = { __proto__: null };
    for (const pair of node.items) {
      const key = nodeOf(pair.key);
      const name = isScalar(key) ? String(key.value) : undefined;
      const full = path === "" ? `${name}` : `${path}.${name}`;
      if (name === undefined) refuse(path, "a key must be plain text", key);
      else if (forbiddenKeys.has(name)) refuse(full, "this key is never allowed", key);
      else if (name in result) refuse(full, `this key stands twice, first at ${places.get(full)}`, key);
      else {
        result[name] = toPlain(nodeOf(pair.value), full, depth + 1);
        // a value may begin below its key
        places.set(full, placeOf(key));
      }
    }
    return result;
  };
  // a file without a value is an empty one
  const data: unknown = toPlain(document.contents, "", 0) ?? (faults.length === 0 ? { __proto__: null } : undefined);
  if (!isRecord(data)) refuse("", "the file must hold a mapping of sections", document.contents);
  if (faults.length > 0 || !isRecord(data)) throw new ConfigError("ERR_CONFIG_FILE", faults);
  return { data, places };
}

/** The parser's words, but where they speak of its insides. */
function toProblem({ code, message }: YAMLError): string {
  if (code === "MULTIPLE_DOCS") return "a second document begins here; one is read";
  return message.includes("call stack") ? "nested too deep to be read" : message;
}

function nodeOf(value: unknown): Node | null {
  return isNode(value) ? value : null;
}

function isPlain(value: unknown): boolean {
  return value === null || ["string", "number", "boolean"].includes(typeof value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
