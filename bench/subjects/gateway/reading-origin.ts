// An origin that reads the whole body of a request and then answers. nginx with a fixed reply answers ahead of the body, and a proxy may
// then stop sending it.
import { createServer } from "node:http";
import { replyBytes, replyText } from "../reply.ts";
import { serve } from "../ready.ts";

const head = { "content-type": "application/json", "content-length": replyBytes };

const server = createServer((request, response) => {
  request.on("end", () => response.writeHead(200, head).end(replyText));
  request.resume();
});
server.keepAliveTimeout = 3_600_000;
await serve(server);
