import { Readable } from "node:stream";
import type { RequestHead } from "../headers/request-head.ts";
import { headerOf } from "../router/conditions.ts";
import type { Exchange } from "../server/exchange.ts";
import { RequestBody } from "../server/request-body.ts";
import type { Upstream, UpstreamCall, UpstreamHandlers, UpstreamRequest } from "../upstream/upstream.ts";
import type { Binding } from "./binding.ts";
import { toFrame } from "./frames.ts";
import { RequestFault } from "./request-fault.ts";
import { toMessage } from "./request-message.ts";
import { TranscodedCall } from "./transcoded-call.ts";

/** A request of HTTP and JSON on its way as a call of gRPC. */
export class Transcoding {
  readonly #exchange: Exchange;
  readonly #binding: Binding;
  readonly #frame: Buffer;

  constructor(exchange: Exchange, binding: Binding, message: Uint8Array) {
    this.#exchange = exchange;
    this.#binding = binding;
    this.#frame = toFrame(message);
  }

  /** For each try anew. */
  body(): Readable {
    return Readable.from([this.#frame]);
  }

  send(upstream: Upstream, request: UpstreamRequest, handlers: UpstreamHandlers): UpstreamCall {
    return new TranscodedCall(this.#exchange, this.#binding, handlers).sendTo(upstream, request);
  }
}

/** Of the body, of what the client takes, and of gRPC, which the gateway says itself. */
const replaced =
  /^(?:content-(?:type|encoding|length|language|md5|digest|disposition|range)|accept(?:-.*)?|grpc-.*|range|if-range)$/i;

/**
 * Takes in the whole request and makes one message of it.
 * @param next - Called once, with the head as the service gets it, unless the request is refused.
 */
export function transcode(
  exchange: Exchange,
  binding: Binding,
  {
    head,
    maxBodyBytes,
    next,
  }: { readonly head: RequestHead; readonly maxBodyBytes: number; readonly next: (head: RequestHead) => void },
): void {
  if (exchange.grpc || !isTaken(binding, head)) {
    exchange.refuse("media_unsupported");
    return;
  }
  const { path, query } = head;
  const contentType = headerOf(head.headers, "content-type");
  const go = (body: Buffer): void => {
    const message = messageOf(exchange, binding, { path, query, body, contentType });
    if (message === undefined) return;
    exchange.transcoding = new Transcoding(exchange, binding, message);
    next({ ...head, headers: toServiceHeaders(head.headers), hasLength: false, takesTrailers: true });
  };
  if (head.bodyLength === 0) go(Buffer.alloc(0));
  else collect(exchange, Math.min(maxBodyBytes, binding.limits.maxRequestBytes), go);
}

function isTaken({ takesBytes }: Binding, { headers, bodyLength }: RequestHead): boolean {
  const coding = headerOf(headers, "content-encoding");
  if (coding !== undefined && coding.toLowerCase() !== "identity") return false;
  if (takesBytes) return true;
  const type = headerOf(headers, "content-type");
  if (type === undefined || bodyLength === 0) return true;
  return /^application\/json[ \t]*(?:;[ \t]*charset="?utf-8"?[ \t]*)?$/i.test(type);
}

function messageOf(
  exchange: Exchange,
  binding: Binding,
  request: Parameters<typeof toMessage>[1],
): Uint8Array | undefined {
  try {
    return toMessage(binding, request);
  } catch (error) {
    if (!(error instanceof RequestFault)) throw error;
    exchange.refuse("message_invalid", error.message);
    return undefined;
  }
}

/** The body, whole. Nothing is called where it does not come, or is too large: then the request has ended already. */
function collect(exchange: Exchange, maxBytes: number, next: (body: Buffer) => void): void {
  const { request } = exchange;
  const chunks: Buffer[] = [];
  const body = new RequestBody({
    request,
    maxBytes,
    onStart: () => {
      if (exchange.expectsContinue) exchange.response.writeContinue();
    },
    onRefused: (reason) => exchange.refuse(reason),
    slow: exchange.core.slowClients,
    mayRest: undefined,
    longestRestMs: exchange.core.bodyGapMs,
  });
  exchange.body = body;
  body.on("data", (chunk: Buffer) => chunks.push(chunk));
  body.once("end", () => {
    if (exchange.isFinished || exchange.response.headersSent) return;
    exchange.body = undefined; // what goes on is a message, which can be sent again
    try {
      next(Buffer.concat(chunks));
    } catch (error) {
      exchange.fault(error);
    }
  });
}

function toServiceHeaders(headers: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? "";
    if (!replaced.test(name)) kept.push(name, headers[at + 1] ?? "");
  }
  kept.push("content-type", "application/grpc");
  return kept;
}
