// A user's service as an ES module: HTTP, gRPC and SQL in one trace.
import { get } from "node:http";
import { createTracedApp } from "./traced-service-parts.ts";

process.exitCode = await createTracedApp((app, greet) => {
  app.get<{ Params: { name: string } }>("/greet/:name", async ({ params }) => ({ message: await greet(params.name) }));
  app.get("/plain", () => "x");
  // what another library would send, past Plinth's clients
  app.get("/asks", async () => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    get(`http://127.0.0.1:${process.env["PLINTH_HTTP_PORT"]}/plain`, (reply) => {
      reply.resume().once("end", () => resolve("asked"));
    }).once("error", reject);
    return promise;
  });
}).run();
