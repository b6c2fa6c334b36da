import { brand, isBranded, markWrapper } from "./brand.ts";
import { meaningOf } from "./foreign-error.ts";
import type { Status } from "./status.ts";

export type { WrappedErrorCode } from "./foreign-error.ts";
export { isError, messageOf } from "./thrown.ts";

export interface AppErrorOptions {
  /** What led to it; kept for logs, never sent to a caller. */
  readonly cause?: unknown;
  /** Facts that a program on the other side may act on; sent to callers, so nothing secret. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Whether trying again later may help. Default: true for `unavailable` and `aborted`, else false. */
  readonly retryable?: boolean;
}

const noMetadata: Readonly<Record<string, string>> = Object.freeze({});
const retryableStatuses: ReadonlySet<Status> = new Set<Status>(["unavailable", "aborted"]);

/**
 * The one error type that crosses Plinth's borders. `code` (`ERR_AREA_WHAT`) is its identity and outlives wording;
 * `status` says what kind of failure it is; code, metadata and retryability survive both wires.
 * The message is for the caller unless the status is `internal`, `unknown` or `data_loss`: those leave as a fixed text.
 *
 * @example throw AppError.notFound("ERR_NOTE_MISSING", `there is no note ${id}`, { metadata: { id } });
 */
export class AppError<Code extends string = string> extends Error {
  static readonly cancelled = makerOf("cancelled");
  static readonly unknown = makerOf("unknown");
  static readonly invalidArgument = makerOf("invalid_argument");
  static readonly deadlineExceeded = makerOf("deadline_exceeded");
  static readonly notFound = makerOf("not_found");
  static readonly alreadyExists = makerOf("already_exists");
  static readonly permissionDenied = makerOf("permission_denied");
  static readonly resourceExhausted = makerOf("resource_exhausted");
  static readonly failedPrecondition = makerOf("failed_precondition");
  static readonly aborted = makerOf("aborted");
  static readonly outOfRange = makerOf("out_of_range");
  static readonly unimplemented = makerOf("unimplemented");
  static readonly internal = makerOf("internal");
  static readonly unavailable = makerOf("unavailable");
  static readonly dataLoss = makerOf("data_loss");
  static readonly unauthenticated = makerOf("unauthenticated");

  static {
    Object.defineProperty(this.prototype, brand, { value: true });
  }

  override readonly name: string = "AppError";
  readonly code: Code;
  readonly status: Status;
  readonly metadata: Readonly<Record<string, string>>;
  readonly retryable: boolean;

  constructor(code: Code, status: Status, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = status;
    this.metadata = options.metadata === undefined ? noMetadata : Object.freeze({ ...options.metadata });
    this.retryable = options.retryable ?? retryableStatuses.has(status);
  }

  /** True for an `AppError` of any copy of this package. Never throws, whatever traps and getters the value has. */
  static is(value: unknown): value is AppError {
    return isBranded(value);
  }

  /**
   * Anything thrown, as an `AppError`: itself if it is one, else wrapped with the original as cause.
   *
   * - What an aborted work rejects with becomes `cancelled` or, after a timeout, `deadline_exceeded`.
   * - A connection that cannot be had or was lost, and a machine short of files, memory or disk, are `unavailable`.
   * - Several errors at once become what all of them are.
   * - Everything else is `internal`. Only its message is that of the original, which may name hosts and paths.
   *
   * @param options.signal - Of the work: then also a reason of its own, whatever that is, is known for what it is.
   */
  static from(this: void, thrown: unknown, options: { readonly signal?: AbortSignal | undefined } = {}): AppError {
    if (AppError.is(thrown)) return thrown;
    const { code, status, message, retryable } = meaningOf(thrown, options.signal);
    const own = { cause: thrown, ...(retryable === undefined ? {} : { retryable }) };
    const error = withoutFrames(() => new WrappedError(code, status, message, own));
    if (!Error.isError(thrown)) Error.captureStackTrace(error, AppError.from); // else the cause has one
    return error;
  }
}

/** What {@link AppError.from} makes. */
class WrappedError extends AppError {
  static {
    markWrapper(this.prototype);
  }
}

/** Makes errors of one status. A subclass makes its own errors, with codes of its own: on one these do not compile. */
type Maker = <const Code extends string>(
  this: new <Own extends string>(
    code: Own,
    status: Status,
    message: string,
    options?: AppErrorOptions,
  ) => AppError<Own>,
  code: Code,
  message: string,
  options?: AppErrorOptions,
) => AppError<Code>;

function makerOf(status: Status): Maker {
  return function make(code, message, options) {
    const error = withoutFrames(() => new AppError(code, status, message, options));
    Error.captureStackTrace(error, make); // it begins where the error was made
    return error;
  };
}

/** Makes an error without a look at the stack, which is most of what an error costs. */
function withoutFrames<E extends Error>(make: () => E): E {
  const limit = Error.stackTraceLimit;
  try {
    Error.stackTraceLimit = 0;
  } catch {
    return make(); // it is frozen
  }
  try {
    return make();
  } finally {
    Error.stackTraceLimit = limit;
  }
}
