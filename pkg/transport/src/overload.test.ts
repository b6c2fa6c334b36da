import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { status } from "@grpc/grpc-js";
import type { Clock } from "@plinth/kernel";
import { FakeClock, StallingClock, until } from "@plinth/kernel/testing";
import { type LoopDelay, watchLoopDelay } from "./loop-delay.ts";
import { EchoService } from "./gen/plinth/transport/testing/v1/echo_pb.ts";
import { startGrpc } from "./testing/grpc.ts";
import { failureOf } from "./testing/grpc-client.ts";
import { startHttp } from "./testing/http.ts";

/** A loop that is as late as a test says. */
const lateBy = (ms: number): LoopDelay & { ms: number } => ({
  ms,
  nowMs() {
    return this.ms;
  },
  close: () => {},
});

/** The outermost layer fails, so that there is no exchange. */
const broken: LoopDelay = {
  nowMs: () => {
    throw new Error("broken");
  },
  close: () => {},
};

describe("the delay of the event loop", () => {
  it("is nothing while it keeps up", async () => {
    const clock = new FakeClock();
    const delay = watchLoopDelay({ clock });
    for (let turn = 0; turn < 100; turn++) {
      await clock.advance(17);
      assert.equal(delay.nowMs(), 0);
    }
  });

  it("is known while it is still blocked, to what was let in before the next sample", async () => {
    const clock = new StallingClock();
    const delay = watchLoopDelay({ clock });
    await clock.advance(40);
    clock.stall(2_000);
    assert.equal(delay.nowMs(), 1_990);
  });

  it("is remembered for one sample, and forgotten at once when the loop keeps up again", async () => {
    const clock = new StallingClock();
    const delay = watchLoopDelay({ clock });
    clock.stall(2_000);
    await clock.advance(50);
    assert.equal(delay.nowMs(), 2_000);
    await clock.advance(49);
    assert.equal(delay.nowMs(), 2_000);
    await clock.advance(1);
    assert.equal(delay.nowMs(), 0);
  });

  it("is watched by one timer that no process waits for, and by none after close, also twice", async () => {
    const kept: unknown[] = [];
    const clock = new FakeClock();
    const seen: Clock = {
      now: () => clock.now(),
      monotonicMs: () => clock.monotonicMs(),
      schedule: (delayMs, task, options?: { readonly keepAlive?: boolean }) => {
        kept.push(options?.keepAlive);
        return clock.schedule(delayMs, task);
      },
    };
    const delay = watchLoopDelay({ clock: seen });
    await clock.advance(500);
    assert.equal(clock.pending, 1);
    assert.deepEqual(new Set(kept), new Set([false]));
    delay.close();
    delay.close();
    assert.equal(clock.pending, 0);
  });
});

describe("an HTTP server whose event loop runs late", () => {
  const headers = { "x-request-id": "request-1", traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01` };

  it("refuses requests with 503 and when to come again, counts them among the failures, and spends nothing else on them", async () => {
    let served = 0;
    await using http = await startHttp({
      loopDelay: lateBy(1_001),
      routes: (app) => void app.get("/", async () => served++),
    });
    const response = await http.fetch("/", { headers });
    assert.deepEqual(
      [response.status, response.headers.get("retry-after"), response.headers.get("x-request-id")],
      [503, "1", "request-1"],
    );
    assert.deepEqual(await response.json(), {
      type: "about:blank",
      title: "Service Unavailable",
      status: 503,
      code: "ERR_OVERLOADED",
      detail: "the server has too much to do; try again in a second",
      traceId: "a".repeat(32),
      retryable: true,
    });
    const { body } = await http.metrics.expose();
    assert.match(body, /^http_server_shed_total 1$/m);
    assert.deepEqual(body.match(/^http_server_request_duration_seconds_(count|sum).*/gm), [
      'http_server_request_duration_seconds_sum{method="GET",route="unmatched",status="503"} 0',
      'http_server_request_duration_seconds_count{method="GET",route="unmatched",status="503"} 1',
    ]);
    assert.deepEqual([served, await http.reports(), http.lines.withMessage("request")], [0, [], []]);
  });

  it("keeps the request id of a trusted peer alone, where it refuses and where it breaks", async () => {
    for (const loopDelay of [lateBy(1_001), broken]) {
      await using http = await startHttp({ loopDelay, settings: { trustedPeers: [] } });
      const id = (await http.fetch("/", { headers })).headers.get("x-request-id");
      assert.match(id ?? "", /^[0-9a-f]{32}$/);
      await using trusting = await startHttp({ loopDelay });
      assert.equal((await trusting.fetch("/", { headers })).headers.get("x-request-id"), "request-1");
    }
  });

  it("keeps the connection, whatever body the refused request had", async () => {
    const loopDelay = lateBy(5_000);
    await using http = await startHttp({
      loopDelay,
      routes: (app) => {
        app.addContentTypeParser("text/plain", { parseAs: "string" }, (_request, body, done) => done(null, body));
        app.post("/", async ({ body }) => body);
      },
    });
    const connection = http.connect();
    const post = (body: string): string =>
      `POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    connection.write(post("a".repeat(100_000)));
    await connection.until("ERR_OVERLOADED");
    loopDelay.ms = 0;
    connection.write(post("second"));
    await connection.until("\r\n\r\nsecond");
    connection.destroy();
  });

  it("serves again with the first request after it keeps up", async () => {
    const loopDelay = lateBy(5_000);
    await using http = await startHttp({ loopDelay, routes: (app) => void app.get("/", async () => "x") });
    assert.equal((await http.fetch("/")).status, 503);
    loopDelay.ms = 1_000;
    assert.equal((await http.fetch("/")).status, 200);
  });

  it("refuses none when the limit is 0", async () => {
    await using http = await startHttp({ loopDelay: lateBy(1e9), settings: { maxLoopDelayMs: 0 } });
    assert.equal((await http.fetch("/")).status, 404);
  });

  it("answers the ops endpoints all the same", async () => {
    await using http = await startHttp({
      loopDelay: lateBy(5_000),
      ops: (request, response) => request.url === "/healthz" && response.end("fine") === response,
    });
    assert.equal(await (await http.fetch("/healthz")).text(), "fine");
  });
});

describe("a gRPC server whose event loop runs late", () => {
  it("refuses calls of every kind as UNAVAILABLE, to be tried again, counts them among the failures, and spends nothing else on them", async () => {
    await using grpc = await startGrpc({ loopDelay: lateBy(1_001) });
    const { call, reply } = grpc.client.collect();
    call.end({ text: "a" });
    const chat = grpc.client.chat();
    chat.end({ text: "a" });
    const metadata = { "x-request-id": "request-1" };
    const outcomes = [grpc.client.say({}, { metadata }), grpc.client.count({ to: 1 }).toArray(), reply, chat.toArray()];
    for (const failure of await Promise.all(outcomes.map(failureOf))) {
      assert.deepEqual(
        [failure.code, failure.info?.reason, failure.info?.metadata],
        [status.UNAVAILABLE, "ERR_OVERLOADED", { "plinth.retryable": "true" }],
      );
    }
    const { body } = await grpc.metrics.expose();
    assert.match(body, /^grpc_server_shed_total 4$/m);
    assert.match(body, /^grpc_server_active_calls 0$/m);
    assert.deepEqual(
      body.match(/^grpc_server_call_duration_seconds_count.*/gm)?.toSorted(),
      ["Chat", "Collect", "Count", "Say"].map(
        (method) =>
          `grpc_server_call_duration_seconds_count{method="${EchoService.typeName}/${method}",status="unavailable"} 1`,
      ),
    );
    assert.deepEqual([await grpc.reports(), grpc.lines.withMessage("call")], [[], []]);
  });

  it("keeps the request id of a trusted peer alone, where it refuses and where it breaks", async () => {
    const metadata = { "x-request-id": "request-1" };
    for (const loopDelay of [lateBy(1_001), broken]) {
      await using grpc = await startGrpc({ loopDelay, settings: { trustedPeers: [] } });
      assert.match((await failureOf(grpc.client.say({}, { metadata }))).requestId ?? "", /^[0-9a-f]{32}$/);
      await using trusting = await startGrpc({ loopDelay });
      assert.equal((await failureOf(trusting.client.say({}, { metadata }))).requestId, "request-1");
    }
  });

  it("serves again with the first call after it keeps up, and refuses none when the limit is 0", async () => {
    const loopDelay = lateBy(5_000);
    await using grpc = await startGrpc({ loopDelay });
    await failureOf(grpc.client.say({}));
    loopDelay.ms = 1_000;
    assert.equal((await grpc.client.say({ text: "x" })).text, "x");
    await using unlimited = await startGrpc({ loopDelay: lateBy(1e9), settings: { maxLoopDelayMs: 0 } });
    assert.equal((await unlimited.client.say({ text: "x" })).text, "x");
  });

  it("answers health checks all the same", async () => {
    const { Health } = await import("./gen/grpc/health/v1/health_pb.ts");
    await using grpc = await startGrpc({ loopDelay: lateBy(5_000) });
    const { reply } = grpc.client.unary(Health.method.check, { service: EchoService.typeName });
    assert.equal((await reply).status, 1);
  });
});

describe("too many requests under way", () => {
  it("are refused with 503 and Retry-After, counted, and not reported; probes are answered", async () => {
    const [reached, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    await using http = await startHttp({
      settings: { maxConcurrentRequests: 1 },
      ops: (request, response) => request.url === "/healthz" && (response.end("{}"), true),
      routes: (app) => {
        app.get("/waits", async () => {
          reached.resolve();
          await gate.promise;
          return "done";
        });
      },
    });
    const first = http.fetch("/waits");
    await reached.promise;
    const refused = await http.fetch("/waits");
    assert.deepEqual([refused.status, refused.headers.get("retry-after")], [503, "1"]);
    assert.partialDeepStrictEqual(await refused.json(), { code: "ERR_OVERLOADED" });
    assert.equal((await http.fetch("/healthz")).status, 200);
    gate.resolve();
    assert.equal(await (await first).text(), "done");
    assert.equal((await http.fetch("/waits")).status, 200);
    assert.match((await http.metrics.expose()).body, /http_server_shed_total 1\b/);
    assert.deepEqual(await http.reports(), []);
  });

  it("leave their place when their callers have gone", async () => {
    let isGone = false;
    const reached = Promise.withResolvers<void>();
    await using http = await startHttp({
      settings: { maxConcurrentRequests: 1 },
      routes: (app) => {
        app.get("/hangs", ({ signal }) => {
          signal.addEventListener("abort", () => (isGone = true));
          reached.resolve();
          return new Promise(() => {});
        });
        app.get("/", async () => "x");
      },
    });
    const caller = http.connect();
    caller.write("GET /hangs HTTP/1.1\r\nhost: a\r\n\r\n");
    await reached.promise;
    assert.equal((await http.fetch("/")).status, 503);
    caller.destroy();
    await until(() => isGone);
    assert.equal((await http.fetch("/")).status, 200);
  });

  it("are all let in with 0, and one by one past a middleware of the user's", async () => {
    const outermost = {
      name: "mine",
      before: "overload",
      handle: async (_request: unknown, next: () => Promise<unknown>) => void (await next()),
    };
    await using http = await startHttp({
      settings: { maxConcurrentRequests: 1 },
      middlewares: [outermost],
      routes: (app) => void app.get("/", async () => "x"),
    });
    assert.equal((await http.fetch("/")).status, 200);
    await using open = await startHttp({
      settings: { maxConcurrentRequests: 0 },
      routes: (app) => void app.get("/", async () => "x"),
    });
    const replies = await Promise.all(Array.from({ length: 50 }, () => open.fetch("/")));
    assert.ok(replies.every(({ status: each }) => each === 200));
  });
});

describe("a gRPC server that serves as many calls as it may", () => {
  const outermost = {
    name: "mine",
    before: "overload",
    handle: async (_request: unknown, next: () => Promise<unknown>) => void (await next()),
  } as const;
  for (const middlewares of [[], [outermost]]) {
    it(`refuses further ones as UNAVAILABLE, to be tried again, but no probe: ${middlewares.length} middlewares outside`, async () => {
      const begun = Promise.withResolvers<void>();
      const { promise: opened, resolve: open } = Promise.withResolvers<void>();
      await using grpc = await startGrpc({
        middlewares,
        settings: { maxConcurrentCalls: 2 },
        handlers: {
          say: async ({ text }) => {
            if (text === "second") begun.resolve();
            await opened;
            return { text };
          },
        },
      });
      const under = [grpc.client.say({ text: "first" }), grpc.client.say({ text: "second" })];
      await begun.promise;
      const failure = await failureOf(grpc.client.say({ text: "third" }));
      assert.deepEqual(
        [failure.code, failure.info?.reason, failure.info?.metadata],
        [status.UNAVAILABLE, "ERR_OVERLOADED", { "plinth.retryable": "true" }],
      );
      const health = await grpc.client.raw("/grpc.health.v1.Health/Check", new Uint8Array());
      assert.deepEqual([...health], [8, 1], "serving");
      open();
      assert.deepEqual(
        (await Promise.all(under)).map(({ text }) => text),
        ["first", "second"],
      );
      assert.equal((await grpc.client.say({ text: "fourth" })).text, "fourth");
      assert.match((await grpc.metrics.expose()).body, /^grpc_server_shed_total 1$/m);
    });
  }
});
