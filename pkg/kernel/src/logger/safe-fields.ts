import { isMap, isSet } from "node:util/types";
import { isError } from "../errors/app-error.ts";
import type { LogFields } from "./logger.ts";
import { cut, serializeError } from "./serialize-error.ts";

/** Fields whose values are never written, at any depth and in any case. */
const hidden: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "password",
  "proxy-authorization",
  "secret",
  "set-cookie",
  "token",
]);
/** Written by the logger itself: a line must not hold them twice. */
const reserved: ReadonlySet<string> = new Set(["level", "message", "time", "__proto__"]);
const upperCase = /[A-Z]/;
const maxDepth = 6;
const maxEntries = 100;
/** Values in one line, over all levels. */
const maxValues = 2_000;

interface Walk {
  left: number;
  readonly path: Set<object>;
}

/**
 * Fields as plain data that JSON can hold: secrets masked, errors with their causes, cycles and huge values cut.
 * Whatever stands in them, nothing throws.
 */
export function safeFields(fields: LogFields): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  let walk: Walk | undefined; // most lines hold no objects
  try {
    for (const key of Object.keys(fields)) {
      const raw = isHidden(key) ? "***" : read(fields, key);
      const needsWalk = typeof raw === "object" && raw !== null && key !== "error";
      if (needsWalk) walk ??= { left: maxValues, path: new Set([fields]) };
      const value = key === "error" ? serializeError(raw) : safe(raw, walk ?? noWalk);
      if (value !== undefined) result[nameOf(key)] = value;
    }
  } catch {
    result.fields = unreadable;
  }
  return result;
}

/** For values that are not walked into. */
const noWalk: Walk = Object.freeze({ left: 0, path: new Set<object>() });

function isHidden(key: string): boolean {
  return hidden.has(key) || (upperCase.test(key) && hidden.has(key.toLowerCase()));
}

/** The name in the line: never one that would stand in it twice, or set a prototype. */
function nameOf(key: string): string {
  return reserved.has(key) ? `field_${key}` : key;
}

const unreadable = "[unreadable]";

function entry(holder: object, key: string, walk: Walk): unknown {
  return isHidden(key) ? "***" : safe(read(holder, key), walk);
}

function read(holder: object, key: string): unknown {
  try {
    return Reflect.get(holder, key);
  } catch {
    return unreadable; // a getter that throws
  }
}

function safe(value: unknown, walk: Walk): unknown {
  switch (typeof value) {
    case "string":
      return cut(value);
    case "bigint":
    case "symbol":
      return value.toString();
    case "function":
      return undefined;
    case "object":
      return value === null ? null : safeObject(value, walk);
    default:
      return value;
  }
}

function safeObject(value: object, walk: Walk): unknown {
  if (walk.path.has(value)) return "[circular]";
  if (walk.path.size > maxDepth || walk.left <= 0) return Array.isArray(value) ? "[array]" : "[object]";
  walk.path.add(value);
  try {
    if (isError(value)) return serializeError(value);
    if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
    if ("toJSON" in value && typeof value.toJSON === "function") {
      const plain: unknown = Reflect.apply(value.toJSON, value, []);
      return safe(plain, walk);
    }
    if (isMap(value) || isSet(value)) return safeArray([...value].slice(0, maxEntries + 1), walk);
    return Array.isArray(value) ? safeArray(value, walk) : safeRecord(value, walk);
  } catch {
    return unreadable; // a getter, a trap or a `toJSON` that throws
  } finally {
    walk.path.delete(value);
  }
}

function safeArray(values: readonly unknown[], walk: Walk): unknown[] {
  walk.left -= values.length;
  const shown = values.slice(0, maxEntries).map((value) => safe(value, walk) ?? null);
  return values.length > maxEntries ? [...shown, "…"] : shown;
}

function safeRecord(record: object, walk: Walk): Record<string, unknown> {
  const result: Record<string, unknown> = { __proto__: null };
  const keys = Object.keys(record);
  walk.left -= keys.length;
  for (const key of keys.slice(0, maxEntries)) {
    const value = entry(record, key, walk);
    if (value !== undefined) result[key] = value;
  }
  if (keys.length > maxEntries) result["…"] = `${keys.length - maxEntries} more`;
  return result;
}
