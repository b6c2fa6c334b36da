import { problemContentType } from "@plinth/transport";
import { hstsHeader } from "../headers/reply.ts";
import type { PluginReason } from "../plugins/define.ts";
import { grpcEnding } from "../protocols/grpc.ts";
import { codeOf, problemBody, problemText } from "../problem.ts";
import { type PluginReasonName, type Reason, reasonOf } from "../reasons.ts";
import { Alarm } from "../upstream/alarm.ts";
import type { ClientRequest } from "./client-message.ts";
import type { Exchange } from "./exchange.ts";

/** A body this small is read to its end so that the connection can go on; a larger one is not waited for. */
const smallUploadBytes = 65_536;
/** How long what a client still sends is taken in and dropped, so that a reset does not overtake the reply. */
const lingerMs = 2_000;

/** Writes a reply of the gateway itself: problem+json with the reason. What of the request's body still comes is dropped. */
export function answer(exchange: Exchange, reason: Reason, detail: string | undefined, more: readonly string[]): void {
  const { status, closes, detail: usual } = reasonOf(reason);
  if (exchange.grpc) {
    endCall(exchange, status, reason, detail ?? usual, more);
    return;
  }
  sendProblem(exchange, status, problemBody(reason, exchange.span.traceId, detail), more, closes);
}

/** Writes a reply of the gateway itself that has no body. What of the request's body still comes is dropped. */
export function answerEmpty(exchange: Exchange, status: number, more: readonly string[]): void {
  const headers = status === 204 ? [...more] : ["content-length", "0", ...more];
  send(exchange, status, { headers, body: "", closes: false });
}

/** Writes the refusal of a plugin, as {@link answer} does the gateway's own. */
export function answerRejected(
  exchange: Exchange,
  reason: PluginReasonName,
  entry: PluginReason,
  more: readonly string[],
): void {
  if (exchange.grpc) {
    endCall(exchange, entry.status, reason, entry.detail, more);
    return;
  }
  sendProblem(exchange, entry.status, problemText(reason, entry, exchange.span.traceId), more);
}

function sendProblem(
  exchange: Exchange,
  status: number,
  body: string,
  more: readonly string[],
  closes: boolean | undefined = false,
): void {
  const headers = ["content-type", problemContentType, "content-length", `${Buffer.byteLength(body)}`];
  headers.push("cache-control", "no-store", ...more);
  send(exchange, status, { headers, body, closes });
}

/** Ends a call of gRPC before it has begun: a head alone, which is its trailers as well. */
function endCall(
  exchange: Exchange,
  httpStatus: number,
  reason: Reason | PluginReasonName,
  detail: string,
  more: readonly string[],
): void {
  const headers = ["content-type", "application/grpc", ...grpcEnding(httpStatus, codeOf(reason), detail), ...more];
  send(exchange, 200, { headers, body: "", closes: false });
}

/** Writes the reply that a plugin gives in the service's place. */
export function answerForPlugin(
  exchange: Exchange,
  {
    status,
    headers,
    body,
  }: { readonly status: number; readonly headers: readonly string[]; readonly body: string | Buffer },
): void {
  const hasBody = status !== 204 && status !== 304;
  const length = hasBody ? ["content-length", `${Buffer.byteLength(body)}`] : [];
  send(exchange, status, { headers: [...length, ...headers], body: hasBody ? body : "", closes: false });
}

interface OwnReply {
  readonly headers: string[];
  readonly body: string | Buffer;
  readonly closes: boolean;
}

function send(exchange: Exchange, status: number, { headers, body, closes }: OwnReply): void {
  const { response, request, core, requestId, limitHeaders } = exchange;
  if (core.hsts !== undefined) headers.push(hstsHeader, core.hsts);
  if (exchange.edge) headers.push(...exchange.edge.cors, ...exchange.edge.security);
  headers.push("x-request-id", requestId, ...(limitHeaders ?? []));
  const mustLinger = !exchange.isDeaf && !response.isStream && hasLargeUpload(exchange);
  if (closes || mustLinger || core.isDraining) {
    headers.push("connection", "close");
    exchange.isLast = true;
  }
  exchange.bytes = exchange.method === "HEAD" ? 0 : Buffer.byteLength(body);
  response.writeHead(status, headers);
  if (!mustLinger) {
    response.end(body);
    return;
  }
  // Closing a connection with bytes unread resets it, and a reset can overtake the reply. So the reply goes out whole, by its
  // length, and the connection ends when the client has stopped sending, or after a while.
  if (body.length === 0) response.flushHeaders();
  else response.write(body);
  linger(exchange, () => {
    if (!response.writableEnded) response.end();
  });
  request.resume();
}

/** The reply has gone out while the client still sends its body: it may finish, for a while. */
export function awaitUpload(exchange: Exchange): void {
  const { request } = exchange;
  linger(exchange, () => {
    if (!request.complete) request.socket.destroy();
  });
  request.resume();
}

function hasLargeUpload({ request, body, expectsContinue }: Exchange): boolean {
  const length = headerOf(request, "content-length");
  const isChunked = headerOf(request, "transfer-encoding") !== undefined;
  if ((length === undefined || length === "0") && !isChunked) return false;
  if (expectsContinue && body?.started !== true) return false; // it will not send its body now
  return isChunked || body?.started === true || !(Number(length) <= smallUploadBytes);
}

function headerOf({ rawHeaders }: ClientRequest, name: string): string | undefined {
  for (let at = 0; at < rawHeaders.length; at += 2)
    if (rawHeaders[at]?.toLowerCase() === name) return rawHeaders[at + 1];
  return undefined;
}

function linger({ request, core }: Exchange, end: () => void): void {
  const waiting = new Alarm(end);
  waiting.set(core.deadlines.list(lingerMs), core.clock.monotonicMs());
  const stop = (): void => {
    waiting.stop();
    end();
  };
  request.once("end", stop).once("close", stop);
}
