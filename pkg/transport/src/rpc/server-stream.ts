import { create, type DescMethod, toBinary, toJsonString } from "@bufbuild/protobuf";
import type { AuthNeed } from "../auth.ts";
import { TransportError } from "../errors.ts";
import { framed, MessageReader, prefixBytes, type Received } from "../grpc/messages.ts";
import { exchangeOf } from "../http/exchange.ts";
import type { HttpApp } from "../http/server.ts";
import { renderStreamError } from "./connect-error.ts";
import { checkVersion, type Codec, encodings, inflate, isGzip, streamCodecOf, streamTypes } from "./connect-request.ts";
import { ReplyStream } from "./reply-stream.ts";
import { callOf, parse, refuseOthers } from "./route.ts";
import { type ErasedHandler, methodName, requireMessage } from "./service.ts";

/**
 * Serves a method with a stream of replies: `POST` with one message in an envelope, and a reply of envelopes, the last of which tells how it ended.
 * @see https://connectrpc.com/docs/protocol#streaming-rpcs
 */
export function addServerStream(app: HttpApp, method: DescMethod, handler: ErasedHandler, need: AuthNeed = {}): void {
  const url = `/${methodName(method)}`;
  const maxBytes = app.initialConfig.bodyLimit ?? defaultBodyLimit;
  app.route({
    method: "POST",
    url,
    bodyLimit: maxBytes + prefixBytes,
    config: { ...rendered, ...need },
    onRequest: ({ headers }, reply, done) => {
      const codec = streamCodecOf(headers);
      if (codec === undefined) {
        reply.header("accept-post", streamTypes);
        done(wrongMediaType());
        return;
      }
      done(refusalOf(headers["connect-protocol-version"], headers["connect-content-encoding"], reply));
    },
    handler: async ({ raw, headers, body }, reply) => {
      const exchange = exchangeOf(raw);
      if (exchange === undefined) throw new Error("an RPC runs inside a request");
      const codec = streamCodecOf(headers) ?? "json";
      const encoding = headers["connect-content-encoding"];
      const message = await onlyMessageIn(body, { maxBytes, isGzip: isGzip(textOf(encoding)) });
      if (exchange.stopped) throw exchange.stopped;
      const replies = handler(parse(method, codec, message), callOf());
      const write = (value: unknown): Buffer => framed(encode(method, codec, value));
      const stream = new ReplyStream({ name: methodName(method), replies, write, exchange });
      return reply.header("content-type", `application/connect+${codec}`).send(stream);
    },
  });
  refuseOthers(app, url, ["POST"]);
}

const rendered = { renderError: renderStreamError, origin: "rpc", hasEndMessage: true } as const;

const defaultBodyLimit = 1_048_576;

/** Refuses a method with a stream of requests: HTTP/1.1 has no room for both directions at once, and clients of HTTP/2 have gRPC. */
export function refuseClientStream(app: HttpApp, method: DescMethod): void {
  const url = `/${methodName(method)}`;
  app.route({
    method: "POST",
    url,
    config: { ...rendered, auth: "none" },
    onRequest: ({ headers }, reply, done) => {
      if (streamCodecOf(headers) === undefined && !isUnary(headers["content-type"])) {
        reply.header("accept-post", "");
        done(wrongMediaType());
        return;
      }
      const text = `${methodName(method)} streams its requests, which this server takes over gRPC alone`;
      done(new TransportError("ERR_RPC_UNIMPLEMENTED", "unimplemented", text));
    },
    handler: () => {},
  });
  refuseOthers(app, url, ["POST"]);
}

function isUnary(type: string | undefined): boolean {
  return type === undefined || /^application\/(?:json|proto)[ \t]*(?:;|$)/i.test(type);
}

function wrongMediaType(): TransportError {
  const text = `this method streams, and reads ${streamTypes}; send one of them`;
  return new TransportError("ERR_REQUEST_MEDIA_TYPE", "invalid_argument", text);
}

/** What of the protocol this server does not speak, if the request asks for it: before its body is read. */
function refusalOf(
  version: unknown,
  encoding: string | string[] | undefined,
  reply: { header(name: string, value: string): unknown },
): Error | undefined {
  try {
    checkVersion(version, "1", "connect-protocol-version");
    isGzip(textOf(encoding));
    return undefined;
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
    if (error.code === "ERR_RPC_UNIMPLEMENTED") reply.header("connect-accept-encoding", encodings);
    return error;
  }
}

function textOf(header: string | string[] | undefined): string | undefined {
  return typeof header === "object" ? header.join(", ") : header;
}

/** The message in the only envelope of a body. */
async function onlyMessageIn(
  body: unknown,
  options: { readonly maxBytes: number; readonly isGzip: boolean },
): Promise<Uint8Array> {
  const { maxBytes } = options;
  const reader = new MessageReader(maxBytes);
  const all: Received[] = [];
  if (Buffer.isBuffer(body)) reader.push(body, (message) => all.push(message));
  if (reader.isHalfWay) throw badBody("the last message ends half way");
  const [only] = all;
  if (only === undefined || all.length > 1)
    throw new TransportError(
      "ERR_REQUEST_BODY",
      "unimplemented",
      "the method takes one message, and none or several came",
    );
  const { flags, bytes } = only;
  if (flags > 1) throw badBody(`the flags of an envelope are 0 or 1, not ${flags}`);
  if (flags === 0) return bytes;
  if (!options.isGzip) throw badBody("a message is compressed, and connect-content-encoding does not say how");
  return inflate(bytes, maxBytes);
}

function badBody(text: string): TransportError {
  return new TransportError("ERR_REQUEST_BODY", "invalid_argument", text);
}

function encode(method: DescMethod, codec: Codec, value: unknown): Uint8Array {
  const message = create(method.output, requireMessage(method, value));
  return codec === "proto" ? toBinary(method.output, message) : Buffer.from(toJsonString(method.output, message));
}
