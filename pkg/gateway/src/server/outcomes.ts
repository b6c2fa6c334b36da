import type { Reason } from "../reasons.ts";
import type { FailureKind } from "../upstream/upstream.ts";

/** Why the gateway answers itself, where there is no other try. */
export const reasonOfFailure: Readonly<Record<FailureKind, Reason>> = {
  unreachable: "upstream_unreachable",
  misdirected: "upstream_misdirected",
  connect_timeout: "upstream_connect_timeout",
  untrusted: "upstream_untrusted",
  busy: "instances_busy",
  refused: "instances_busy",
  timeout: "upstream_timeout",
  reset: "upstream_reset",
  stalled: "upstream_reset",
  invalid: "upstream_invalid",
  unsendable: "gateway_error",
};
