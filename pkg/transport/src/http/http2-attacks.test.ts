import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { metric, startHttp, type TestHttp } from "../testing/http.ts";
import { attacks, withFields } from "../testing/http2-attacks.ts";
import { frameTypes, http2Errors, plainHead, RawHttp2 } from "../testing/http2-frames.ts";
import type { HttpApp } from "./server.ts";

const routes = (app: HttpApp): void => {
  app.get("/", async ({ headers }) => {
    assert.deepEqual(Object.keys(headers), ["host"], "nothing else has come through");
    return "served";
  });
  app.get("/hang", async () => new Promise(() => {}));
  app.post("/", async ({ body }) => ({ body }));
  app.get("/large", async () => "x".repeat(1_000_000));
};

const start = (settings = {}): Promise<TestHttp> => startHttp({ routes, settings: { http2: true, ...settings } });

/** After whatever was done to it: it serves others, and keeps nothing. */
async function assertUnhurt(http: TestHttp): Promise<void> {
  const other = new RawHttp2(http.server.port);
  other.head(1);
  assert.equal(await other.answer(1), "200", "another caller is served");
  other.destroy();
  assert.equal((await http.fetch("/large")).status, 200, "and one over HTTP/1.1");
  let left = -1;
  for (let turn = 0; turn < 500 && left !== 0; turn++) {
    await new Promise(setImmediate);
    left =
      (await metric(http, "http_server_http2_connections ")) + (await metric(http, "http_server_active_requests "));
  }
  assert.equal(left, 0, "no connection of HTTP/2 and no request is left");
  assert.deepEqual(await http.reports(), [], "what callers do wrong is no fault of the server");
}

describe("what attacks a server of HTTP/2", () => {
  for (const { what, send, answer, stream = 1 } of attacks) {
    it(`${what}: answered, and others are served`, async () => {
      await using http = await start();
      const caller = new RawHttp2(http.server.port);
      send(caller);
      assert.match(await caller.answer(stream), answer);
      caller.destroy();
      await assertUnhurt(http);
    });
  }
});

describe("the budget of resets", () => {
  const kinds: readonly (readonly [string, (caller: RawHttp2, stream: number) => void])[] = [
    ["the caller's", (caller, stream) => caller.reset(stream, http2Errors.cancel)],
    ["those it makes the server send by a bad window", (caller, stream) => caller.window(stream, 0)],
    ["those it makes the server send by a length that is none", (caller, stream) => caller.data(stream, "x")],
  ];
  for (const [what, reset] of kinds) {
    it(`ends the connection and cancels all its work: ${what}`, async () => {
      let [begun, cancelled] = [0, 0];
      await using http = await startHttp({
        settings: { http2: true },
        routes: (app) =>
          void app.all("/", async ({ signal }) => {
            begun++;
            signal.addEventListener("abort", () => cancelled++);
            return new Promise(() => {});
          }),
      });
      const caller = new RawHttp2(http.server.port);
      const head = withFields([":method", "POST"], ["content-length", "5"], ["content-type", "text/plain"]);
      const kept = plainHead; // stays under way until the connection ends
      caller.head(1, kept);
      let stream = 3;
      for (; stream < 400 && !caller.socket.destroyed; stream += 2) {
        if (reset === kinds[2]?.[1]) caller.head(stream, head, { end: false });
        else caller.head(stream, kept);
        reset(caller, stream);
        await new Promise(setImmediate);
      }
      await caller.closed;
      const goaway = caller.frames.find(({ type }) => type === frameTypes.goaway);
      const code = goaway?.payload.readUInt32BE(4);
      if (reset !== kinds[0]?.[1]) assert.notEqual(code, http2Errors.none, "node ends it at the first");
      else {
        assert.equal(code, http2Errors.calm);
        assert.equal(await metric(http, 'http_server_http2_floods_total{kind="reset"}'), 1);
      }
      await until(() => cancelled === begun, { what: "nothing goes on for it" });
      assert.ok(begun < 200, `${begun} begun`);
      assert.equal(await metric(http, "http_server_active_requests "), 0);
    });
  }
});
