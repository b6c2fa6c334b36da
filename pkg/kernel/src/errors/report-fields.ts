import type { FieldRules } from "../logger/field-rules.ts";
import { mask } from "../logger/redaction.ts";
import { keysOf, read, unreadable } from "../logger/safe-value.ts";
import { cutKey, toText } from "../logger/text.ts";
import { AppError } from "./app-error.ts";
import { messageOf } from "./thrown.ts";

type Attribute = string | number | boolean;
type Attributes = Readonly<Record<string, Attribute>>;

const none: Attributes = Object.freeze({});

/** A copy of `attributes` that a report may hold: nothing secret, nothing huge, whatever callers without types give. Never throws. */
export function cleanAttributes(attributes: Attributes | undefined, rules: FieldRules): Attributes {
  if (attributes === undefined) return none;
  const clean: Record<string, Attribute> = {};
  try {
    for (const key of keysOf(attributes).keys) {
      const value = isHidden(key, rules) ? mask : plain(read(attributes, key));
      if (value !== undefined) clean[cutKey(key)] = value;
    }
  } catch {
    clean.attributes = unreadable;
  }
  return clean;
}

function isHidden(key: string, rules: FieldRules): boolean {
  const { isHidden: isNamed, paths } = rules.plan(key);
  return isNamed || paths?.some(({ endsHere }) => endsHere) === true;
}

function plain(value: unknown): Attribute | undefined {
  if (typeof value === "string") return toText(value);
  if (typeof value === "number" || typeof value === "boolean") return value;
  return value === undefined || value === null ? undefined : toText(messageOf(value));
}

/** The error itself, or, where its metadata holds what is to be hidden, one like it without that. */
export function cleanError(error: AppError, rules: FieldRules): AppError {
  const keys = Object.keys(error.metadata);
  if (keys.length === 0) return error;
  const metadata: Record<string, string> = {};
  let isClean = true;
  for (const key of keys) {
    const value = error.metadata[key] ?? "";
    const shown = isHidden(key, rules) ? mask : toText(messageOf(value));
    metadata[key] = shown;
    isClean &&= shown === value;
  }
  return isClean ? error : likeness(error, metadata);
}

function likeness(error: AppError, metadata: Readonly<Record<string, string>>): AppError {
  const { name, code, status, message, retryable, cause } = error;
  const like = new AppError(code, status, message, { metadata, retryable, cause });
  return Object.defineProperties(like, {
    name: { value: name, enumerable: true },
    stack: { get: () => error.stack, configurable: true },
  });
}
