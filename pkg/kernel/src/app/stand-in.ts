/**
 * Takes the place of something that is not made: it may be called, constructed and asked for anything, and does nothing. It is no
 * promise, holds nothing, and is its own name as text.
 */
export function standIn(name: string): unknown {
  const text = (): string => `[${name}]`;
  const nothing = function* (): Generator<never> {};
  const own = new Map<PropertyKey, unknown>([
    ["then", undefined],
    ["toJSON", text],
    ["toString", text],
    [Symbol.toPrimitive, text],
    [Symbol.iterator, nothing],
    [Symbol.asyncIterator, async function* (): AsyncGenerator<never> {}],
  ]);
  const value: unknown = new Proxy(function () {}, {
    get: (_target, key) => (own.has(key) ? own.get(key) : value),
    set: () => true,
    apply: () => value,
    construct: (target) => (typeof value === "function" ? value : target),
  });
  return value;
}
