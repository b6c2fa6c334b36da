// An OTLP/HTTP collector that takes everything and keeps only a count: `GET /count` answers how many bytes of spans came.
import { createServer } from "node:http";
import { serve } from "./ready.ts";

let spanBytes = 0;

await serve(
  createServer((request, response) => {
    if (request.method === "GET" && request.url === "/count") {
      response.end(String(spanBytes));
      return;
    }
    request.on("data", (chunk: Buffer) => (spanBytes += chunk.length));
    request.on("end", () => response.writeHead(200, { "content-type": "application/json" }).end("{}"));
  }),
);
