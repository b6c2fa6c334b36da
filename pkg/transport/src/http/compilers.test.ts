import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { startHttp } from "../testing/http.ts";

const headers = { type: "object", required: ["X-Kind"], properties: { "X-Kind": { enum: ["a", "b"] } } };
const querystring = { type: "object", properties: { limit: { type: "integer", maximum: 50 } } };
const response = { 200: { type: "object", properties: { limit: { type: "integer" } } } };

describe("a route with JSON Schemas", () => {
  it("is validated and serialized by fastify's own compilers", async () => {
    await using http = await startHttp({
      routes: (app) => {
        app.get("/", { schema: { querystring, response } }, async ({ query }) => ({ ...Object(query), secret: 1 }));
      },
    });
    const fitting = await http.fetch("/?limit=7");
    assert.deepEqual(await fitting.json(), { limit: 7 });
    const tooMany = await http.fetch("/?limit=51");
    assert.equal(tooMany.status, 400);
  });

  it("has the names of its headers matched in any case", async () => {
    await using http = await startHttp({
      routes: (app) => {
        app.get("/", { schema: { headers } }, async () => "text");
      },
    });
    const statusWith = async (given: Record<string, string>) => (await http.fetch("/", { headers: given })).status;
    assert.deepEqual(
      [await statusWith({ "x-kind": "a" }), await statusWith({ "x-kind": "c" }), await statusWith({})],
      [200, 400, 400],
    );
  });

  it("is what loads the compilers: a server without such routes has none of them", async () => {
    const program = `
      import { createRequire } from "node:module";
      import { startHttp } from ${JSON.stringify(join(import.meta.dirname, "../testing/http.ts"))};
      const loaded = () => Object.keys(createRequire(import.meta.url).cache).some((path) => path.includes("/@fastify/ajv-compiler/"));
      const without = await startHttp({ routes: (app) => void app.get("/", async () => "text") });
      const before = loaded();
      const schema = { querystring: { type: "object" } };
      const withOne = await startHttp({ routes: (app) => void app.get("/", { schema }, async () => "text") });
      console.log(before, loaded());
      await without.server.close();
      await withOne.server.close();`;
    const args = ["--conditions=plinth-source", "--input-type=module", "--eval", program];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    assert.equal(stdout, "false true\n");
  });
});
