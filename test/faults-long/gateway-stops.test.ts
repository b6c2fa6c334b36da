// A gateway is told to stop: under load, twice, and with everything open that has no end of its own.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect as connectHttp2, createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { describe } from "node:test";
import { httpInstance, socketInstance } from "../../pkg/gateway/src/testing/kit.ts";
import { faultTest } from "../support/fault-row.ts";
import { type Stage, startStage } from "../support/gateway-stage.ts";
import { startLoad } from "../support/load.ts";
import { until } from "../support/until.ts";

const limitMs = 30_000;
const connections = 16;
const open = { anonymous: true, timeoutMs: 0 } as const;

/** Sends bytes as they are, and keeps what comes. */
function dial(
  { port }: Stage,
  bytes: string,
): { readonly socket: Socket; text(): string; readonly ended: Promise<string> } {
  const socket = connect(port, "127.0.0.1");
  let text = "";
  socket.setEncoding("latin1").on("data", (part: string) => (text += part));
  socket.on("error", () => {}); // a reset is an end too
  const ended = new Promise<string>((resolve) => socket.once("close", () => resolve(text)));
  socket.write(bytes);
  return { socket, text: () => text, ended };
}

describe("a gateway is told to stop", () => {
  faultTest(
    {
      fault: "28 SIGTERM under load",
      done: `by ${connections} connections as fast as replies come`,
      expected: "0 failed until nobody listens; exit code 0",
    },
    async (witness) => {
      await using stage = await startStage({ environment: { PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "500" } });
      const load = startLoad({ url: `${stage.url}/orders`, connections });
      await load.untilMore(400);
      const before = load.report().statuses["200"] ?? 0;
      stage.gateway.signal("SIGTERM");
      await load.ended;
      const { statuses, broken, unaccepted } = load.report();
      const sent = statuses["200"] ?? 0;
      witness.count({ sent, failed: broken.length });
      witness.saw(`${sent - before} served after SIGTERM`);
      assert.deepEqual([Object.keys(statuses), broken], [["200"], []]);
      assert.ok(sent > before && unaccepted <= connections);
      assert.deepEqual(await stage.gateway.exit, { code: 0, signal: null }, stage.gateway.stderr());
    },
  );

  faultTest(
    {
      fault: "28 a second SIGTERM",
      done: "half a second after the first, while a request hangs that the drain of ten minutes would wait for",
      expected: "ended at once, exit code 143",
    },
    async (witness) => {
      await using stage = await startStage({
        route: { timeoutMs: 0 },
        environment: { PLINTH_LIFECYCLE_DRAIN_MS: "600000", PLINTH_LIFECYCLE_STOP_MS: "1200000" },
      });
      for (const each of stage.orders) await each.set({ delayMs: 600_000 });
      const hanging = dial(stage, "GET /orders HTTP/1.1\r\nHost: a\r\n\r\n");
      await until(async () => (await stage.metric("gateway_requests_in_flight")) === 1, "it hangs", limitMs);
      stage.gateway.signal("SIGTERM");
      await delay(500);
      const atMs = performance.now();
      stage.gateway.signal("SIGTERM");
      assert.deepEqual(await stage.gateway.exit, { code: 143, signal: null });
      await hanging.ended;
      witness.saw(`over ${Math.round(performance.now() - atMs)} ms after the second`);
    },
  );

  faultTest(
    {
      fault: "29 SIGTERM with everything open",
      done: "ten WebSockets, streams of events, streams of gRPC and uploads that stall; 1.5 s to drain",
      expected:
        "WebSockets closed with 1001 at once; at the limit gRPC ends with UNAVAILABLE, the rest is cut off, none as if it were whole; exit code 0",
    },
    async (witness) => {
      await using streams = await httpInstance((request, response) => {
        if (request.url === "/events")
          response.writeHead(200, { "content-type": "text/event-stream" }).write("data: first\n\n");
      });
      await using sockets = await socketInstance(acceptOnce);
      const grpc = createHttp2Server().on("stream", (stream: ServerHttp2Stream) => {
        stream.on("error", () => undefined);
        stream.respond({ ":status": 200, "content-type": "application/grpc" });
        stream.write(Buffer.from([0, 0, 0, 0, 1, 7]));
      });
      grpc.listen(0, "127.0.0.1");
      await once(grpc, "listening");
      const address = grpc.address();
      assert.ok(typeof address === "object" && address !== null);
      await using stage = await startStage({
        document: ({ services, routes }) => ({
          services: {
            ...services,
            streams: { static: [`127.0.0.1:${streams.port}`] },
            sockets: { static: [`127.0.0.1:${sockets.port}`] },
            grpc: { static: [`127.0.0.1:${address.port}`], protocol: "http2" },
          },
          routes: [
            ...routes,
            { ...open, name: "streams", match: { path: ["/events", "/upload"] }, service: "streams" },
            { ...open, name: "sockets", match: { path: "/socket" }, service: "sockets", websocket: true },
            { ...open, name: "grpc", match: { path: "/g.S/M" }, service: "grpc" },
          ],
        }),
        environment: { PLINTH_GATEWAY_HTTP2_CLEARTEXT: "true", PLINTH_LIFECYCLE_DRAIN_MS: "1500" },
      });
      const ten = <T>(make: () => T): T[] => Array.from({ length: 10 }, make);
      const webSockets = ten(() => new WebSocket(`${stage.url.replace("http", "ws")}/socket`));
      await Promise.all(webSockets.map((each) => once(each, "open")));
      const closed = Promise.all(webSockets.map(async (each) => Number((await once(each, "close"))[0].code)));
      const events = ten(() => dial(stage, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n"));
      const uploads = ten(() => dial(stage, "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf"));
      const session = connectHttp2(stage.url).on("error", () => undefined);
      const calls = ten(() => {
        const call = session.request({
          ":method": "POST",
          ":path": "/g.S/M",
          "content-type": "application/grpc",
          te: "trailers",
        });
        call.on("error", () => undefined).resume();
        const first = once(call, "data");
        const end = new Promise<string>((resolve) => {
          let status = "none";
          call.on("trailers", (trailers) => (status = String(trailers["grpc-status"])));
          call.on("close", () => resolve(status));
        });
        return { first, end };
      });
      await Promise.all(calls.map(({ first }) => first));
      await until(() => events.every(({ text }) => text().includes("first")), "events", limitMs);
      await until(async () => (await stage.metric("gateway_requests_in_flight")) >= 30, "all are under way", limitMs);
      const atMs = performance.now();
      const after = (): number => Math.round(performance.now() - atMs);
      stage.gateway.signal("SIGTERM");
      const codes = await closed;
      witness.saw(`WebSockets closed after ${after()} ms`);
      const statuses = await Promise.all(calls.map(({ end }) => end));
      const ends = await Promise.all([...events, ...uploads].map(({ ended }) => ended));
      assert.deepEqual(await stage.gateway.exit, { code: 0, signal: null }, stage.gateway.stderr());
      witness.saw(`over after ${after()} ms; gRPC ${[...new Set(statuses)].join()}`);
      assert.deepEqual([...new Set(codes)], [1001]);
      assert.deepEqual([...new Set(statuses)], ["14"], "each call is told that the gateway is not available");
      for (const text of ends.slice(0, 10))
        assert.ok(!text.endsWith("\r\n0\r\n\r\n"), "half a stream is not taken for a whole one");
      session.destroy();
      grpc.close();
    },
  );
});

/** Takes a WebSocket, says nothing in it, and closes it when it is told to. */
function acceptOnce(socket: Socket): void {
  socket.once("data", (head: Buffer) => {
    const [, key = ""] = /^sec-websocket-key: (.*)\r$/im.exec(head.toString("latin1")) ?? [];
    const accepted = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accepted}\r\n\r\n`,
    );
    socket.once("data", () => socket.end());
  });
}
