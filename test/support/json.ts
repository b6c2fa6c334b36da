// JSON from another process, whose shape is known by what the test asserts.

/** @throws TypeError when `value` is no object. */
export function asRecord(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null) throw new TypeError(`no object: ${JSON.stringify(value)}`);
  return { ...value };
}
