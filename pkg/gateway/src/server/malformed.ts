import { STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { problemContentType } from "@plinth/transport";
import { problemBody } from "../problem.ts";
import { type Reason, reasonOf } from "../reasons.ts";
import type { Connections } from "./connections.ts";

/** The reason for what the parser of node:http refuses; undefined when the client is simply gone. */
export function reasonOfParserError(code: unknown): Reason | undefined {
  switch (code) {
    case "ECONNRESET":
    case "EPIPE":
    case "ETIMEDOUT":
    case "HPE_INVALID_EOF_STATE": // it ended the connection in the middle of a request
      return undefined;
    case "HPE_HEADER_OVERFLOW":
      return "headers_too_large";
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return "body_too_large";
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return "request_timeout";
    default:
      return "malformed_request";
  }
}

/**
 * Answers on a bare socket, where there is no request that a reply could belong to, and ends it. Where another reply is under
 * way on it, the bytes of both would mix: that one is broken off.
 */
export function answerSocket(
  connections: Connections,
  socket: Duplex,
  reason: Reason,
  { headers = [], traceId }: { readonly headers?: readonly string[]; readonly traceId?: string } = {},
): void {
  if (!socket.writable || connections.current(socket)) {
    socket.destroy();
    return;
  }
  const { status } = reasonOf(reason);
  const body = problemBody(reason, traceId);
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`,
    `content-type: ${problemContentType}`,
    `content-length: ${Buffer.byteLength(body)}`,
    ...headers,
    "connection: close",
  ];
  socket.on("error", () => {}); // the client has gone; node takes its own listener away at a CONNECT
  socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`, () => socket.destroy());
}
