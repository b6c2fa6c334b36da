import {
  create,
  type DescMethod,
  fromBinary,
  fromJson,
  type JsonValue,
  toBinary,
  toJsonString,
} from "@bufbuild/protobuf";
import { type AppError, currentContext, messageOf } from "@plinth/kernel";
import { RequestError, TransportError } from "../errors.ts";
import type { HttpApp, HttpRoutes, RenderedError } from "../http/server.ts";
import type { Problem } from "../problem.ts";
import { isServerFault, toConnectCode } from "../status.ts";
import { errorDetails } from "./details.ts";
import { type ErasedHandler, methodName, type RpcCall, type RpcService } from "./service.ts";

/**
 * Serves the unary methods of RPC services over HTTP: `POST /package.Service/Method` with JSON or binary bodies.
 * @see https://connectrpc.com/docs/protocol#unary-request
 */
export function connectRoutes(services: readonly RpcService[]): HttpRoutes {
  return (app) => {
    app.addContentTypeParser("application/proto", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
    for (const { descriptor, handlers } of services) {
      for (const method of descriptor.methods) {
        const handler = handlers[method.localName];
        if (handler && method.methodKind === "unary") addUnary(app, method, handler);
      }
    }
  };
}

function addUnary(app: HttpApp, method: DescMethod, handler: ErasedHandler): void {
  app.post(`/${methodName(method)}`, { config: { renderError } }, async (request, reply) => {
    const isBinary = request.body instanceof Uint8Array;
    const output = await handler(parse(method, request.body), currentCall());
    const message = create(method.output, output as Record<string, unknown>);
    if (isBinary) return reply.type("application/proto").send(Buffer.from(toBinary(method.output, message)));
    return reply.type("application/json").serializer(String).send(toJsonString(method.output, message));
  });
}

function parse(method: DescMethod, body: unknown): unknown {
  try {
    if (body instanceof Uint8Array) return fromBinary(method.input, body);
    return fromJson(method.input, (body ?? {}) as JsonValue, { ignoreUnknownFields: true });
  } catch (error) {
    throw new TransportError(
      "ERR_REQUEST_BODY",
      "invalid_argument",
      `the body is no ${method.input.typeName}: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

function currentCall(): RpcCall {
  const { requestId, signal, deadlineAtMs, span } = currentContext() ?? {};
  if (requestId === undefined || signal === undefined || deadlineAtMs === undefined)
    throw new Error("an RPC runs inside a request");
  return { requestId, signal, deadlineAtMs, ...(span ? { span } : {}) };
}

/** @see https://connectrpc.com/docs/protocol#error-end-stream */
function renderError(error: AppError, problem: Problem): RenderedError {
  const hidden = isServerFault(error.status);
  const body = {
    code: toConnectCode(error.status),
    message: problem.detail,
    details: errorDetails(error, hidden).map(({ typeName, value }) => ({
      type: typeName,
      value: Buffer.from(value).toString("base64").replace(/=+$/, ""),
    })),
  };
  return {
    status: error instanceof RequestError ? 400 : problem.status,
    contentType: "application/json",
    body: JSON.stringify(body),
  };
}
