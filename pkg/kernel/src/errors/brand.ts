import { isStatus, type Status } from "./status.ts";

/** What makes an error an `AppError`, also one of another copy of this package or of another realm. */
export const brand = Symbol.for("plinth.AppError");
/** Of those that `AppError.from` has made of something else, which is their cause. */
const wrapper = Symbol.for("plinth.AppError.wrapper");

export interface Branded extends Error {
  readonly code: string;
  readonly status: Status;
  readonly retryable: boolean;
}

/** Never throws, whatever traps and getters the value has. */
export function isBranded(value: unknown): value is Branded {
  try {
    return (
      Error.isError(value) && // which no proxy is
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

export function markWrapper(prototype: object): void {
  Object.defineProperty(prototype, wrapper, { value: true });
}

/** What was thrown in the first place: an error that merely wraps it stands for it. */
export function rootOf(thrown: unknown): unknown {
  return isBranded(thrown) ? unwrapped(thrown) : thrown;
}

/** The same of what is known to be an `AppError`. */
export function unwrapped(error: Branded): unknown {
  return wrapper in error && error.cause !== undefined ? error.cause : error;
}
