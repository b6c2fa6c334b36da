// An OTLP/HTTP collector that takes everything and keeps only a count: `GET /count` answers how many spans came.
import { createServer } from "node:http";
import { serve } from "./ready.ts";

let spans = 0;

await serve(
  createServer((request, response) => {
    if (request.method === "GET" && request.url === "/count") {
      response.end(String(spans));
      return;
    }
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => void chunks.push(chunk));
    request.on("end", () => {
      spans += Buffer.concat(chunks).toString().split('"spanId":').length - 1;
      response.writeHead(200, { "content-type": "application/json" }).end("{}");
    });
  }),
);
