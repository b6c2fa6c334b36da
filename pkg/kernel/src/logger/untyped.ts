import { isError, messageOf } from "../errors/app-error.ts";
import type { LogFields } from "./logger.ts";
import { read, unreadable } from "./safe-value.ts";

/** Whether a caller without types has given fields where they belong. */
export function isFields(value: unknown): value is LogFields {
  return typeof value === "object" && value !== null && !isError(value);
}

/**
 * What callers without types mean: an error or an object in the place of the message, an error or a text in the place of
 * the fields. Never throws.
 */
export function toTyped(...given: readonly unknown[]): { readonly message: string; readonly fields: LogFields } {
  const fields: Record<string, unknown> = {};
  for (const value of given) if (isFields(value)) copy(value, fields);
  const error = given.find(isError);
  if (error !== undefined) fields.error = error;
  const [message, ...rest] = given.filter((value) => typeof value !== "object" && value !== undefined);
  if (rest.length > 0) fields.fields = rest[0];
  const text = message ?? error;
  return { message: text === undefined ? "" : messageOf(text), fields };
}

function copy(from: LogFields, to: Record<string, unknown>): void {
  try {
    for (const key of Object.keys(from)) {
      Object.defineProperty(to, key, { value: read(from, key), enumerable: true, writable: true, configurable: true });
    }
  } catch {
    to.fields = unreadable;
  }
}
