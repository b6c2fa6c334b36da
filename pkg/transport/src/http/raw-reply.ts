import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { randomHex, type SpanContext } from "@plinth/kernel";
import { createPeerTrust, peerOf, type PeerTrust } from "../client-address.ts";
import { type FailureIds, failureIdsOf } from "../failure-ids.ts";
import { problemText, toProblem } from "../problem.ts";
import type { HttpFailure } from "./errors.ts";
import { plainSecurityHeaders } from "./security-headers.ts";

/** What a server believes, and says, where no layer has run. */
export interface Edge {
  /** Whose request ids are kept. */
  readonly trust: PeerTrust;
  /** What every reply has. */
  readonly headers: Readonly<Record<string, string>>;
}

export function edgeOf(settings: {
  readonly trustedPeers: readonly string[];
  readonly securityHeaders: boolean;
}): Edge {
  return { trust: createPeerTrust(settings.trustedPeers), headers: plainSecurityHeaders(settings.securityHeaders) };
}

/** Probes have no trace. */
interface ReplyIds extends Pick<FailureIds, "requestId"> {
  readonly traceId?: string | undefined;
}

export interface ProblemReply extends ReplyIds {
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** The connection can be used for the next request. Default false: it is closed. */
  readonly keepAlive?: boolean;
}

/** The ids of a request that never got an exchange. */
export function idsOf({ headers, socket }: IncomingMessage, trust: PeerTrust): RequestIds {
  const ids = failureIdsOf(headers, trust.isTrustedPeer(peerOf(socket)));
  return { ...ids, span: { traceId: ids.traceId, spanId: randomHex(8), sampled: false } };
}

/** As a context for what is done without an exchange. */
interface RequestIds extends FailureIds {
  readonly span: SpanContext;
}

const closing = { connection: "close" };

/** Answers with a problem and nothing that was set before, and closes the connection after it unless told otherwise. */
export function writeProblem(
  response: ServerResponse,
  { error, httpStatus, headers: itsOwn = {} }: HttpFailure,
  { requestId, traceId, headers: more = {}, keepAlive = false }: ProblemReply,
): void {
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  const problem = toProblem(error, { traceId, httpStatus });
  const { title, headers, text } = problemText(problem);
  response.writeHead(problem.status, title, {
    ...itsOwn,
    ...more,
    ...headers,
    "x-request-id": requestId,
    ...(keepAlive ? {} : closing),
  });
  response.end(text);
}

/** The same on a connection that has brought no request, so that there is no response object. */
export function writeProblemTo(
  socket: Socket,
  { error, httpStatus, headers: itsOwn = {} }: HttpFailure,
  { requestId, traceId, headers: more = {} }: ReplyIds & Pick<ProblemReply, "headers">,
): void {
  const problem = toProblem(error, { traceId, httpStatus });
  const { title, headers, text } = problemText(problem);
  const fields = Object.entries({ ...itsOwn, ...more, ...headers, "x-request-id": requestId, ...closing });
  const head = fields.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  socket.write(`HTTP/1.1 ${problem.status} ${title}\r\n${head}\r\n${text}`);
  socket.destroySoon();
}

/** Headers that describe the reply which failed, not the one that tells of it. */
export const ofTheReplyThatFailed = [
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-range",
  "etag",
  "last-modified",
  "trailer",
  "transfer-encoding",
];
