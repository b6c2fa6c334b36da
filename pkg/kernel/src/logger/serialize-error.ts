import { AppError, messageOf } from "../errors/app-error.ts";

const maxDepth = 6;
const maxTextLength = 16_384;

/** Anything thrown as plain data: type, message, stack, code, metadata, the chain of causes, the errors of an aggregate. */
export function serializeError(thrown: unknown, depth = 0): unknown {
  if (!(thrown instanceof Error) && !AppError.is(thrown))
    return { type: typeof thrown, message: cut(messageOf(thrown)) };
  if (depth >= maxDepth) return { type: "Error", message: "the chain of causes goes on" };
  const error: Error & { code?: unknown; errors?: unknown } = thrown;
  return {
    type: error.name,
    message: cut(messageOf(error)),
    ...(error.code === undefined ? {} : { code: String(error.code) }),
    ...(AppError.is(error)
      ? { status: error.status, ...(Object.keys(error.metadata).length > 0 ? { metadata: error.metadata } : {}) }
      : {}),
    ...(typeof error.stack === "string" ? { stack: cut(error.stack) } : {}),
    ...(error.cause === undefined ? {} : { cause: serializeError(error.cause, depth + 1) }),
    ...(Array.isArray(error.errors)
      ? { errors: error.errors.slice(0, 20).map((inner) => serializeError(inner, depth + 1)) }
      : {}),
  };
}

function cut(text: string): string {
  return text.length <= maxTextLength ? text : `${text.slice(0, maxTextLength)}… (${text.length} characters)`;
}
