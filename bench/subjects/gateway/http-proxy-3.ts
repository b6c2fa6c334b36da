// http-proxy-3 as its README starts it, with an agent that keeps connections to the origin: without one each request opens its own.
import { Agent, createServer } from "node:http";
import { createProxyServer } from "http-proxy-3";
import { required, serve } from "../ready.ts";

const proxy = createProxyServer({
  target: `http://127.0.0.1:${required("ORIGIN_PORT")}`,
  agent: new Agent({ keepAlive: true }),
});
await serve(createServer((request, response) => proxy.web(request, response)));
