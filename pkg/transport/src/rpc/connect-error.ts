import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { type AppError, isServerFault } from "@plinth/kernel";
import type { TransportErrorCode } from "../errors.ts";
import { framed } from "../grpc/messages.ts";
import { exchangeOf } from "../http/exchange.ts";
import type { ToldFailure } from "../http/exchange-owner.ts";
import type { RenderedError } from "../http/server.ts";
import type { Problem } from "../problem.ts";
import { toConnectCode } from "../status.ts";
import { streamCodecOf } from "./connect-request.ts";
import { errorDetails } from "./details.ts";

/** What HTTP tells apart and the canonical statuses do not. */
const httpStatuses: ReadonlyMap<string, number> = new Map<TransportErrorCode, number>([
  ["ERR_METHOD_NOT_ALLOWED", 405],
  ["ERR_REQUEST_MEDIA_TYPE", 415],
  ["ERR_REQUEST_TOO_LARGE", 413],
]);

/**
 * An error in the form of the protocol, with code, metadata and retryability among its details.
 * @see https://connectrpc.com/docs/protocol#error-end-stream
 */
export function renderConnectError(error: AppError, problem: Problem): RenderedError {
  const status = httpStatuses.get(error.code) ?? problem.status;
  return { status, contentType: "application/json", body: JSON.stringify(bodyOf(error, problem)) };
}

/** What is used of fastify's request. */
interface Asked {
  readonly headers: IncomingHttpHeaders;
  readonly raw: IncomingMessage;
}

/** The same of a method that streams: in the only message of a stream, but for who asks for none. */
export function renderStreamError(error: AppError, problem: Problem, { headers, raw }: Asked): RenderedError {
  const codec = streamCodecOf(headers);
  if (codec === undefined || error.code === "ERR_METHOD_NOT_ALLOWED") return renderConnectError(error, problem);
  const body = endMessage({ failure: { error, problem }, trailers: exchangeOf(raw)?.replyTrailers });
  return { status: 200, contentType: `application/connect+${codec}`, body };
}

interface StreamEnd {
  readonly failure: ToldFailure | undefined;
  readonly trailers: Readonly<Record<string, string>> | undefined;
}

/** Of the flags of an envelope: it is the last one, in JSON whatever the messages are. */
export const endFlag = 2;

/** What ends a stream. */
export function endMessage({ failure, trailers = {} }: StreamEnd): Buffer {
  const names = Object.keys(trailers);
  const end = {
    ...(failure && { error: bodyOf(failure.error, failure.problem) }),
    ...(names.length > 0 && { metadata: Object.fromEntries(names.map((name) => [name, [trailers[name]]])) }),
  };
  return framed(Buffer.from(JSON.stringify(end)), endFlag);
}

function bodyOf(error: AppError, problem: Problem) {
  return {
    code: toConnectCode(error.status),
    message: problem.detail,
    details: errorDetails(error, isServerFault(error.status)).map(({ typeName, value }) => ({
      type: typeName,
      value: Buffer.from(value).toString("base64").replace(/=+$/, ""),
    })),
  };
}
