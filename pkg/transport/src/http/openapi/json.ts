/** An object of JSON. */
export type Json = Readonly<Record<string, unknown>>;

export function isJson(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What stands at a key of an object, if it is an object too. */
export function childOf(parent: unknown, key: string): Json | undefined {
  const child = isJson(parent) ? parent[key] : undefined;
  return isJson(child) ? child : undefined;
}

export function textOf(parent: unknown, key: string): string | undefined {
  const value = isJson(parent) ? parent[key] : undefined;
  return typeof value === "string" ? value : undefined;
}

/** Entries by name, in an order that does not change with the order in the code. */
export function sorted<T>(entries: Iterable<readonly [string, T]>): Record<string, T> {
  return Object.fromEntries([...entries].toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}
