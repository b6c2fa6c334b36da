// node:http in front, undici's dispatch behind, heads and bodies passed on as they are: what a proxy of these two parts
// costs before it does anything for its user. No header is removed but those of the connection, no error is explained.
import { createServer } from "node:http";
import { Pool } from "undici";
import { required, serve } from "../ready.ts";

const pool = new Pool(`http://127.0.0.1:${required("ORIGIN_PORT")}`, { pipelining: 1 });

await serve(
  createServer((request, response) => {
    const { connection: _connection, host: _host, ...headers } = request.headers;
    const body = request.headers["content-length"] === undefined ? null : request;
    pool.dispatch(
      { method: request.method === "POST" ? "POST" : "GET", path: request.url ?? "/", headers, body },
      {
        onRequestStart() {
          // Required by undici; nothing is to be done here.
        },
        onResponseStart(_controller, status, { connection: _hop, "keep-alive": _keepAlive, ...passed }) {
          response.writeHead(status, passed);
        },
        onResponseData(controller, chunk) {
          if (response.write(chunk)) return;
          controller.pause();
          response.once("drain", () => controller.resume());
        },
        onResponseEnd() {
          response.end();
        },
        onResponseError(_controller, error) {
          response.destroy(error);
        },
      },
    );
  }),
);
await pool.destroy(); // what is in flight has lost its client
