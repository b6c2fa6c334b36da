// The floor: fastify with nothing registered.
import fastify from "fastify";
import { reportEmptyApp } from "./report.ts";

await reportEmptyApp(async () => {
  const app = fastify();
  await app.ready();
  await app.close();
});
