import type { Outcome } from "@plinth/resilience";
import type { Reason } from "../reasons.ts";
import type { FailureKind } from "../upstream/upstream.ts";

/** Why the gateway answers itself, where there is no other try. */
export const reasonOfFailure: Readonly<Record<FailureKind, Reason>> = {
  unreachable: "upstream_unreachable",
  misdirected: "upstream_misdirected",
  connect_timeout: "upstream_connect_timeout",
  busy: "instances_busy",
  timeout: "upstream_timeout",
  reset: "upstream_reset",
  stalled: "upstream_reset",
  invalid: "upstream_invalid",
  unsendable: "gateway_error",
};

/** Replies with which an instance says that it cannot serve. */
export const failingStatuses: ReadonlySet<number> = new Set([502, 503, 504]);

/** What fails to connect, or says that it cannot serve, speaks against an instance; a slow or broken reply may be the request's doing. */
export function outcomeOf(end: FailureKind | "reply" | "aborted", hasFailed: boolean): Outcome {
  if (end === "reply") return hasFailed ? "failure" : "success";
  return end === "unreachable" || end === "connect_timeout" ? "local_failure" : "unknown";
}
