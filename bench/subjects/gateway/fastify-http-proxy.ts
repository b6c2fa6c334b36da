// @fastify/http-proxy as its README starts it: one upstream, no hooks, no logger.
import httpProxy from "@fastify/http-proxy";
import fastify from "fastify";
import { required, tellReady, terminated } from "../ready.ts";

const app = fastify({ forceCloseConnections: true });
await app.register(httpProxy, { upstream: `http://127.0.0.1:${required("ORIGIN_PORT")}` });
const address = await app.listen({ host: "127.0.0.1", port: 0 });
tellReady(Number(new URL(address).port));
await terminated();
await app.close();
