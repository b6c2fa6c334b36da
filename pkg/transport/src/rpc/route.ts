import { type DescMethod, fromBinary, fromJsonString } from "@bufbuild/protobuf";
import { currentContext, messageOf, type RequestContext } from "@plinth/kernel";
import { TransportError } from "../errors.ts";
import type { HttpApp } from "../http/server.ts";
import { renderConnectError } from "./connect-error.ts";
import type { Codec } from "./connect-request.ts";
import type { RpcCall } from "./service.ts";

/** Of routes that refuse whoever comes: what they say is in the contract. */
const refusing = { renderError: renderConnectError, origin: "rpc", auth: "none" } as const;

/** The other methods of HTTP: without these routes they would be answered as if there were no such path. */
export function refuseOthers(app: HttpApp, url: string, allowed: readonly string[]): void {
  const allow = allowed.join(", ");
  app.route({
    method: ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT"].filter((method) => !allowed.includes(method)),
    url,
    config: refusing,
    exposeHeadRoute: false,
    onRequest: (_request, reply, done) => {
      reply.header("allow", allow);
      done(new TransportError("ERR_METHOD_NOT_ALLOWED", "invalid_argument", `this method is called by ${allow}`));
    },
    handler: () => {},
  });
}

/** The same bytes, not a copy of them. */
export function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * The message in these bytes.
 * @throws {@link TransportError} `ERR_REQUEST_BODY`.
 */
export function parse(method: DescMethod, codec: Codec, bytes: Uint8Array): unknown {
  try {
    if (codec === "proto") return fromBinary(method.input, bytes);
    return fromJsonString(method.input, viewOf(bytes).toString(), { ignoreUnknownFields: true });
  } catch (error) {
    throw new TransportError(
      "ERR_REQUEST_BODY",
      "invalid_argument",
      `the message is no ${method.input.typeName}: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

/** The request being served, as a handler knows it. */
export function callOf(): RpcCall {
  const context = currentContext();
  if (context === undefined || !isCall(context)) throw new Error("an RPC runs inside a request");
  return context;
}

/** The signal is not looked at: it is made when somebody does. */
function isCall(context: RequestContext): context is RpcCall {
  return context.requestId !== undefined && context.deadlineAtMs !== undefined && "setReplyTrailer" in context;
}
