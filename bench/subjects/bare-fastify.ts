// fastify with one route and its reply schema, nothing else registered, no logger.
import fastify from "fastify";
import { tellReady, terminated } from "./ready.ts";
import { reply, replySchema } from "./reply.ts";

const app = fastify({ forceCloseConnections: true });
app.get("/item", { schema: { response: { 200: replySchema } } }, async () => reply);
const address = await app.listen({ host: "127.0.0.1", port: 0 });
tellReady(Number(new URL(address).port));
await terminated();
await app.close();
