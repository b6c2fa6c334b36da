import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, it } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { until } from "@plinth/kernel/testing";
import { startHttp, type TestHttp } from "../testing/http.ts";
import { eventStream } from "./event-stream.ts";
import { exchangeOf } from "./exchange.ts";
import { webSocket } from "./web-sockets.ts";

setFlagsFromString("--expose-gc");
const collectGarbage: unknown = runInNewContext("gc");

const count = 20;
const head = (method: string, path: string, more = ""): string =>
  `${method} ${path} HTTP/1.1\r\nhost: a.example\r\n${more}\r\n`;
const handshake = head(
  "GET",
  "/socket",
  "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
);
const halfBody = `${head("POST", "/echo", "content-type: application/json\r\ncontent-length: 100\r\n")}{`;

/** What must be free to go: each exchange, and the connection that it came by. */
const held = new Map<string, WeakRef<object>[]>();

function start(): Promise<TestHttp> {
  return startHttp({
    routes: async (app) => {
      app.addHook("onRequest", (request, _reply, done) => {
        const refs = [request.raw.socket, exchangeOf(request.raw) ?? {}].map((each) => new WeakRef<object>(each));
        held.set(request.url, [...(held.get(request.url) ?? []), ...refs]);
        done();
      });
      app.get("/", async () => "x");
      app.post("/echo", async ({ body }) => body);
      app.get("/hang", async ({ signal }) => once(signal, "abort"));
      app.get("/events", (_request, reply) =>
        eventStream(reply, async function* (signal) {
          yield { data: "first" };
          await once(signal, "abort");
        }),
      );
      await webSocket(app, "/socket", async (socket) => {
        for await (const message of socket) await socket.send(message);
      });
    },
  });
}

/** As long as it takes: the collector says nothing of when it comes to what. */
async function heldAfterGc(path: string): Promise<number> {
  const refs = held.get(path) ?? [];
  let left = refs.length;
  for (let turn = 0; turn < 250 && left > 0; turn++) {
    await new Promise((resolve) => setTimeout(resolve, 20)); // what was looked at in a turn is kept for the rest of it
    if (typeof collectGarbage === "function") collectGarbage();
    left = refs.filter((ref) => ref.deref() !== undefined).length;
  }
  return left;
}

/** That it serves on; its connection closes, and is not looked at. */
async function servesOn(http: TestHttp): Promise<void> {
  assert.match(await http.raw(head("GET", "/nowhere", "connection: close\r\n")), /^HTTP\/1\.1 404 /);
}

describe("what is kept of connections that have gone", () => {
  for (const [what, path, bytes, answer] of [
    ["a request that was answered", "/", head("GET", "/"), "200 OK"],
    ["a caller that left before the answer", "/hang", head("GET", "/hang"), undefined],
    ["a caller that left in the middle of its body", "/echo", halfBody, undefined],
    ["a reader of events that left", "/events", head("GET", "/events"), "first"],
    ["a stream of events that nobody read", "/events", head("HEAD", "/events"), "200 OK"],
    ["a WebSocket that was broken off", "/socket", handshake, "101 Switching"],
  ] as const) {
    it(`is nothing of ${what}, while the server goes on`, async () => {
      held.clear();
      await using http = await start();
      for (let each = 0; each < count; each++) {
        const connection = http.connect();
        connection.write(bytes);
        if (answer === undefined) await until(() => held.get(path)?.length === 2 * (each + 1));
        else await connection.until(answer);
        connection.destroy();
        await connection.ended;
      }
      assert.equal(held.get(path)?.length, 2 * count);
      await servesOn(http);
      assert.equal(await heldAfterGc(path), 0);
      await servesOn(http);
    });
  }
});
