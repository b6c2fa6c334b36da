import { readFileSync, statSync } from "node:fs";
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from "yaml";
import { messageOf } from "../errors/app-error.ts";
import { ConfigError } from "./errors.ts";

/** A parsed document: plain data without prototypes, and for each dotted path the place it stands at. */
export interface ConfigDocument {
  readonly data: Record<string, unknown>;
  /** `http.port` → `config.yaml:12`. */
  readonly places: ReadonlyMap<string, string>;
}

const maxFileBytes = 1024 * 1024;
const forbiddenKeys: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/**
 * Reads a YAML or JSON file (JSON is YAML).
 * @throws {@link ConfigError} `ERR_CONFIG_FILE` when it is absent, unreadable, larger than 1 MiB, or no mapping of plain data.
 */
export function readConfigFile(path: string): ConfigDocument {
  let text: string;
  try {
    const { size } = statSync(path);
    if (size > maxFileBytes) throw new Error(`it has ${size} bytes, at most ${maxFileBytes} are read`);
    text = readFileSync(path, "utf8");
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
    uniqueKeys: true,
    prettyErrors: false,
    merge: false,
  });
  const lineOf = (node: Node | null): number => lines.linePos(node?.range?.[0] ?? 0).line;
  const faults = [...document.errors, ...document.warnings].map((error) => ({
    key: fileName,
    problem: error.message,
    source: `${fileName}:${lines.linePos(error.pos[0]).line}`,
  }));
  if (faults.length > 0) throw new ConfigError("ERR_CONFIG_FILE", faults);

  const places = new Map<string, string>();
  const refuse = (path: string, problem: string, node: Node | null): undefined => {
    faults.push({ key: path || fileName, problem, source: `${fileName}:${lineOf(node)}` });
  };
  const toPlain = (node: Node | null, path: string): unknown => {
    if (node === null) return null;
    places.set(path, `${fileName}:${lineOf(node)}`);
    if (isScalar(node)) return typeof node.value === "bigint" ? Number(node.value) : node.value;
    if (isSeq(node)) return node.items.map((item, index) => toPlain(item as Node | null, `${path}.${index}`));
    if (!isMap(node)) return refuse(path, "aliases and anchors are not followed; write the value out", node);
    const result: Record<string, unknown> = Object.create(null);
    for (const { key, value } of node.items) {
      const name = isScalar(key) ? String(key.value) : undefined;
      if (name === undefined) refuse(path, "a key must be plain text", key as Node | null);
      else if (forbiddenKeys.has(name))
        refuse(path === "" ? name : `${path}.${name}`, "this key is never allowed", key as Node | null);
      else result[name] = toPlain(value as Node | null, path === "" ? name : `${path}.${name}`);
    }
    return result;
  };
  const data = document.contents === null ? Object.create(null) : toPlain(document.contents, "");
  if (!isRecord(data)) refuse("", "the file must hold a mapping of sections", document.contents);
  if (faults.length > 0 || !isRecord(data)) throw new ConfigError("ERR_CONFIG_FILE", faults);
  return { data, places };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
