// fastify with what a team puts around it today: its request log by pino to standard output, and fastify-metrics. The tracing is
// in assembled-preload.ts, which is loaded first.
import fastify from "fastify";
import metrics from "fastify-metrics";
import { required, terminated } from "./ready.ts";
import { reply, replySchema } from "./reply.ts";

const app = fastify({ logger: true, forceCloseConnections: true });
await app.register(metrics.default, { endpoint: "/metrics" });
app.get("/item", { schema: { response: { 200: replySchema } } }, async () => reply);
await app.listen({ host: "127.0.0.1", port: Number(required("PORT")) });
await terminated();
await app.close();
