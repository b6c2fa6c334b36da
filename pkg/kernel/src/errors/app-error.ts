import { inspect } from "node:util";
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
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = status;
    this.metadata = Object.freeze({ ...options.metadata });
    this.retryable = options.retryable ?? retryableStatuses.has(status);
    Object.defineProperty(this, brand, { value: true });
  }

  /** True for an `AppError` of any copy of this package. Never throws, whatever traps and getters the value has. */
  static is(value: unknown): value is AppError {
    try {
      return (
        typeof value === "object" &&
        value !== null &&
        brand in value &&
        "code" in value &&
        typeof value.code === "string" &&
        "status" in value &&
        isStatus(value.status)
      );
    } catch {
      return false; // what cannot be looked at is none of ours
    }
  }

  /**
   * Anything thrown, as an `AppError`: itself if it is one, else wrapped with the original as cause.
   * An aborted signal's reason becomes `cancelled` or `deadline_exceeded`; everything else `internal`.
   */
  static from(thrown: unknown): AppError {
    if (AppError.is(thrown)) return thrown;
    const name = nameOf(thrown);
    const cause = { cause: thrown };
    if (name === "AbortError") return new AppError("ERR_CANCELLED", "cancelled", "the work was cancelled", cause);
    if (name === "TimeoutError") {
      return new AppError("ERR_DEADLINE_EXCEEDED", "deadline_exceeded", "the time allowed has passed", cause);
    }
    return new AppError("ERR_INTERNAL", "internal", messageOf(thrown), cause);
  }
}

/** Codes that {@link AppError.from} gives to what was not an `AppError`. */
export type WrappedErrorCode = "ERR_CANCELLED" | "ERR_DEADLINE_EXCEEDED" | "ERR_INTERNAL";

/** The text of anything thrown; never empty, and never throws itself, whatever traps and getters the value has. */
export function messageOf(thrown: unknown): string {
  try {
    if ((typeof thrown !== "object" && typeof thrown !== "function") || thrown === null) return String(thrown) || '""';
    if (!("message" in thrown)) return inspect(thrown, { depth: 1, breakLength: Infinity }).slice(0, maxInspected);
    return String(thrown.message) || standInFor(thrown);
  } catch {
    return "a thrown value that cannot be read";
  }
}

const maxInspected = 1_000;

/** For an error without a message, as a refused connection to a name with two addresses is: its errors, or code and name. */
function standInFor(thrown: object): string {
  const { name, code, errors }: { name?: unknown; code?: unknown; errors?: unknown } = thrown;
  const inner = Array.isArray(errors)
    ? errors.slice(0, 3).map((error: unknown) => (error instanceof Error ? error.message : ""))
    : [];
  return (
    inner.filter(Boolean).join("; ") ||
    [name, code].filter(Boolean).map(String).join(" ") ||
    "an error without a message"
  );
}

/** Also for errors of another realm or another copy of this package, which look like one. */
export function isError(value: unknown): value is Error {
  try {
    if (value instanceof Error) return true;
    if (typeof value !== "object" || value === null || !("stack" in value) || !("message" in value)) return false;
    return typeof value.stack === "string" && typeof value.message === "string";
  } catch {
    return false; // a proxy whose traps throw
  }
}

function nameOf(thrown: unknown): string {
  try {
    return typeof thrown === "object" && thrown !== null && "name" in thrown ? String(thrown.name) : "";
  } catch {
    return ""; // a getter that throws: then it is none of the names we know
  }
}
