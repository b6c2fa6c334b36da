import {
  create,
  type DescMethod,
  fromBinary,
  fromJson,
  type JsonValue,
  toBinary,
  toJsonString,
} from "@bufbuild/protobuf";
import { type AppError, currentContext, messageOf, type RequestContext, isServerFault } from "@plinth/kernel";
import { TransportError } from "../errors.ts";
import type { HttpApp, RenderedError } from "../http/server.ts";
import type { Problem } from "../problem.ts";
import { toConnectCode } from "../status.ts";
import { errorDetails } from "./details.ts";
import { type ErasedHandler, methodName, requireMessage, type RpcCall, type RpcService } from "./service.ts";

/** Adds a route for each unary method that has a handler. */
export function addUnaryMethods(app: HttpApp, services: readonly RpcService[]): void {
  app.addContentTypeParser("application/proto", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  for (const { descriptor, handlers } of services) {
    for (const method of descriptor.methods) {
      const handler = handlers[method.localName];
      if (handler && method.methodKind === "unary") addUnary(app, method, handler);
    }
  }
}

function addUnary(app: HttpApp, method: DescMethod, handler: ErasedHandler): void {
  const options = {
    config: { renderError, origin: "rpc" as const },
    onRequest: (request: ConnectRequest, _reply: unknown, done: (error?: Error) => void) => done(refusalOf(request)),
  };
  app.post(`/${methodName(method)}`, options, async (request, reply) => {
    const output = await handler(parse(method, request.body), currentCall());
    const message = create(method.output, requireMessage(method, output));
    if (request.body instanceof Uint8Array)
      return reply.type("application/proto").send(Buffer.from(toBinary(method.output, message)));
    return reply.type("application/json").serializer(String).send(toJsonString(method.output, message));
  });
}

interface ConnectRequest {
  readonly headers: NodeJS.Dict<string | string[]>;
}

/** What of the protocol this server does not speak, if the request asks for it. */
function refusalOf({ headers }: ConnectRequest): TransportError | undefined {
  const version = headers["connect-protocol-version"];
  if (version !== undefined && version !== "1")
    return new TransportError("ERR_REQUEST_REFUSED", "invalid_argument", "connect-protocol-version must be 1");
  const encoding = headers["content-encoding"];
  if (encoding !== undefined && encoding !== "identity")
    return new TransportError(
      "ERR_RPC_UNIMPLEMENTED",
      "unimplemented",
      "this server reads no compressed messages; send content-encoding: identity",
    );
  return undefined;
}

function parse(method: DescMethod, body: unknown): unknown {
  try {
    if (body instanceof Uint8Array) return fromBinary(method.input, body);
    // Without a body, all fields have their defaults.
    return fromJson(method.input, isJson(body) ? body : {}, { ignoreUnknownFields: true });
  } catch (error) {
    throw new TransportError(
      "ERR_REQUEST_BODY",
      "invalid_argument",
      `the body is no ${method.input.typeName}: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

/** True for whatever the parser of JSON returns. */
function isJson(body: unknown): body is JsonValue {
  return body !== undefined;
}

function currentCall(): RpcCall {
  const context = currentContext();
  if (context === undefined || !isCall(context)) throw new Error("an RPC runs inside a request");
  return context;
}

/** The signal is not looked at: it is made when somebody does. */
function isCall(context: RequestContext): context is RpcCall {
  return context.requestId !== undefined && context.deadlineAtMs !== undefined && "signal" in context;
}

/** @see https://connectrpc.com/docs/protocol#error-end-stream */
function renderError(error: AppError, problem: Problem): RenderedError {
  const body = {
    code: toConnectCode(error.status),
    message: problem.detail,
    details: errorDetails(error, isServerFault(error.status)).map(({ typeName, value }) => ({
      type: typeName,
      value: Buffer.from(value).toString("base64").replace(/=+$/, ""),
    })),
  };
  return { status: problem.status, contentType: "application/json", body: JSON.stringify(body) };
}
