import { STATUS_CODES } from "node:http";
import { type PluginReasonName, type Reason, type ReasonEntry, reasonOf } from "./reasons.ts";

/** The code of a reply that the gateway makes itself. */
export function codeOf(reason: Reason | PluginReasonName): string {
  return `ERR_GATEWAY_${reason.replaceAll(/[.-]/g, "_").toUpperCase()}`;
}

/** The body of a reply that the gateway makes itself: problem+json, with the reason's fixed text. @see https://www.rfc-editor.org/rfc/rfc9457 */
export function problemBody(reason: Reason, traceId: string | undefined, detail?: string): string {
  return problemText(reason, reasonOf(reason), traceId, detail);
}

/** The same for a plugin's own reason. */
export function problemText(
  reason: Reason | PluginReasonName,
  { status, detail: usual, retryable }: Pick<ReasonEntry, "status" | "detail" | "retryable">,
  traceId: string | undefined,
  detail?: string,
): string {
  return JSON.stringify({
    type: "about:blank",
    title: STATUS_CODES[status] ?? "Error",
    status,
    code: codeOf(reason),
    reason,
    detail: detail ?? usual,
    ...(retryable ? { retryable } : {}),
    ...(traceId === undefined ? {} : { traceId }),
  });
}
