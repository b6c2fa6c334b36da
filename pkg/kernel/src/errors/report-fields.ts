import type { FieldRules } from "../logger/field-rules.ts";
import { mask } from "../logger/redaction.ts";
import { keysOf, read, unreadable } from "../logger/safe-value.ts";
import { cutKey, toText } from "../logger/text.ts";
import { AppError } from "./app-error.ts";
import { fieldOf, isError, messageOf } from "./thrown.ts";

type Attribute = string | number | boolean;
type Attributes = Readonly<Record<string, Attribute>>;

const none: Attributes = Object.freeze({});
/** Of what led to one error no more is looked at: it is more than what anybody shows. */
const maxErrors = 100;
const maxDepth = 6;

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

/** The error itself, or, where metadata of it or of what led to it holds what is to be hidden, one like it without that. Never throws. */
export function cleanError(error: AppError, rules: FieldRules): AppError {
  try {
    return cleanAppError(error, { rules, left: maxErrors, depth: 0 });
  } catch {
    // fields that throw; they may be read in a timer of the bus, where that would end the process
    return AppError.internal("ERR_INTERNAL", messageOf(error));
  }
}

interface Walk {
  readonly rules: FieldRules;
  left: number;
  depth: number;
}

function cleanAppError(error: AppError, walk: Walk): AppError {
  const metadata = cleanMetadata(error.metadata, walk.rules);
  const cause = cleanCause(error.cause, walk);
  if (metadata === error.metadata && cause === error.cause) return error;
  const { code, status, message, retryable } = error;
  return alike(error, new AppError(code, status, message, { metadata, retryable, cause }));
}

/** What led to it, itself where all of it is clean. */
function cleanCause(thrown: unknown, walk: Walk): unknown {
  if (!isError(thrown) || walk.left <= 0 || walk.depth >= maxDepth) return thrown;
  walk.left--;
  walk.depth++;
  try {
    return AppError.is(thrown) ? cleanAppError(thrown, walk) : cleanForeign(thrown, walk);
  } catch {
    return unreadable; // fields that throw
  } finally {
    walk.depth--;
  }
}

/** Nothing of its own is hidden, but it may stand before errors of ours. */
function cleanForeign(thrown: Error, walk: Walk): Error {
  const [given, list] = [fieldOf(thrown, "cause"), fieldOf(thrown, "errors")];
  const cause = cleanCause(given, walk);
  const errors = Array.isArray(list) ? cleanList(list, walk) : undefined;
  if (cause === given && (errors === undefined || errors === list)) return thrown;
  const like = alike(thrown, new Error(messageOf(thrown), { cause }));
  return errors ? Object.assign(like, { errors }) : like;
}

/** The list itself where all of it is clean. */
function cleanList(errors: readonly unknown[], walk: Walk): readonly unknown[] {
  const clean = errors.slice(0, maxErrors).map((error: unknown) => cleanCause(error, walk));
  return clean.every((error, at) => error === errors[at]) ? errors : clean;
}

/** The metadata itself where all of it is clean. */
function cleanMetadata(metadata: AppError["metadata"], rules: FieldRules): AppError["metadata"] {
  const clean: Record<string, string> = {};
  let isClean = true;
  for (const key of Object.keys(metadata)) {
    const value = metadata[key] ?? "";
    const shown = isHidden(key, rules) ? mask : toText(messageOf(value));
    clean[key] = shown;
    isClean &&= shown === value;
  }
  return isClean ? metadata : clean;
}

/** `like` under the name and with the stack of `error`, and its code if it has one. */
function alike<E extends Error>(error: Error, like: E): E {
  const code = fieldOf(error, "code");
  return Object.defineProperties(like, {
    name: { value: fieldOf(error, "name"), enumerable: true },
    stack: { get: () => fieldOf(error, "stack"), configurable: true },
    ...(code === undefined ? {} : { code: { value: code, enumerable: true } }),
  });
}
