import { isBranded } from "./brand.ts";
import { isServerFault, type Status } from "./status.ts";
import { fieldOf, isError, messageOf } from "./thrown.ts";

/** Codes that `AppError.from` gives to what was not an `AppError`. */
export type WrappedErrorCode =
  | "ERR_AGGREGATE"
  | "ERR_CANCELLED"
  | "ERR_CONNECTION_FAILED"
  | "ERR_CONNECTION_LOST"
  | "ERR_DEADLINE_EXCEEDED"
  | "ERR_INTERNAL"
  | "ERR_SYSTEM_RESOURCES";

/** What a foreign error is in our terms. The message of all but `internal` is for callers: nothing of the error stands in it. */
export interface Meaning {
  readonly code: string;
  readonly status: Status;
  readonly message: string;
  /** Absent: as the status says. */
  readonly retryable?: boolean;
}

const cancelled: Meaning = { code: "ERR_CANCELLED", status: "cancelled", message: "the work was cancelled" };
const late: Meaning = {
  code: "ERR_DEADLINE_EXCEEDED",
  status: "deadline_exceeded",
  message: "the time allowed has passed",
};
const unreachable: Meaning = {
  code: "ERR_CONNECTION_FAILED",
  status: "unavailable",
  message: "something that the service needs cannot be reached",
};
/** A name that does not exist will mostly not exist in a moment either. */
const unknownName: Meaning = { ...unreachable, retryable: false };
const connectionLost: Meaning = {
  code: "ERR_CONNECTION_LOST",
  status: "unavailable",
  message: "the connection to something that the service needs was lost",
};
/** Not `resource_exhausted`, which tells callers that they ask too much, and operators nothing. */
const outOfResources: Meaning = {
  code: "ERR_SYSTEM_RESOURCES",
  status: "unavailable",
  message: "the service is short of something that its machine gives",
};

/**
 * By the `code` of the error. What is not here, such as a file that is absent or not permitted, is a fault of the server.
 * @see https://nodejs.org/api/errors.html#common-system-errors
 * @see https://undici.nodejs.org/#/docs/api/Errors
 */
const systemErrors: ReadonlyMap<unknown, Meaning> = new Map<unknown, Meaning>([
  ["ECONNREFUSED", unreachable],
  ["EHOSTDOWN", unreachable],
  ["EHOSTUNREACH", unreachable],
  ["ENETDOWN", unreachable],
  ["ENETUNREACH", unreachable],
  ["ETIMEDOUT", unreachable],
  ["EAI_AGAIN", unreachable],
  ["ENOTFOUND", unknownName],
  ["UND_ERR_CONNECT_TIMEOUT", unreachable],
  ["ECONNABORTED", connectionLost],
  ["ECONNRESET", connectionLost],
  ["EPIPE", connectionLost],
  ["UND_ERR_SOCKET", connectionLost],
  ["UND_ERR_HEADERS_TIMEOUT", late],
  ["UND_ERR_BODY_TIMEOUT", late],
  ["UND_ERR_ABORTED", cancelled],
  ["EDQUOT", outOfResources],
  ["EMFILE", outOfResources],
  ["ENFILE", outOfResources],
  ["ENOBUFS", outOfResources],
  ["ENOMEM", outOfResources],
  ["ENOSPC", outOfResources],
]);

/** Errors inside one error that are looked at, over all levels. */
const maxInner = 100;
const maxMessages = 3;

interface Walk {
  left: number;
}

/**
 * What `thrown`, which is no `AppError`, means. Never throws.
 * @param signal - Its reason, whatever that is, means that the work was cancelled.
 */
export function meaningOf(thrown: unknown, signal?: AbortSignal): Meaning {
  if (signal?.aborted === true && thrown === signal.reason) return isLate(thrown) ? late : cancelled;
  try {
    const known = knownMeaningOf(thrown, { left: maxInner });
    if (known) return known;
  } catch {
    // a list of errors whose traps throw
  }
  return { code: "ERR_INTERNAL", status: "internal", message: messageOf(thrown) };
}

function knownMeaningOf(thrown: unknown, walk: Walk): Meaning | undefined {
  if (walk.left-- <= 0 || !isError(thrown)) return undefined;
  const name = fieldOf(thrown, "name");
  if (name === "TimeoutError") return late;
  // as Node's own functions reject, with the reason of the signal as cause
  if (name === "AbortError") return isLate(fieldOf(thrown, "cause")) ? late : cancelled;
  const known = systemErrors.get(fieldOf(thrown, "code"));
  if (known) return known;
  if (isFailedFetch(thrown)) return knownMeaningOf(fieldOf(thrown, "cause"), walk);
  const errors = fieldOf(thrown, "errors");
  return Array.isArray(errors) && errors.length <= maxInner ? commonMeaningOf(errors, walk) : undefined;
}

function isLate(reason: unknown): boolean {
  return isBranded(reason) ? reason.status === "deadline_exceeded" : fieldOf(reason, "name") === "TimeoutError";
}

/** `fetch` hides what has happened behind one error. */
function isFailedFetch(thrown: Error): boolean {
  return fieldOf(thrown, "name") === "TypeError" && fieldOf(thrown, "message") === "fetch failed";
}

/** What all of several errors mean; undefined when they differ, or one is a fault of the server. */
function commonMeaningOf(errors: readonly unknown[], walk: Walk): Meaning | undefined {
  const meanings = errors.map((error) => (isBranded(error) ? error : knownMeaningOf(error, walk)));
  const all = meanings.filter((meaning) => meaning !== undefined);
  const [first] = all;
  if (!first || all.length < errors.length || isServerFault(first.status)) return undefined;
  if (all.some(({ status }) => status !== first.status)) return undefined;
  const texts = [...new Set(all.map(messageOf))];
  const message = texts.slice(0, maxMessages).join("; ") + (texts.length > maxMessages ? "; …" : "");
  const flags = new Set(all.map(({ retryable }) => retryable));
  const retryable = flags.has(false) ? false : flags.has(undefined) ? undefined : true;
  const rest = { message, ...(retryable === undefined ? {} : { retryable }) };
  if (all.every(({ code }) => code === first.code)) return { code: first.code, status: first.status, ...rest };
  return { code: "ERR_AGGREGATE", status: first.status, ...rest };
}
