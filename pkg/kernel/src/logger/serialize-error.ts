import { AppError, isError, messageOf } from "../errors/app-error.ts";
import type { Status } from "../errors/status.ts";
import { mask } from "./redaction.ts";
import { toText } from "./text.ts";

const maxDepth = 6;
/** Over the whole tree of causes and aggregates: each level could hold many. */
const maxErrors = 30;
const maxAggregated = 20;

/** An error as plain data: texts, what led to it, and the errors of an aggregate. */
export interface SerializedError {
  readonly type: string;
  readonly message: string;
  readonly code?: string;
  readonly status?: Status;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly stack?: string;
  readonly cause?: SerializedError;
  readonly errors?: readonly SerializedError[] | undefined;
}

interface Walk {
  readonly isHidden: (key: string) => boolean;
  left: number;
  readonly path: Set<object>;
}

/**
 * Anything thrown as plain data: type, message, stack, code, metadata, the chain of causes, the errors of an aggregate.
 * Other fields of it are left out: they may hold what users wrote. Cycles, endless chains and huge texts are cut; never
 * throws, whatever traps and getters the value has.
 *
 * @param isHidden - Names of metadata whose values are masked. Default none.
 */
export function serializeError(thrown: unknown, isHidden: (key: string) => boolean = () => false): SerializedError {
  return serialize(thrown, { isHidden, left: maxErrors, path: new Set() });
}

function serialize(thrown: unknown, walk: Walk): SerializedError {
  if (!isError(thrown)) return { type: typeof thrown, message: toText(messageOf(thrown)) };
  if (walk.path.has(thrown)) return { type: "Error", message: "[circular]" };
  if (walk.left-- <= 0 || walk.path.size >= maxDepth) return leftOut("more errors");
  walk.path.add(thrown);
  const [name, stack, code, cause, errors] = ["name", "stack", "code", "cause", "errors"].map((key) =>
    peek((): unknown => Reflect.get(thrown, key)),
  );
  const result = {
    type: toText(messageOf(name ?? "Error")),
    message: toText(messageOf(thrown)),
    ...(code === undefined ? {} : { code: toText(messageOf(code)) }),
    ...(AppError.is(thrown) ? peek(() => appErrorFields(thrown, walk)) : {}),
    ...(typeof stack === "string" ? { stack: toText(stack) } : {}),
    ...(cause === undefined ? {} : { cause: serialize(cause, walk) }),
    ...(Array.isArray(errors) ? { errors: peek(() => serializeAll(errors, walk)) } : {}),
  };
  walk.path.delete(thrown);
  return result;
}

function appErrorFields(
  { status, metadata }: AppError,
  { isHidden }: Walk,
): Pick<SerializedError, "status" | "metadata"> {
  const texts = Object.entries(metadata).map(
    ([key, value]) => [key, isHidden(key) ? mask : toText(messageOf(value))] as const,
  );
  return texts.length > 0 ? { status, metadata: Object.fromEntries<string>(texts) } : { status };
}

function serializeAll(errors: readonly unknown[], walk: Walk): SerializedError[] {
  const shown = errors.slice(0, maxAggregated).map((inner) => serialize(inner, walk));
  const left = errors.length - shown.length;
  return left > 0 ? [...shown, leftOut(`${left} more errors`)] : shown;
}

function leftOut(what: string): SerializedError {
  return { type: "Error", message: `[${what} left out]` };
}

/** What `look` finds; undefined when a getter or a trap throws. */
function peek<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
