import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, it } from "node:test";
import { messageOf } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import type { FastifyReply, FastifyRequest } from "fastify";
import { parseReply, startHttp, type TestHttp } from "../testing/http.ts";
import { eventStream, type EventStreamOptions, type ServerEvent } from "./event-stream.ts";

const get = "GET /events HTTP/1.1\r\nHost: a\r\n\r\n";

function start(
  events: (signal: AbortSignal) => AsyncIterable<ServerEvent>,
  options: EventStreamOptions & { readonly deadlineMs?: number } = {},
): Promise<TestHttp> {
  return startHttp({
    settings: { deadlineMs: options.deadlineMs ?? 10_000 },
    routes: (app) => void app.get("/events", (_request, reply) => eventStream(reply, events, options)),
  });
}

/** Goes on until it is told to stop, and then throws, as what waits with a signal does. */
async function* endless(signal: AbortSignal): AsyncGenerator<ServerEvent> {
  yield { data: "first" };
  await once(signal, "abort");
  throw signal.reason;
}

const codes = async (http: TestHttp): Promise<unknown[]> => {
  await until(() => http.lines.withMessage("request").length > 0);
  return http.lines.withMessage("request").map(({ status, code }) => [status, code]);
};

describe("a stream of events", () => {
  it("sends each as it comes, in the form that pages read, and ends with them", async () => {
    const go = Promise.withResolvers<void>();
    await using http = await start(async function* () {
      yield { data: "one", event: "greeting", id: "1" };
      await go.promise;
      yield { data: "two\nlines\r\nmore" };
    });
    const connection = http.connect();
    connection.write(get);
    await connection.until("event: greeting\nid: 1\ndata: one\n\n");
    go.resolve();
    await connection.until("data: two\ndata: lines\ndata: more\n\n\r\n0\r\n\r\n");
    const { status, headers } = parseReply(connection.received);
    assert.deepEqual(
      [status, headers["content-type"], headers["cache-control"]],
      [200, "text/event-stream", "no-store, no-transform"],
    );
    connection.destroy();
  });

  it("has an end for HEAD too, and for a reply that something else takes the place of", async () => {
    let ended = 0;
    await using http = await startHttp({
      routes: (app) => {
        const stream = (_request: FastifyRequest, reply: FastifyReply): FastifyReply =>
          eventStream(reply, async function* (signal) {
            try {
              yield { data: "first" };
              if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
            } finally {
              ended++;
            }
          });
        app.get("/events", stream);
        app.get("/replaced", { onSend: async () => "another" }, stream);
      },
    });
    assert.equal((await http.fetch("/events", { method: "HEAD" })).status, 200);
    assert.equal(await (await http.fetch("/replaced")).text(), "another");
    await until(() => ended === 2);
  });

  it("sends its head before there is an event, and says that it lives while it is silent", async () => {
    const clock = new FakeClock();
    await using http = await start(endless, { clock, keepAliveMs: 1_000 });
    const connection = http.connect();
    connection.write(get);
    await connection.until("data: first\n\n");
    const before = connection.received.split(":\n\n").length;
    await clock.advance(1_000);
    await until(() => connection.received.split(":\n\n").length === before + 1);
    await clock.advance(1_000);
    await until(() => connection.received.split(":\n\n").length === before + 2);
    connection.destroy();
  });

  it("outlives the deadline of requests", async () => {
    const told: unknown[] = [];
    await using http = await start(
      async function* (signal) {
        await new Promise((resolve) => setTimeout(resolve, 60));
        told.push(signal.aborted);
        yield { data: "late" };
      },
      { deadlineMs: 20 },
    );
    const response = await http.fetch("/events");
    assert.match(await response.text(), /data: late\n\n$/);
    assert.deepEqual([told, await codes(http)], [[false], [[200, undefined]]]);
  });

  it("is told by the signal when its caller goes, which is nobody's error", async () => {
    const told = Promise.withResolvers<void>();
    await using http = await start(async function* (signal) {
      yield { data: "first" };
      await once(signal, "abort");
      told.resolve();
    });
    const connection = http.connect();
    connection.write(get);
    await connection.until("first");
    connection.destroy();
    await told.promise;
    assert.deepEqual([await codes(http), await http.reports()], [[[499, "ERR_CANCELLED"]], []]);
  });

  it("is written no faster than it is read", async () => {
    let made = 0;
    await using http = await start(async function* () {
      for (; made < 2_000; made++) yield { data: "x".repeat(65_536) };
    });
    const connection = http.connect();
    connection.socket.pause();
    connection.write(get);
    await until(() => made > 1);
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.ok(made < 2_000, `${made} events of 64 KiB were made for a reader that takes nothing`);
    connection.destroy();
  });

  for (const [what, event] of [
    ["an error of its own", undefined],
    ["an event of two lines where one may be", { data: "", event: "a\nb" }],
  ] as const) {
    it(`breaks off at ${what}, which is reported`, async () => {
      await using http = await start(async function* () {
        yield { data: "first" };
        if (event === undefined) throw new TypeError("secret");
        yield event;
      });
      const text = await http.raw(get);
      assert.ok(!text.endsWith("0\r\n\r\n"), "it does not look whole");
      assert.equal((await http.reports()).length, 1);
    });
  }
});

describe("a stream of events with an option out of its range", () => {
  for (const keepAliveMs of [0, -1, NaN]) {
    it(`as keepAliveMs ${keepAliveMs} is a fault of the server, and begins nothing`, async () => {
      await using http = await start(endless, { keepAliveMs });
      assert.equal((await http.fetch("/events")).status, 500);
      const [report] = await http.reports();
      assert.match(
        JSON.stringify([report?.error.message, messageOf(report?.error.cause)]),
        /keepAliveMs must be 1 or more/,
      );
    });
  }
});

describe("the drain of a server with streams of events", () => {
  it("ends each, whole, at its beginning, and tells who makes them", async () => {
    await using http = await start(endless);
    const connection = http.connect();
    connection.write(get);
    await connection.until("first");
    await http.server.drain({ signal: new AbortController().signal });
    assert.ok((await connection.ended).endsWith("\r\n0\r\n\r\n"));
    assert.deepEqual([await codes(http), await http.reports()], [[[200, undefined]], []]);
  });

  it("ends one at once that is only now begun", async () => {
    const go = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/events", async (_request, reply) => {
          begun.resolve();
          await go.promise;
          return eventStream(reply, endless);
        }),
    });
    const connection = http.connect();
    connection.write(get);
    await begun.promise;
    const drained = http.server.drain({ signal: new AbortController().signal });
    go.resolve();
    await drained;
    assert.ok((await connection.ended).endsWith("\r\n0\r\n\r\n"));
  });
});
