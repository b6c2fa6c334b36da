import type { HttpRoutes } from "../http/server.ts";
import type { RpcService } from "./service.ts";

/**
 * Serves RPC services over HTTP, `POST /package.Service/Method` in JSON or binary: methods with one reply, and those with a stream of them.
 * @see https://connectrpc.com/docs/protocol
 */
export function connectRoutes(services: readonly RpcService[]): HttpRoutes {
  return async (app) => {
    if (services.length === 0) return;
    // Many an app has an HTTP server and no service: it starts without the protobuf library.
    const { addMethods } = await import("./unary.ts");
    addMethods(app, services);
  };
}
