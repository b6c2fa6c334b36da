import { isServerFault, type Status } from "@plinth/kernel";
import { fromGrpcCode, problemContentType, toHttpStatus } from "@plinth/transport";
import { readDetails } from "@plinth/transport/rpc-details";
import { STATUS_CODES } from "node:http";
import { replyHeader, type ReplyHeaders } from "../headers/reply.ts";
import { readStatusDetails, retrySecondsIn } from "./status-details.ts";

/** What a call that has failed is answered with. */
export interface GrpcProblem {
  readonly status: number;
  /** Name and value by turns, without the length. */
  readonly headers: string[];
  readonly body: string;
}

const maxDetailLength = 2_048;

/**
 * The error that ends a call as problem+json, by the table that servers of Plinth go by too: a fault of the service leaves as a fixed
 * text, anything else with its code, its text, its metadata and whether to try again.
 *
 * @param fields - That hold its `grpc-status`.
 * @see https://www.rfc-editor.org/rfc/rfc9457
 */
export function toGrpcProblem(fields: ReplyHeaders, traceId: string | undefined): GrpcProblem {
  const named = fromGrpcCode(Number(replyHeader(fields, "grpc-status")));
  const status: Status = named === "ok" ? "unknown" : named;
  const http = toHttpStatus(status);
  const base = { type: "about:blank", title: STATUS_CODES[http] ?? "Error", status: http };
  const trace = traceId === undefined ? {} : { traceId };
  const headers = ["content-type", problemContentType, "cache-control", "no-store"];
  if (isServerFault(status)) {
    const detail = "The server failed at this. Its operators can find out why by the trace id.";
    return { status: http, headers, body: JSON.stringify({ ...base, code: "ERR_INTERNAL", detail, ...trace }) };
  }
  const details = readStatusDetails(replyHeader(fields, "grpc-status-details-bin"));
  const { code = "ERR_RPC_FAILED", metadata, retryable, faults } = readDetails(details);
  const retrySeconds = retrySecondsIn(details);
  if (retrySeconds !== undefined) headers.push("retry-after", `${retrySeconds}`);
  const text = decodeMessage(replyHeader(fields, "grpc-message") ?? "").slice(0, maxDetailLength);
  const problem = {
    ...base,
    code,
    detail: text === "" ? `the call failed: ${status}` : text,
    ...trace,
    ...((retryable ?? status === "unavailable") && { retryable: true }),
    ...(Object.keys(metadata).length > 0 && { metadata }),
    ...(faults.length > 0 && { errors: faults }),
  };
  return { status: http, headers, body: JSON.stringify(problem) };
}

/** Escaped as in a URL; what is no escape stands for itself. */
function decodeMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
