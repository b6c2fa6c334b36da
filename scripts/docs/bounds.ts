// Between what a number of a JSON Schema lies, in words.

/** `from 1`, `to 100`, and their like, as many as there are. */
export function boundsOf(node: Readonly<Record<string, unknown>>): readonly string[] {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = node;
  const bounds = [
    isBound(minimum) && `from ${minimum}`,
    isBound(exclusiveMinimum) && `above ${exclusiveMinimum}`,
    isBound(maximum) && `to ${maximum}`,
    isBound(exclusiveMaximum) && `below ${exclusiveMaximum}`,
  ];
  return bounds.filter((bound) => bound !== false);
}

/** Not the ends of what a number can be, which schemas name for whole numbers. */
function isBound(bound: unknown): bound is number {
  return typeof bound === "number" && Math.abs(bound) < Number.MAX_SAFE_INTEGER;
}
