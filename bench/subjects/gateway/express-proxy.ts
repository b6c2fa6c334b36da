// express with http-proxy-middleware as its README starts it, with an agent that keeps connections to the origin.
import { Agent, createServer } from "node:http";
import express from "express";
import { createProxyMiddleware } from "http-proxy-middleware";
import { required, serve } from "../ready.ts";

const app = express();
app.use(
  createProxyMiddleware({
    target: `http://127.0.0.1:${required("ORIGIN_PORT")}`,
    agent: new Agent({ keepAlive: true }),
  }),
);
await serve(createServer(app));
