import type { Outcome } from "@plinth/resilience";
import type { FailureKind } from "./upstream.ts";

/** How a try ended; `aborted` when it was broken off here. */
export type TryEnd = FailureKind | "reply" | "aborted";

/**
 * What a try says of its instance. One that does not connect, or says that it cannot serve, is to blame; a slow or broken reply may be
 * the request's doing.
 * @param hasFailed - The reply's status speaks against it.
 * @param countSlow - It is to blame for those as well.
 */
export function outcomeOf(end: TryEnd, hasFailed: boolean, countSlow: boolean): Outcome {
  if (end === "reply") return hasFailed ? "failure" : "success";
  if (isUnreached(end)) return "local_failure";
  return countSlow && isSlow(end) ? "local_failure" : "unknown";
}

/** What a try says of the route at its instance, where it does not matter which of the two is to blame; undefined: nothing. */
export function hasWorked(end: TryEnd, hasFailed: boolean): boolean | undefined {
  if (end === "reply") return !hasFailed;
  return isSlow(end) || isUnreached(end) ? false : undefined;
}

function isUnreached(end: TryEnd): boolean {
  return end === "unreachable" || end === "connect_timeout" || end === "untrusted";
}

function isSlow(end: TryEnd): boolean {
  return end === "timeout" || end === "reset" || end === "stalled" || end === "invalid";
}
