import type { IncomingHttpHeaders } from "node:http";
import { parseTraceparent, randomHex } from "@plinth/kernel";
import { safeRequestIdOf } from "./exchange.ts";

/** Ids by which operators find a request that failed. */
export interface FailureIds {
  readonly requestId: string;
  readonly traceId: string;
}

/** For a request or call that never got an exchange: those that a trusted peer gives it, where they are well formed, else ours. */
export function failureIdsOf(headers: IncomingHttpHeaders, isTrusted: boolean): FailureIds {
  const { traceparent, "x-request-id": requestId } = headers;
  const parent = isTrusted && typeof traceparent === "string" ? parseTraceparent(traceparent) : undefined;
  return {
    requestId: (isTrusted ? safeRequestIdOf(requestId) : undefined) ?? randomHex(16),
    traceId: parent?.traceId ?? randomHex(16),
  };
}
