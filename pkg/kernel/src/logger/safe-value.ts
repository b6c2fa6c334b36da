import { isAnyArrayBuffer, isMap, isRegExp, isSet } from "node:util/types";
import { isError } from "../errors/app-error.ts";
import type { FieldRules } from "./field-rules.ts";
import { mask } from "./redaction.ts";
import { serializeError } from "./serialize-error.ts";
import { cutKey, toText } from "./text.ts";

const maxDepth = 6;
/** Of one list or object. */
const maxEntries = 100;
/** Values in one line, over all levels. */
const maxValues = 2_000;

/** The way through the values of one line. */
export interface Walk {
  readonly rules: FieldRules;
  readonly fields: object;
  /** Where it stands, from the fields down; made when the first object comes, which most lines do not hold. */
  path: Set<object> | undefined;
  left: number;
}

export function startWalk(rules: FieldRules, fields: object): Walk {
  return { rules, fields, path: undefined, left: maxValues };
}

export const unreadable = "[unreadable]";

/** `holder[key]`, whatever its getter does. */
export function read(holder: object, key: string): unknown {
  try {
    return Reflect.get(holder, key);
  } catch {
    return unreadable; // a getter or a trap that throws
  }
}

/**
 * A value as plain data that JSON can hold: secrets masked, errors with their causes, cycles and huge values cut; undefined
 * for what no line shows. Whatever stands in it, nothing throws.
 */
export function safeValue(value: unknown, walk: Walk): unknown {
  switch (typeof value) {
    case "string":
      return toText(value);
    case "bigint":
    case "symbol":
      return toText(value.toString());
    case "function":
      return undefined;
    case "object":
      return value === null ? null : safeObject(value, walk);
    default:
      return value; // NaN and the infinities become null in JSON
  }
}

function safeObject(value: object, walk: Walk): unknown {
  const path = (walk.path ??= new Set([walk.fields]));
  if (path.has(value)) return "[circular]";
  if (path.size > maxDepth || walk.left <= 0) return Array.isArray(value) ? "[array]" : "[object]";
  path.add(value);
  try {
    if (isError(value)) return serializeError(value, (key) => walk.rules.isHidden(key));
    if (ArrayBuffer.isView(value) || isAnyArrayBuffer(value)) return `[${value.byteLength} bytes]`;
    if ("toJSON" in value && typeof value.toJSON === "function") {
      const plain: unknown = Reflect.apply(value.toJSON, value, []);
      return safeValue(plain, walk);
    }
    if (isRegExp(value)) return toText(String(value));
    if (isMap(value) || isSet(value)) return safeList(firstOf(value), value.size, walk);
    return Array.isArray(value) ? safeList(value.slice(0, maxEntries), value.length, walk) : safeRecord(value, walk);
  } catch {
    return unreadable; // a getter, a trap or a `toJSON` that throws
  } finally {
    path.delete(value);
  }
}

function firstOf(values: Iterable<unknown>): unknown[] {
  return Iterator.from(values).take(maxEntries).toArray();
}

function safeList(first: readonly unknown[], count: number, walk: Walk): unknown[] {
  walk.left -= first.length;
  const shown = first.map((value) => safeValue(value, walk) ?? null);
  return count > maxEntries ? [...shown, "…"] : shown;
}

function safeRecord(record: object, walk: Walk): Record<string, unknown> {
  const result: Record<string, unknown> = {}; // one without a prototype takes JSON.stringify far longer
  const { keys, more } = keysOf(record);
  walk.left -= keys.length;
  for (const key of keys) {
    const value = walk.rules.isHidden(key) ? mask : safeValue(read(record, key), walk);
    if (value !== undefined) set(result, cutKey(key), value);
  }
  if (more !== undefined) result["…"] = more;
  return result;
}

/** `__proto__` as a field like any other, too. */
function set(record: Record<string, unknown>, key: string, value: unknown): void {
  if (key !== "__proto__") record[key] = value;
  else Object.defineProperty(record, key, { value, enumerable: true });
}

/** The names of an object's values, not more than are shown, and a note on the others. */
export function keysOf(record: object): { readonly keys: readonly string[]; readonly more: string | undefined } {
  const keys = Object.keys(record);
  if (keys.length <= maxEntries) return { keys, more: undefined };
  return { keys: keys.slice(0, maxEntries), more: `${keys.length - maxEntries} more` };
}
