import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { currentContext, systemClock } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { emptyScopes, failing, failingTracing, type Layer, layersAfter, named } from "../testing/failing.ts";
import { startHttp, type TestHttp, type TestHttpOptions } from "../testing/http.ts";
import { RecordingTracing } from "../testing/recording-tracing.ts";

/** They run before the handler: its caller gets a 500. */
const before: readonly Layer<TestHttpOptions>[] = [
  { name: "tracing", isBroken: named("startSpan"), options: failingTracing },
  {
    name: "the deadline's clock",
    isBroken: named("schedule"),
    options: (isBroken) => ({ clock: failing({ ...systemClock }, isBroken) }),
  },
  {
    name: "the ops endpoints",
    isBroken: named("call"),
    options: (isBroken) => ({
      ops: () => {
        if (isBroken("call", [])) throw new Error("call of a layer failed");
        return false;
      },
    }),
  },
  {
    name: "the watch over the event loop",
    isBroken: named("nowMs"),
    options: (isBroken) => ({ loopDelay: failing({ nowMs: () => 0, close: () => {} }, isBroken) }),
  },
  {
    name: "the opening of its scope",
    isBroken: named("open"),
    options: (isBroken) => ({ scopes: failing(emptyScopes, isBroken) }),
  },
];

/** A server whose layer fails as long as `fails.now`. */
async function start({
  options,
  isBroken,
}: Layer<TestHttpOptions>): Promise<TestHttp & { readonly fails: { now: boolean } }> {
  const fails = { now: false };
  const http = await startHttp({
    ...options((method, args) => fails.now && isBroken(method, args)),
    routes: (app) => void app.get("/", async () => ({ hasScope: currentContext()?.scope !== undefined })),
  });
  return { ...http, fails };
}

const traceId = "0af7651916cd43dd8448eb211c80319c";
const headers = { "x-request-id": "request-1", traceparent: `00-${traceId}-b7ad6b7169203331-01` };

/** Nothing is left of what failed: the server serves, counts no request as under way, and lets itself be closed. */
async function assertWhole(http: TestHttp): Promise<void> {
  assert.equal((await http.fetch("/")).status, 200);
  await until(() => http.lines.withMessage("request").length > 0);
  assert.match((await http.metrics.expose()).body, /^http_server_active_requests 0$/m);
}

describe("the recovery of an HTTP server is the outermost layer", () => {
  for (const layer of before) {
    it(`so that a failure of ${layer.name} is a 500 problem with the ids and without its text, and one report`, async () => {
      await using http = await start(layer);
      http.fails.now = true;
      const response = await http.fetch("/", { headers });
      const text = await response.text();
      http.fails.now = false;
      assert.deepEqual(
        [response.status, response.headers.get("content-type"), response.headers.get("x-request-id")],
        [500, "application/problem+json", "request-1"],
      );
      assert.deepEqual([JSON.parse(text).code, JSON.parse(text).traceId], ["ERR_INTERNAL", traceId]);
      assert.doesNotMatch(text, /of a layer/);
      const reports = await http.reports();
      assert.deepEqual(
        reports.map(({ error, origin, handled, ...ids }) => [
          error.message.slice(-17),
          origin,
          handled,
          ids.traceId,
          ids.requestId,
        ]),
        [["of a layer failed", "request", true, traceId, "request-1"]],
      );
      assert.match(
        String(reports[0]?.error.cause instanceof Error && reports[0].error.cause.stack),
        /failing\.ts|layers/,
      );
      await assertWhole(http);
    });
  }

  for (const layer of layersAfter("request")) {
    it(`so that a failure of ${layer.name} takes no reply, and is one report with the ids`, async () => {
      await using http = await start(layer);
      http.fails.now = true;
      const response = await http.fetch("/", { headers });
      assert.equal(response.status, 200);
      await until(() => http.errors.stats().reported > 0);
      http.fails.now = false;
      assert.deepEqual(
        (await http.reports()).map(({ error, ...ids }) => [error.message.slice(-17), ids.traceId, ids.requestId]),
        [["of a layer failed", traceId, "request-1"]],
      );
      await assertWhole(http);
    });
  }

  it("so that a failure while a refused request is told of closes its connection, and nothing else", async () => {
    const isBroken = { now: false };
    await using http = await startHttp({
      tracing: failing(new RecordingTracing(), (method) => isBroken.now && method === "startSpan"),
      routes: (app) => void app.get("/", async () => "x"),
    });
    isBroken.now = true;
    assert.equal(await http.raw("no http\r\n\r\n"), "");
    isBroken.now = false;
    assert.equal((await http.reports()).length, 1);
    assert.equal((await http.fetch("/")).status, 200);
  });
});
