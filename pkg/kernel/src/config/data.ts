export type ConfigData = Readonly<Record<string, unknown>>;

/** Keys that would reach into the prototypes of what the data becomes. */
export const forbiddenKeys: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);
/** Levels of mappings and lists in each other. */
export const maxDepth = 64;

/** A mapping of plain data, not an instance of something. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** What stands at a path of own keys, or undefined. */
export function valueAt(data: unknown, path: readonly string[]): unknown {
  let value = data;
  for (const part of path) {
    if ((!isRecord(value) && !Array.isArray(value)) || !Object.hasOwn(value, part)) return undefined;
    value = Reflect.get(value, part);
  }
  return value;
}

/** Sets a value at a path, making the mappings on the way; `data` and they have no prototype. */
export function setAt(data: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let at = data;
  for (const part of path.slice(0, -1)) {
    const present = at[part];
    const next: Record<string, unknown> = isRecord(present) ? present : { __proto__: null };
    at[part] = next;
    at = next;
  }
  at[path.at(-1) ?? ""] = value;
}

/** Plain data only: what a schema made of it, a `URL` or a typed array, is its own affair. */
export function deepFreeze(value: unknown): unknown {
  if ((isRecord(value) || Array.isArray(value)) && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const child of Object.values(value)) deepFreeze(child);
  }
  return value;
}

/** What a map holds for a dotted key, or else for the nearest key above it. */
export function nearestAbove<T>(map: ReadonlyMap<string, T>, key: string): T | undefined {
  for (let path = key; path !== ""; path = path.slice(0, Math.max(0, path.lastIndexOf(".")))) {
    const found = map.get(path);
    if (found !== undefined) return found;
  }
  return undefined;
}
