import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";

/** What a process has loaded after it has started a small HTTP service: its packages, and the HTTP client inside Node. */
async function loadedByService(): Promise<readonly string[]> {
  const program = `
    import { registerHooks } from "node:module";
    const loaded = new Set();
    registerHooks({
      load(url, context, next) {
        loaded.add(/.*\\/node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url)?.[1] ?? "ours");
        return next(url, context);
      },
    });
    const { coreModule, createApp, defineModule, provider } = await import("@plinth/kernel");
    const { httpModule, httpRoutes } = await import(${JSON.stringify(join(import.meta.dirname, "index.ts"))});
    const create = () => (app) => void app.get("/", async () => ({ text: "hello" }));
    const routes = defineModule("routes", [provider({ provides: httpRoutes, create })]);
    const environment = { PLINTH_HTTP_PORT: "0", PLINTH_LOG_LEVEL: "warn" };
    const app = createApp({ name: "small", modules: [coreModule, httpModule, routes], config: { environment } });
    await app.start();
    await app.stop();
    if (process.moduleLoadList.some((name) => name.endsWith("/deps/undici/undici"))) loaded.add("node's own undici");
    console.log(JSON.stringify([...loaded]));`;
  const args = ["--conditions=plinth-source", "--input-type=module", "--eval", program];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: import.meta.dirname });
  return JSON.parse(stdout);
}

describe("a small HTTP service", () => {
  it("starts without what it does not use: each of these takes as long to load as all of Plinth", async () => {
    const loaded = new Set(await loadedByService());
    assert.ok(loaded.has("fastify") && loaded.has("pino") && loaded.has("ours"), [...loaded].join());
    const heavy = [
      "@bufbuild/protobuf",
      "@fastify/ajv-compiler",
      "@grpc/grpc-js",
      "@opentelemetry/api",
      "ajv-formats",
      "pino-pretty",
      "undici",
      "node's own undici",
    ];
    assert.deepEqual(
      heavy.filter((name) => loaded.has(name)),
      [],
    );
  });
});
