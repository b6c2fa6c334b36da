import type { HttpRoutes } from "../http/server.ts";
import type { RpcService } from "./service.ts";

/**
 * Serves the unary methods of RPC services over HTTP: `POST /package.Service/Method` with JSON or binary bodies.
 * @see https://connectrpc.com/docs/protocol#unary-request
 */
export function connectRoutes(services: readonly RpcService[]): HttpRoutes {
  return async (app) => {
    if (services.length === 0) return;
    // Many an app has an HTTP server and no service: it starts without the protobuf library.
    const { addUnaryMethods } = await import("./unary.ts");
    addUnaryMethods(app, services);
  };
}
