// The same service of a user who writes CommonJS.
const { get } = require("node:http");
const { withSpan } = require("@plinth/kernel");
const { createTracedApp } = require("./traced-service-parts.ts");

void createTracedApp((app, greet) => {
  app.get("/greet/:name", ({ params }) => withSpan("greet", {}, async () => ({ message: await greet(params.name) })));
  app.get("/plain", () => "x");
  app.get(
    "/asks",
    () =>
      new Promise((resolve, reject) => {
        get(`http://127.0.0.1:${process.env.PLINTH_HTTP_PORT}/plain`, (reply) => {
          reply.resume().once("end", () => resolve("asked"));
        }).once("error", reject);
      }),
  );
})
  .run()
  .then((code) => (process.exitCode = code));
