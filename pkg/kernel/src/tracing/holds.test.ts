// Where a request's context holds: whatever is begun inside of it, however it comes back.
import assert from "node:assert/strict";
import { exec } from "node:child_process";
import { EventEmitter, on, once } from "node:events";
import { randomBytes } from "node:crypto";
import { lookup } from "node:dns";
import { createReadStream, readFile } from "node:fs";
import { createServer as createHttpServer, get, type Server } from "node:http";
import { createServer } from "node:net";
import { PassThrough, Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { after, describe, it } from "node:test";
import { setImmediate as nextTurn, setTimeout as later } from "node:timers/promises";
import { MessageChannel, Worker } from "node:worker_threads";
import { gzip } from "node:zlib";
import { currentContext, runInContext } from "../context.ts";
import { createTracing } from "./tracing.ts";

const seen = (): string | undefined => currentContext()?.span?.spanId;

let server: Server | undefined;
/** An HTTP server that all share, and so its clients their connections: those are of no request. */
async function ours(): Promise<string> {
  if (server === undefined) {
    server = createHttpServer((_request, response) => response.end("x")).listen(0, "127.0.0.1");
    await once(server, "listening");
  } else if (!server.listening) await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return `http://127.0.0.1:${address.port}`;
}
after(() => {
  server?.close();
  server?.closeAllConnections();
});

/** Each does something and gives the span that it saw when it came back. */
const ways: Readonly<Record<string, () => Promise<string | undefined>>> = {
  await: async () => {
    await Promise.resolve();
    await later(1);
    return seen();
  },
  "promise callbacks": () => Promise.resolve().then(seen).finally(seen),
  "a thenable of its own": async () => {
    // oxlint-disable-next-line unicorn/no-thenable -- it is what is tried here
    await { then: (resolve: () => void) => void setTimeout(resolve, 1) };
    return seen();
  },
  setTimeout: () => new Promise((resolve) => void setTimeout(() => resolve(seen()), 1)),
  setInterval: () =>
    new Promise((resolve) => {
      const timer = setInterval(() => {
        clearInterval(timer);
        resolve(seen());
      }, 1);
    }),
  setImmediate: () => new Promise((resolve) => void setImmediate(() => resolve(seen()))),
  nextTick: () => new Promise((resolve) => process.nextTick(() => resolve(seen()))),
  queueMicrotask: () => new Promise((resolve) => queueMicrotask(() => resolve(seen()))),
  "a callback of fs": () => new Promise((resolve) => readFile(import.meta.filename, () => resolve(seen()))),
  "a callback of zlib": () => new Promise((resolve) => gzip("x", () => resolve(seen()))),
  "a callback of a child process": () => new Promise((resolve) => void exec("true", () => resolve(seen()))),
  "a callback of dns": () => new Promise((resolve) => lookup("127.0.0.1", () => resolve(seen()))),
  "a callback of crypto": () => new Promise((resolve) => randomBytes(8, () => resolve(seen()))),
  "the events of a file's stream": () =>
    new Promise((resolve) => {
      const spans = new Set<string | undefined>();
      const file = createReadStream(import.meta.filename, { highWaterMark: 1_024 });
      file
        .on("data", () => spans.add(seen()))
        .once("close", () => resolve(spans.size === 1 ? [...spans][0] : "several"));
    }),
  "a port's message": () =>
    new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.once("message", () => {
        port1.close();
        resolve(seen());
      });
      port2.postMessage(1);
    }),
  "a callback of node:http": async () => {
    const url = await ours();
    return new Promise((resolve) => get(url, (reply) => reply.resume().once("end", () => resolve(seen()))));
  },
  "the platform's fetch": async () => {
    const url = await ours();
    const inside = await fetch(url).then(async (reply) => [seen(), await reply.text(), seen()]);
    assert.equal(inside[0], inside[2]);
    return seen();
  },
  "an event emitter": async () => {
    const emitter = new EventEmitter();
    const heard = new Promise<string | undefined>((resolve) => emitter.once("done", () => resolve(seen())));
    setTimeout(() => emitter.emit("done"), 1);
    return heard;
  },
  "events.once": async () => {
    const emitter = new EventEmitter();
    setTimeout(() => emitter.emit("done"), 1);
    await once(emitter, "done");
    return seen();
  },
  "events.on": async () => {
    const emitter = new EventEmitter();
    setTimeout(() => emitter.emit("item", 1), 1);
    for await (const _ of on(emitter, "item")) return seen();
    return undefined;
  },
  "an EventTarget": async () => {
    const target = new EventTarget();
    const heard = new Promise<string | undefined>((resolve) => target.addEventListener("done", () => resolve(seen())));
    setTimeout(() => target.dispatchEvent(new Event("done")), 1);
    return heard;
  },
  "an abort signal": async () => {
    const controller = new AbortController();
    const heard = new Promise<string | undefined>((resolve) =>
      controller.signal.addEventListener("abort", () => resolve(seen()), { once: true }),
    );
    setTimeout(() => controller.abort(), 1);
    return heard;
  },
  "the chunks of a stream": async () => {
    const spans = new Set<string | undefined>();
    for await (const _ of Readable.from(["a", "b"]).pipe(new PassThrough())) spans.add(seen());
    assert.equal(spans.size, 1);
    return [...spans][0];
  },
  "a transform in a pipeline": async () => {
    const spans = new Set<string | undefined>();
    const transform = new Transform({
      transform(chunk, _encoding, done) {
        spans.add(seen());
        setImmediate(() => done(null, chunk));
      },
    });
    await pipeline(Readable.from(["a", "b"]), transform, new PassThrough().resume());
    assert.equal(spans.size, 1);
    return [...spans][0];
  },
  "an async generator": async () => {
    async function* numbers() {
      await nextTurn();
      yield seen();
    }
    for await (const span of numbers()) return span;
    return undefined;
  },
  "a socket": async () => {
    const { connect } = await import("node:net");
    const talker = createServer((socket) => socket.end("hi")).listen(0, "127.0.0.1");
    await once(talker, "listening");
    const address = talker.address();
    assert.ok(typeof address === "object" && address !== null);
    const socket = connect(address.port, "127.0.0.1");
    const heard = await new Promise<string | undefined>((resolve) => socket.once("data", () => resolve(seen())));
    socket.destroy();
    talker.close();
    return heard;
  },
  "a worker's message, awaited": async () => {
    const worker = new Worker("require('node:worker_threads').parentPort.postMessage(1)", { eval: true });
    await once(worker, "message");
    await worker.terminate();
    return seen();
  },
};

describe("the context of a request", () => {
  const tracing = createTracing();
  for (const [what, way] of Object.entries(ways)) {
    it(`holds across ${what}, for each of two requests at the same time`, async () => {
      const run = (): Promise<readonly unknown[]> =>
        runInContext({ requestId: "r" }, () =>
          tracing.withSpan("work", {}, async ({ spanId }) => [await way(), seen(), spanId]),
        );
      for (const [inside, after, own] of await Promise.all([run(), run()]))
        assert.deepEqual([inside, after], [own, own]);
      assert.equal(seen(), undefined);
    });
  }
});
