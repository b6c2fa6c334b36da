import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { z } from "zod";
import { assertValidOpenApi } from "./openapi-check.ts";
import { startHttp } from "../../testing/http.ts";
import type { HttpRoutes } from "../server.ts";
import { writeDocumentOf } from "./write.ts";

const routes: HttpRoutes = (app) => {
  const schema = { params: z.object({ id: z.uuid() }), response: { 200: z.object({ size: z.bigint() }) } };
  app.get("/notes/:id", { schema }, async () => ({ size: 1n }));
};
const settings = { openapiPath: "/docs/openapi.json" };

describe("an HTTP server with a path for its OpenAPI document", () => {
  it("serves there what plinth openapi prints, and tells of its warnings once", async () => {
    await using http = await startHttp({ routes, settings });
    const response = await http.fetch("/docs/openapi.json");
    assert.deepEqual([response.status, response.headers.get("content-type")], [200, "application/json; charset=utf-8"]);
    assert.equal(response.headers.get("cache-control"), "no-cache");
    const text = await response.text();
    assertValidOpenApi(JSON.parse(text));
    assert.equal(text, (await writeDocumentOf([routes], { title: "http", version: "0.0.0" })).text);
    await http.fetch("/docs/openapi.json");
    const lines = http.lines.withMessage("openapi");
    assert.deepEqual(
      lines.map(({ level, what }) => [level, what]),
      [
        [
          "warn",
          "GET /notes/:id, reply 200: at size: JSON Schema has nothing for bigint; the document allows anything there",
        ],
      ],
    );
  });

  it("answers 304 to whoever has it already, and HEAD without it", async () => {
    await using http = await startHttp({ routes, settings });
    const [first, second] = await Promise.all([http.fetch("/docs/openapi.json"), http.fetch("/docs/openapi.json")]);
    const etag = first.headers.get("etag") ?? "";
    assert.match(etag, /^"[\w-]{43}"$/);
    assert.equal(second.headers.get("etag"), etag);
    const statusFor = async (given: string): Promise<number> => {
      const response = await http.fetch("/docs/openapi.json", { headers: { "if-none-match": given } });
      assert.equal(response.headers.get("etag"), etag);
      assert.equal((await response.text()) === "", response.status === 304);
      return response.status;
    };
    for (const given of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) assert.equal(await statusFor(given), 304, given);
    for (const given of ['"other"', "", etag.slice(1)]) assert.equal(await statusFor(given), 200, given);
    const head = await http.fetch("/docs/openapi.json", { method: "HEAD" });
    assert.deepEqual([head.status, head.headers.get("etag"), await head.text()], [200, etag, ""]);
  });

  it("has one ETag for the same routes, and another for others", async () => {
    const etagOf = async (own: HttpRoutes): Promise<string | null> => {
      await using http = await startHttp({ routes: own, settings });
      return (await http.fetch("/docs/openapi.json")).headers.get("etag");
    };
    const [one, same, other] = [await etagOf(routes), await etagOf(routes), await etagOf(() => {})];
    assert.equal(one, same);
    assert.notEqual(one, other);
  });

  it("asks of its readers what it asks of the callers of a route that says nothing", async () => {
    const authenticator = { authenticate: () => undefined };
    await using http = await startHttp({ routes, settings, authenticator });
    assert.equal((await http.fetch("/docs/openapi.json")).status, 401);
  });
});

describe("an HTTP server without one", () => {
  it("serves none", async () => {
    await using http = await startHttp({ routes });
    for (const path of ["/docs/openapi.json", "/openapi.json", "/openapi"]) {
      assert.equal((await http.fetch(path)).status, 404);
    }
  });

  it("loads nothing for it; one with a path does when it is asked for the document", async () => {
    const program = `
      import { registerHooks } from "node:module";
      const loaded = new Set();
      registerHooks({ load: (url, context, next) => (loaded.add(/openapi\\/(.*)\\.ts$/.exec(url)?.[1]), next(url, context)) });
      const { startHttp } = await import(${JSON.stringify(join(import.meta.dirname, "../../testing/http.ts"))});
      const http = await startHttp({ settings: { openapiPath: "/openapi.json" } });
      const before = loaded.has("document") || loaded.has("write");
      await (await http.fetch("/openapi.json")).text();
      console.log(before, loaded.has("document"));
      await http.server.close();`;
    const args = ["--conditions=plinth-source", "--input-type=module", "--eval", program];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    assert.equal(stdout, "false true\n");
  });
});
