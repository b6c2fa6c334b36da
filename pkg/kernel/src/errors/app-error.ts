import { isStatus, type Status } from "./status.ts";

export interface AppErrorOptions {
  /** What led to it; kept for logs, never sent to a caller. */
  readonly cause?: unknown;
  /** Facts that a program on the other side may act on; sent to callers, so nothing secret. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Whether trying again later may help. Default: true for `unavailable` and `aborted`, else false. */
  readonly retryable?: boolean;
}

const brand = Symbol.for("plinth.AppError");
const retryableStatuses: ReadonlySet<Status> = new Set<Status>(["unavailable", "aborted"]);

/**
 * The one error type that crosses Plinth's borders. `code` (`ERR_AREA_WHAT`) is its identity and outlives wording;
 * `status` says what kind of failure it is; code, metadata and retryability survive both wires.
 * The message is for the caller unless the status is `internal`, `unknown` or `data_loss`: those leave as a fixed text.
 */
export class AppError<Code extends string = string> extends Error {
  override readonly name: string = "AppError";
  readonly code: Code;
  readonly status: Status;
  readonly metadata: Readonly<Record<string, string>>;
  readonly retryable: boolean;

  constructor(code: Code, status: Status, message: string, options: AppErrorOptions = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.status = status;
    this.metadata = Object.freeze({ ...options.metadata });
    this.retryable = options.retryable ?? retryableStatuses.has(status);
    Object.defineProperty(this, brand, { value: true });
  }

  /** True for an `AppError` of any copy of this package. */
  static is(value: unknown): value is AppError {
    return typeof value === "object" && value !== null && brand in value && "status" in value && isStatus(value.status);
  }

  /**
   * Anything thrown, as an `AppError`: itself if it is one, else wrapped with the original as cause.
   * An aborted signal's reason becomes `cancelled` or `deadline_exceeded`; everything else `internal`.
   */
  static from(thrown: unknown): AppError {
    if (AppError.is(thrown)) return thrown;
    const name = nameOf(thrown);
    if (name === "TimeoutError")
      return new AppError("ERR_DEADLINE_EXCEEDED", "deadline_exceeded", "the time allowed has passed", {
        cause: thrown,
      });
    if (name === "AbortError")
      return new AppError("ERR_CANCELLED", "cancelled", "the work was cancelled", { cause: thrown });
    return new AppError("ERR_INTERNAL", "internal", messageOf(thrown), { cause: thrown });
  }
}

/** Codes that {@link AppError.from} gives to what was not an `AppError`. */
export type WrappedErrorCode = "ERR_CANCELLED" | "ERR_DEADLINE_EXCEEDED" | "ERR_INTERNAL";

/** The text of anything thrown; never throws itself, whatever getters the value has. */
export function messageOf(thrown: unknown): string {
  try {
    if (thrown instanceof Error) return String(thrown.message);
    if (typeof thrown === "object" && thrown !== null && "message" in thrown) return String(thrown.message);
    return String(thrown);
  } catch (error) {
    return `a thrown value that cannot be read (${error instanceof Error ? error.name : typeof error})`;
  }
}

function nameOf(thrown: unknown): string {
  try {
    return typeof thrown === "object" && thrown !== null && "name" in thrown ? String(thrown.name) : "";
  } catch {
    return ""; // a getter that throws: then it is none of the names we know
  }
}
