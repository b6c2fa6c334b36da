import { AppError, isError, messageOf } from "../errors/app-error.ts";

const maxDepth = 6;
/** Over the whole tree of causes and aggregates: each level could hold many. */
const maxErrors = 30;
const maxTextLength = 16_384;

interface Walk {
  left: number;
  readonly path: Set<object>;
}

/**
 * Anything thrown as plain data: type, message, stack, code, metadata, the chain of causes, the errors of an aggregate.
 * Cycles, endless chains and huge texts are cut; never throws, whatever traps and getters the value has.
 */
export function serializeError(thrown: unknown): unknown {
  return serialize(thrown, { left: maxErrors, path: new Set() });
}

function serialize(thrown: unknown, walk: Walk): unknown {
  const shown = { type: typeof thrown, message: cut(messageOf(thrown)) };
  try {
    if (!isError(thrown)) return shown;
    if (walk.path.has(thrown)) return { type: "Error", message: "[circular]" };
    if (walk.left-- <= 0 || walk.path.size >= maxDepth) return { type: "Error", message: "[more errors left out]" };
    walk.path.add(thrown);
    const result = describe(thrown, walk);
    walk.path.delete(thrown);
    return result;
  } catch {
    return shown; // a getter or trap of it throws: what could be read stands
  }
}

function describe(error: Error & { code?: unknown; errors?: unknown }, walk: Walk): object {
  return {
    type: cut(messageOf(error.name)),
    message: cut(messageOf(error)),
    ...(error.code === undefined ? {} : { code: cut(messageOf(error.code)) }),
    ...(AppError.is(error) ? { status: error.status } : {}),
    ...(AppError.is(error) && Object.keys(error.metadata).length > 0 ? { metadata: { ...error.metadata } } : {}),
    ...(typeof error.stack === "string" ? { stack: cut(error.stack) } : {}),
    ...(error.cause === undefined ? {} : { cause: serialize(error.cause, walk) }),
    ...(Array.isArray(error.errors)
      ? { errors: error.errors.slice(0, 20).map((inner) => serialize(inner, walk)) }
      : {}),
  };
}

/** Text for a log line: one that is too long is cut, and says how long it was. */
export function cut(text: string): string {
  return text.length <= maxTextLength ? text : `${text.slice(0, maxTextLength)}… (${text.length} characters)`;
}
