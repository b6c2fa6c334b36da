import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";
import { once } from "node:events";
import { startHttp } from "../../../pkg/transport/src/testing/http.ts";
import type { Origin } from "./origin.ts";

/** node:http, as it comes. */
export async function nodeOrigin(name = "node:http"): Promise<Origin> {
  const seen: string[] = [];
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    seen.push(`${request.method} ${request.url}`);
    answer(request, response);
  });
  server.on("clientError", (error: Error & { readonly code?: unknown }, socket) => {
    // A client that has gone in the middle of a request has sent nothing that cannot be read.
    if (error.code !== "ECONNRESET" && error.code !== "HPE_INVALID_EOF_STATE")
      seen.push(`unreadable: ${error.message}`);
    socket.destroy();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the origin has no port");
  return {
    name,
    port: address.port,
    seen: () => seen,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  request.on("error", () => undefined).resume();
  request.once("end", () => {
    response.setHeader("x-got", `${request.method} ${request.url}`);
    response.end("ok");
  });
}

/** The HTTP server of a service of ours. */
export async function plinthOrigin(): Promise<Origin> {
  const seen: string[] = [];
  const running = await startHttp({
    routes(app) {
      app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
      app.all("/*", async (request, reply) => {
        seen.push(`${request.method} ${request.raw.url}`);
        return reply.header("x-got", `${request.method} ${request.raw.url}`).send("ok");
      });
    },
  });
  return {
    name: "Plinth's server",
    port: Number(new URL(running.origin).port),
    seen: () => seen,
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}
