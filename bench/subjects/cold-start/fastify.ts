// fastify with one route, which answers that it is ready.
import fastify from "fastify";

const app = fastify();
app.get("/ready", async () => ({ status: "ready" }));
await app.listen({ host: "127.0.0.1", port: Number(process.env["PORT"]) });
process.once("SIGTERM", () => void app.close());
