import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { PassThrough } from "node:stream";
import { AppError, currentContext } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import { startHttp, type TestHttp, type TestHttpOptions } from "../testing/http.ts";

/** A server whose clock stands still, and which tells when a handler has been reached. */
async function startStill(
  routes: (app: Parameters<NonNullable<TestHttpOptions["routes"]>>[0], reached: () => void) => void,
  settings: TestHttpOptions["settings"] = {},
): Promise<TestHttp & { readonly clock: FakeClock; readonly reached: Promise<void> }> {
  const clock = new FakeClock();
  const { promise: reached, resolve } = Promise.withResolvers<void>();
  const http = await startHttp({
    clock,
    settings: { deadlineMs: 1_000, ...settings },
    routes: (app) => routes(app, resolve),
  });
  return Object.assign(http, { clock, reached });
}

/** Timers of a server that serves nobody: the one that looks for bodies that come too slowly. */
const ofAnIdleServer = 1;
const never = new Promise<never>(() => {});

describe("the deadline of a request", () => {
  it("answers 504, aborts the signal with the same error, and reports once", async () => {
    const reasons: unknown[] = [];
    await using http = await startStill((app, reached) => {
      app.get("/slow", (request) => {
        request.signal.addEventListener("abort", () => reasons.push(request.signal.reason));
        assert.equal(currentContext()?.signal, request.signal);
        assert.equal(currentContext()?.deadlineAtMs, 1_000);
        reached();
        return never;
      });
    });
    const reply = http.fetch("/slow");
    await http.reached;
    await http.clock.advance(999);
    assert.deepEqual(reasons, []);
    await http.clock.advance(1);
    const response = await reply;
    const problem = await problemOf(response);
    assert.deepEqual(
      [response.status, problem.code, problem.detail, response.headers.get("connection")],
      [504, "ERR_DEADLINE_EXCEEDED", "no answer within the 1000 ms allowed", "close"],
    );
    const reports = await http.reports();
    assert.deepEqual(
      reports.map(({ error, traceId }) => [error, traceId]),
      [[reasons[0], problem.traceId]],
    );
    const [line] = await accessLog(http);
    assert.deepEqual(
      [line?.status, line?.code, line?.route, line?.duration_ms],
      [504, "ERR_DEADLINE_EXCEEDED", "/slow", 1_000],
    );
  });

  for (const [given, ms] of [
    ["200", 200],
    ["1", 1],
    ["0", 1],
    ["1000", 1_000],
    ["5000", 1_000],
    ["9999999999", 1_000],
    ["99999999999", 1_000],
    ["-1", 1_000],
    ["1.5", 1_000],
    ["1e2", 1_000],
    ["", 1_000],
    ["abc", 1_000],
    ["Infinity", 1_000],
    ["100, 200", 1_000],
    ["\u0661\u0662", 1_000],
  ] as const) {
    it(`is ${ms} ms when the caller asks for ${JSON.stringify(given)} and the server allows 1000`, async () => {
      await using http = await startStill((app, reached) => {
        app.get("/", () => {
          reached();
          return never;
        });
      });
      const connection = http.connect();
      connection.write(Buffer.from(`GET / HTTP/1.1\r\nHost: a\r\nPlinth-Timeout-Ms: ${given}\r\n\r\n`));
      await http.reached;
      await http.clock.advance(ms - 1);
      assert.equal(connection.received, "");
      await http.clock.advance(1);
      assert.match(await connection.ended, new RegExp(`^HTTP/1.1 504 [^]*within the ${ms} ms`));
      // Less time than the server allows was the caller's choice; running out of the server's own is its failure.
      assert.equal((await http.reports()).length, ms < 1_000 ? 0 : 1);
    });
  }

  it("drops a late result quietly", async () => {
    const gate = Promise.withResolvers<string>();
    await using http = await startStill((app, reached) => {
      app.get("/", async () => {
        reached();
        return gate.promise;
      });
    });
    const reply = http.fetch("/");
    await http.reached;
    await http.clock.advance(1_000);
    assert.equal((await reply).status, 504);
    gate.resolve("late");
    await until(() => http.lines.withMessage("a late reply was dropped").length === 1);
    await assertQuiet(http);
  });

  for (const [name, error] of [
    ["an error of its own", new Error("late")],
    ["the signal's reason", undefined],
    ["an AppError", new AppError("ERR_LATE", "internal", "late")],
  ] as const) {
    it(`drops a late rejection quietly: ${name}`, async () => {
      const gate = Promise.withResolvers<void>();
      await using http = await startStill((app, reached) => {
        app.get("/", async (request) => {
          reached();
          await gate.promise;
          throw error ?? request.signal.reason;
        });
      });
      const reply = http.fetch("/");
      await http.reached;
      await http.clock.advance(1_000);
      assert.equal((await reply).status, 504);
      gate.resolve();
      await until(() => http.lines.lines.some(({ message }) => String(message).startsWith("a handler failed after")));
      await assertQuiet(http);
    });
  }

  it("is over when the handler answers in time: nothing fires later", async () => {
    let aborted = false;
    await using http = await startStill((app) => {
      app.get("/", async (request) => {
        request.signal.addEventListener("abort", () => (aborted = true));
        return "x";
      });
    });
    assert.equal((await http.fetch("/")).status, 200);
    await accessLog(http);
    await http.clock.advance(5_000);
    assert.equal(http.clock.pending, ofAnIdleServer);
    assert.equal(aborted, false);
    assert.deepEqual(await http.reports(), []);
  });

  it("lets a handler that heeds the signal answer in its own way", async () => {
    await using http = await startStill((app, reached) => {
      app.get("/", (request, reply) => {
        request.signal.addEventListener("abort", () => void reply.code(202).send("so far"));
        reached();
      });
    });
    const reply = http.fetch("/");
    await http.reached;
    await http.clock.advance(1_000);
    const response = await reply;
    assert.deepEqual([response.status, await response.text()], [202, "so far"]);
    assert.deepEqual(await http.reports(), []);
  });

  it("cuts a reply that is under way, so that nobody takes the part for the whole", async () => {
    const source = new PassThrough();
    await using http = await startStill((app, reached) => {
      app.get("/", async (_request, reply) => {
        source.write("part");
        reached();
        return reply.type("text/plain").send(source);
      });
    });
    const connection = http.connect();
    connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await connection.until("part");
    await http.clock.advance(1_000);
    assert.doesNotMatch(await connection.ended, /\r\n0\r\n|problem/);
    await until(() => source.destroyed);
    const [line] = await accessLog(http);
    assert.deepEqual([line?.status, line?.code], [504, "ERR_DEADLINE_EXCEEDED"]);
    assert.equal((await http.reports()).length, 1);
  });

  it("answers 504 also while the body is still arriving", async () => {
    await using http = await startStill((app) => void app.post("/", async () => "x"));
    const connection = http.connect();
    connection.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nhalf");
    await until(() => http.clock.pending > ofAnIdleServer);
    await http.clock.advance(1_000);
    const text = await connection.ended;
    assert.match(text, /^HTTP\/1.1 504 [^]*\r\nconnection: close\r\n/i);
    assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1);
    assert.equal((await http.reports()).length, 1);
  });

  it("answers 504 also when the route had set a header that cannot be sent", async () => {
    await using http = await startStill((app, reached) => {
      app.get("/", (_request, reply) => {
        reply.header("x-bad", "\n");
        reached();
        return never;
      });
    });
    const reply = http.fetch("/");
    await http.reached;
    await http.clock.advance(1_000);
    assert.equal((await reply).status, 504);
  });

  it("leaves a reply alone that the handler has taken over", async () => {
    await using http = await startStill((app, reached) => {
      app.get("/", (_request, reply) => {
        reply.hijack();
        reached();
        setImmediate(() => reply.raw.end("mine"));
      });
    });
    const connection = http.connect();
    connection.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    await http.reached;
    await http.clock.advance(1_000);
    assert.match(await connection.ended, /^HTTP\/1.1 200 [^]*mine/);
  });
});

describe("a caller that leaves", () => {
  it("has its handler told at once, and is logged as 499, which is nobody's error", async () => {
    const told = Promise.withResolvers<AppError>();
    await using http = await startStill((app, reached) => {
      app.get("/", (request) => {
        request.signal.addEventListener("abort", () => told.resolve(request.signal.reason));
        reached();
        return never;
      });
    });
    const connection = http.connect();
    connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await http.reached;
    connection.destroy();
    assert.deepEqual([(await told.promise).code, (await told.promise).status], ["ERR_CANCELLED", "cancelled"]);
    const [line] = await accessLog(http);
    assert.deepEqual([line?.status, line?.code], [499, "ERR_CANCELLED"]);
    assert.deepEqual(await http.reports(), []);
    assert.match((await http.metrics.expose()).body, /status="499"\} 1/);
  });

  it("before the handler asks for the signal, finds it aborted", async () => {
    const gate = Promise.withResolvers<void>();
    const seen = Promise.withResolvers<boolean>();
    await using http = await startStill((app, reached) => {
      app.get("/", async (request) => {
        reached();
        await gate.promise;
        seen.resolve(request.signal.aborted);
      });
    });
    const connection = http.connect();
    connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await http.reached;
    connection.destroy();
    await accessLog(http);
    gate.resolve();
    assert.equal(await seen.promise, true);
  });

  for (const [name, finish] of [
    ["returns", async () => "late"],
    ["throws", async () => fail(new Error("late"))],
    ["throws the reason", async (signal: AbortSignal) => fail(signal.reason)],
  ] as const) {
    it(`does not crash or report when its handler later ${name}`, async () => {
      const gate = Promise.withResolvers<void>();
      const done = Promise.withResolvers<void>();
      await using http = await startStill((app, reached) => {
        app.get("/", async (request) => {
          reached();
          await gate.promise;
          setImmediate(done.resolve);
          return finish(request.signal);
        });
      });
      const connection = http.connect();
      connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      await http.reached;
      connection.destroy();
      await accessLog(http);
      gate.resolve();
      await done.promise;
      assert.deepEqual(await http.reports(), []);
      assert.equal((await http.fetch("/nowhere")).status, 404);
    });
  }

  it("in the middle of its body is logged as 499 and not reported", async () => {
    await using http = await startStill((app) => void app.post("/", async () => "x"));
    const connection = http.connect();
    connection.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nhalf");
    await until(() => http.clock.pending > ofAnIdleServer);
    connection.socket.resetAndDestroy();
    const [line] = await accessLog(http);
    assert.deepEqual([line?.status, line?.code], [499, "ERR_CANCELLED"]);
    assert.deepEqual(await http.reports(), []);
  });

  it("after its reply was complete is logged with that reply's status", async () => {
    await using http = await startStill((app) => void app.get("/", async () => "x"));
    const connection = http.connect();
    connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await connection.until("\r\n\r\nx");
    connection.destroy();
    assert.equal((await accessLog(http))[0]?.status, 200);
  });

  it("leaves nothing behind, a thousand times over", async () => {
    await using http = await startStill((app) => void app.get("/", () => never));
    for (let round = 0; round < 20; round++) {
      const connections = Array.from({ length: 50 }, () => http.connect());
      for (const connection of connections) connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      await untilActive(http, 50);
      for (const connection of connections) connection.destroy();
      await untilActive(http, 0);
    }
    assert.ok(http.clock.pending <= ofAnIdleServer + 1, "one timer for all of them");
    await http.clock.advance(5_000);
    assert.equal(http.clock.pending, ofAnIdleServer);
  });
});

function fail(error: unknown): never {
  throw error;
}

async function assertQuiet(http: TestHttp): Promise<void> {
  assert.equal((await http.reports()).length, 1); // the deadline itself
  assert.deepEqual(
    http.lines.lines.filter(({ level }) => level === "error" || level === "warn"),
    [],
  );
}

async function accessLog(http: TestHttp): Promise<Record<string, unknown>[]> {
  await until(() => http.lines.withMessage("request").length > 0);
  return http.lines.withMessage("request");
}

async function problemOf(response: Response) {
  return JSON.parse(await response.text());
}

async function untilActive(http: TestHttp, count: number): Promise<void> {
  const line = `\nhttp_server_active_requests ${count}\n`;
  while (!(await http.metrics.expose()).body.includes(line)) await new Promise(setImmediate);
}
