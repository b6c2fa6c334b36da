// node:http with a fixed reply and nothing else: the least that an HTTP server costs in this runtime.
import { createServer } from "node:http";
import { serve } from "./ready.ts";
import { replyBytes, replyText } from "./reply.ts";

const headers = { "content-type": "application/json; charset=utf-8", "content-length": replyBytes };

await serve(
  createServer((_request, response) => {
    response.writeHead(200, headers).end(replyText);
  }),
);
