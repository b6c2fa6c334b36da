import { isAscii } from "node:buffer";
import type { IncomingHttpHeaders } from "node:http";
import { create, type DescMethod, toBinary, toJsonString } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import type { AuthNeed } from "../auth.ts";
import { TransportError } from "../errors.ts";
import { readBody } from "../http/body.ts";
import type { HttpApp } from "../http/server.ts";
import { isThenable } from "../thenable.ts";
import { renderConnectError } from "./connect-error.ts";
import {
  checkVersion,
  type Codec,
  codecOf,
  encodings,
  inflate,
  isGzip,
  mediaTypes,
  messageInQuery,
  type SentMessage,
} from "./connect-request.ts";
import { callOf, parse, refuseOthers, viewOf } from "./route.ts";
import { addServerStream, refuseClientStream } from "./server-stream.ts";
import { type ErasedHandler, methodName, requireMessage, type RpcService } from "./service.ts";

type Payload = string | Buffer;

/** What is used of fastify's. */
interface Request {
  readonly headers: IncomingHttpHeaders;
}

interface Reply {
  header(name: string, value: string): unknown;
  send(payload: Payload): unknown;
  serializer(serialize: (payload: Payload) => Payload): unknown;
}

/** Adds routes for each method that has a handler: those with a stream of requests say why they do not answer here. */
export function addMethods(app: HttpApp, services: readonly RpcService[]): void {
  // Messages are read by their contract, from bytes: what fastify would parse, it would parse in vain.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(parsed, readBody);
  for (const { descriptor, handlers, needs } of services) {
    for (const method of descriptor.methods) {
      const handler = handlers[method.localName];
      if (!handler) continue;
      const need = needs?.[method.localName];
      if (method.methodKind === "unary") addUnary(app, method, handler, need);
      else if (method.methodKind === "server_streaming") addServerStream(app, method, handler, need);
      else refuseClientStream(app, method);
    }
  }
}

const parsed = ["application/json", "application/proto", "application/connect+json", "application/connect+proto"];

const rendered = { renderError: renderConnectError, origin: "rpc" as const };

function addUnary(app: HttpApp, method: DescMethod, handler: ErasedHandler, need: AuthNeed = {}): void {
  const config = { ...rendered, ...need };
  const url = `/${methodName(method)}`;
  const isReadOnly = method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;
  const maxBytes = app.initialConfig.bodyLimit ?? defaultBodyLimit;
  const serve = (reply: Reply, { codec, isCompressed, bytes }: SentMessage): Promise<unknown> | undefined => {
    const run = (message: Uint8Array) => answer(method, reply, codec, handler(parse(method, codec, message), callOf()));
    return isCompressed ? inflate(bytes, maxBytes).then(run) : run(bytes);
  };
  app.route({
    method: "POST",
    url,
    config,
    onRequest: (request, reply, done) => done(refusalOf(request, reply)),
    handler: ({ headers, body }, reply) => {
      // Without a body, all fields have their defaults.
      if (!(body instanceof Uint8Array)) return answer(method, reply, "json", handler(create(method.input), callOf()));
      return serve(reply, {
        codec: codecOf(headers) ?? "json",
        isCompressed: isGzip(headers["content-encoding"]),
        bytes: body,
      });
    },
  });
  if (isReadOnly) {
    app.route({
      method: "GET",
      url,
      config,
      exposeHeadRoute: false,
      handler: ({ raw }, reply) => serve(reply, messageInQuery(raw.url ?? "")),
    });
  }
  refuseOthers(app, url, isReadOnly ? ["GET", "POST"] : ["POST"]);
}

const defaultBodyLimit = 1_048_576;

/** What of the protocol this server does not speak, if the request asks for it: before its body is read. */
function refusalOf({ headers }: Request, reply: Reply): Error | undefined {
  try {
    checkVersion(headers["connect-protocol-version"], "1", "connect-protocol-version");
    codecOf(headers);
    isGzip(headers["content-encoding"]);
    return undefined;
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
    if (error.code === "ERR_REQUEST_MEDIA_TYPE") reply.header("accept-post", mediaTypes);
    if (error.code === "ERR_RPC_UNIMPLEMENTED") reply.header("accept-encoding", encodings);
    return error;
  }
}

/** Sends what the handler returned: at once when it is no promise, which fastify would wait for. */
function answer(method: DescMethod, reply: Reply, codec: Codec, output: unknown): Promise<Payload> | undefined {
  if (isThenable(output))
    return Promise.resolve(output).then((message: unknown) => payloadOf(method, reply, codec, message));
  reply.send(payloadOf(method, reply, codec, output));
  return undefined;
}

function payloadOf(method: DescMethod, reply: Reply, codec: Codec, output: unknown): Payload {
  const message = create(method.output, requireMessage(method, output));
  const isBinary = codec === "proto";
  const payload = isBinary ? bytesOf(toBinary(method.output, message)) : toJsonString(method.output, message);
  reply.header("content-type", isBinary ? "application/proto" : "application/json");
  reply.serializer(asItIs); // fastify adds a charset to JSON otherwise
  return payload;
}

/** Node writes a head and text at once, but a head and bytes as two: what is short and the same as text goes as text. */
function bytesOf(bytes: Uint8Array): Payload {
  const view = viewOf(bytes);
  return view.length <= longestText && isAscii(view) ? view.toString("latin1") : view;
}

const longestText = 1_024;

function asItIs(payload: Payload): Payload {
  return payload;
}
