import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Secret } from "../config/secret.ts";
import { runInContext } from "../context.ts";
import { AppError } from "../errors/app-error.ts";
import { MemoryLog } from "../testing/memory-log.ts";
import { logLevels } from "./logger.ts";
import { createLogger, type LoggerOptions } from "./pino.ts";

async function logTo(options: LoggerOptions = {}): Promise<{
  readonly log: Awaited<ReturnType<typeof createLogger>>;
  readonly lines: Record<string, unknown>[];
}> {
  const memory = new MemoryLog();
  return { log: await createLogger({ destination: memory, ...options }), lines: memory.lines };
}

describe("a log line", () => {
  it("has level, time, message, the logger's fields and its own", async () => {
    const { log, lines } = await logTo({ fields: { service: "notes" } });
    log.info("started", { port: 8080, tls: false, tags: ["a"], peer: { address: "::1" }, none: null });
    const [line] = lines;
    assert.ok(line);
    const { time, ...rest } = line;
    assert.ok(Math.abs(Date.parse(String(time)) - Date.now()) < 60_000);
    assert.deepEqual(rest, {
      level: "info",
      message: "started",
      service: "notes",
      port: 8080,
      tls: false,
      tags: ["a"],
      peer: { address: "::1" },
      none: null,
    });
  });

  for (const level of logLevels) {
    it(`is written by ${level}, which says so`, async () => {
      const { log, lines } = await logTo({ level: "trace" });
      log[level]("x");
      assert.equal(lines[0]?.level, level);
      assert.equal(log.isEnabled(level), true);
    });
  }

  it("is not written below the level, and its fields are not even looked at", async () => {
    const { log, lines } = await logTo({ level: "warn" });
    const fields = new Proxy({}, { ownKeys: () => assert.fail("looked at") });
    log.info("quiet", fields);
    log.warn("loud");
    assert.deepEqual(
      lines.map(({ message }) => message),
      ["loud"],
    );
    assert.deepEqual(
      logLevels.filter((level) => log.isEnabled(level)),
      ["warn", "error", "fatal"],
    );
  });

  it("has a message that is taken as it is", async () => {
    const { log, lines } = await logTo();
    log.info('100% %s %d "quoted"\n{}', { a: 1 });
    assert.equal(lines[0]?.message, '100% %s %d "quoted"\n{}');
  });

  it("carries the ids of its request, and none outside of one", async () => {
    const { log, lines } = await logTo();
    const span = { traceId: "1".repeat(32), spanId: "2".repeat(16), sampled: true };
    log.info("outside");
    runInContext({ requestId: "r1", span }, () => log.info("inside"));
    runInContext({}, () => log.info("without ids"));
    assert.deepEqual(
      lines.map(({ trace_id, span_id, request_id }) => [trace_id, span_id, request_id]),
      [
        [undefined, undefined, undefined],
        [span.traceId, span.spanId, "r1"],
        [undefined, undefined, undefined],
      ],
    );
    assert.equal("trace_id" in (lines[0] ?? {}), false);
  });

  it("keeps its own level, time and message when fields have these names", async () => {
    const raw: string[] = [];
    const log = await createLogger({ destination: { write: (line) => void raw.push(line) } });
    log.info("real", { level: "fatal", time: 0, message: "forged" });
    const line = JSON.parse(raw[0] ?? "");
    assert.equal(line.level, "info");
    assert.equal(line.message, "real");
    assert.deepEqual([line.field_level, line.field_time, line.field_message], ["fatal", 0, "forged"]);
    assert.equal(raw[0]?.match(/"level":/g)?.length, 1);
  });
});

describe("a child logger", () => {
  it("adds its fields, and its own children theirs; the parent stays as it was", async () => {
    const { log, lines } = await logTo({ fields: { service: "notes" } });
    const child = log.child({ component: "pool" });
    child.child({ id: 7 }).info("a");
    log.info("b");
    assert.deepEqual([lines[0]?.service, lines[0]?.component, lines[0]?.id], ["notes", "pool", 7]);
    assert.equal("component" in (lines[1] ?? {}), false);
  });

  it("hides and survives in its fields what a line does", async () => {
    const { log, lines } = await logTo();
    const fields = {
      password: "hunter2",
      get bad(): string {
        throw new Error("getter");
      },
    };
    log.child(fields).info("a");
    assert.deepEqual([lines[0]?.password, lines[0]?.bad], ["***", "[unreadable]"]);
  });
});

describe("redaction", () => {
  it("writes no secret, by name in any case and depth, nor by type", async () => {
    const { log, lines } = await logTo();
    log.info("request", {
      password: "hunter2",
      headers: { Authorization: "Bearer hunter2", cookie: "s=hunter2", "set-cookie": ["hunter2"] },
      list: [{ token: "hunter2" }, { deep: { secret: "hunter2" } }],
      key: new Secret("hunter2"),
      nested: { key: new Secret("hunter2"), map: new Map([["key", new Secret("hunter2")]]) },
      error: Object.assign(new Error("x"), { password: "hunter2" }),
    });
    assert.doesNotMatch(JSON.stringify(lines), /hunter2/);
    assert.match(JSON.stringify(lines), /"headers":\{"Authorization":"\*\*\*","cookie":"\*\*\*"/);
  });

  it("leaves fields alone whose names only contain such a word", async () => {
    const { log, lines } = await logTo();
    log.info("x", { tokens: 5, secretary: "ann" });
    assert.deepEqual([lines[0]?.tokens, lines[0]?.secretary], [5, "ann"]);
  });
});

describe("errors in log lines", () => {
  it("have type, message, stack, code and the whole chain of causes", async () => {
    const { log, lines } = await logTo();
    const root = Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
    const error = new AppError("ERR_STORE_DOWN", "unavailable", "no store", {
      cause: root,
      metadata: { store: "a" },
    });
    log.error("failed", { error });
    const shown = lines[0]?.error as Record<string, unknown>;
    assert.deepEqual(
      { ...shown, stack: undefined, cause: undefined },
      {
        type: "AppError",
        message: "no store",
        code: "ERR_STORE_DOWN",
        status: "unavailable",
        metadata: { store: "a" },
        stack: undefined,
        cause: undefined,
      },
    );
    assert.match(String(shown.stack), /pino\.test\.ts/);
    assert.equal((shown.cause as Record<string, unknown>).code, "ECONNREFUSED");
  });

  it("have all errors of an aggregate", async () => {
    const { log, lines } = await logTo();
    log.error("failed", { error: new AggregateError([new Error("a"), "b"], "both") });
    const { errors } = Object(lines[0]?.error) as { errors: { message: string }[] };
    assert.deepEqual(
      errors.map(({ message }) => message),
      ["a", "b"],
    );
  });

  it("end where they go in circles, and where they branch without end", async () => {
    const { log, lines } = await logTo();
    const circle: Error & { cause?: unknown } = new Error("circle");
    circle.cause = new Error("inner", { cause: circle });
    log.error("a", { error: circle });
    assert.match(JSON.stringify(lines[0]), /"cause":\{"type":"Error","message":"\[circular\]"\}/);

    const bush = (depth: number): AggregateError =>
      new AggregateError(
        Array.from({ length: 20 }, () => (depth > 0 ? bush(depth - 1) : new Error("leaf"))),
        "bush",
      );
    log.error("b", { error: bush(2) });
    assert.ok(JSON.stringify(lines[1]).length < 200_000);
    assert.match(JSON.stringify(lines[1]), /more errors left out/);
  });

  it("are shown wherever they stand, and whatever was thrown", async () => {
    const { log, lines } = await logTo();
    log.error("a", { reason: new Error("elsewhere"), list: [new Error("in a list")] });
    log.error("b", { error: "text" });
    log.error("c", { error: undefined });
    assert.match(JSON.stringify(lines[0]), /"message":"elsewhere".*"message":"in a list"/);
    assert.deepEqual(lines[1]?.error, { type: "string", message: "text" });
    assert.deepEqual(lines[2]?.error, { type: "undefined", message: "undefined" });
  });
});

describe("a logger with hostile values", () => {
  const fail = (): never => {
    throw new Error("touched");
  };
  const circle: Record<string, unknown> = { name: "circle" };
  circle.self = circle;
  function itself(this: unknown): unknown {
    return this;
  }
  let deep: object = {};
  for (let level = 0; level < 20_000; level++) deep = { deep };
  const values: readonly (readonly [string, unknown, unknown])[] = [
    ["a bigint", 12n, "12"],
    ["a symbol", Symbol("s"), "Symbol(s)"],
    ["a function", () => {}, undefined],
    ["a number that JSON has not", NaN, null],
    ["a cycle", circle, { name: "circle", self: "[circular]" }],
    [
      "a getter that throws",
      Object.defineProperty({}, "bad", { get: fail, enumerable: true }),
      { bad: "[unreadable]" },
    ],
    ["a toJSON that throws", { toJSON: fail }, "[unreadable]"],
    ["a toJSON that returns itself", { toJSON: itself }, "[circular]"],
    [
      "a proxy that throws",
      new Proxy({}, { ownKeys: fail, get: fail, has: fail, getPrototypeOf: fail }),
      "[unreadable]",
    ],
    ["bytes", Buffer.alloc(1_000), "[1000 bytes]"],
    ["a date", new Date(0), "1970-01-01T00:00:00.000Z"],
    ["an invalid date", new Date(NaN), null],
    ["a URL", new URL("http://a/b"), "http://a/b"],
    ["a set", new Set([1]), [1]],
    ["an object without a prototype", Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
    ["a key named __proto__", JSON.parse('{"__proto__": 1, "a": 2}'), JSON.parse('{"__proto__": 1, "a": 2}')],
  ];
  for (const [name, value, shown] of values) {
    it(`writes ${name} without throwing, at the top and below`, async () => {
      const { log, lines } = await logTo();
      log.info("a", { value });
      log.info("b", { inner: { value } });
      assert.equal(lines.length, 2);
      assert.deepEqual(lines[0]?.value, shown);
      assert.deepEqual(Object(lines[1]?.inner).value, shown);
    });
  }

  it("cuts what is huge: texts, messages, lists, objects, depth", async () => {
    const { log, lines } = await logTo();
    const huge = "x".repeat(2_000_000);
    const list = Array.from({ length: 1_000 }, () => huge);
    const wide = Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`key${index}`, index]));
    log.info(huge, { huge, list, wide, deep, error: new Error(huge) });
    const line = JSON.stringify(lines[0]);
    assert.ok(line.length < 4_000_000, `${line.length}`);
    assert.match(line, /… \(2000000 characters\)/);
    assert.match(line, /"…":"99900 more"/);
  });

  it("bounds a line that branches without end, in lists or objects", async () => {
    const { log, lines } = await logTo();
    const lists = (depth: number): unknown => (depth > 0 ? Array.from({ length: 60 }, () => lists(depth - 1)) : 1);
    const objects = (depth: number): unknown =>
      depth > 0 ? Object.fromEntries(Array.from({ length: 60 }, (_, key) => [`k${key}`, objects(depth - 1)])) : 1;
    log.info("x", { lists: lists(3) });
    log.info("x", { objects: objects(3) });
    for (const line of lines) assert.ok(JSON.stringify(line).length < 100_000);
    assert.equal(lines.length, 2);
  });

  it("survives hostile errors and hostile field objects", async () => {
    const { log, lines } = await logTo();
    log.error("a", { error: Object.defineProperty(new Error("x"), "stack", { get: fail }) });
    log.error("b", { error: new Proxy(new Error("x"), { get: fail, getPrototypeOf: fail }) });
    log.error("c", new Proxy({}, { ownKeys: fail }));
    assert.deepEqual(
      lines.map(({ message }) => message),
      ["a", "b", "c"],
    );
    assert.deepEqual(lines[0]?.error, { type: "Error", message: "x" });
    assert.equal(lines[2]?.fields, "[unreadable]");
  });

  it("tells standard error when the destination itself throws, and goes on", async (t) => {
    const said: string[] = [];
    t.mock.method(process.stderr, "write", (line: string) => said.push(line) > 0);
    const log = await createLogger({
      destination: {
        write() {
          throw new Error("disk full");
        },
      },
    });
    log.error("lost");
    assert.deepEqual(said, ["a log line was not written: disk full: lost\n"]);
  });
});

describe("flushing", () => {
  it("resolves at once for a destination that keeps nothing back, and rejects with its failure", async () => {
    await (await createLogger({ destination: { write: () => {} } })).flush();
    const failing = await createLogger({
      destination: { write: () => {}, flush: (done) => done(new Error("disk full")) },
    });
    await assert.rejects(failing.flush(), { message: "disk full" });
  });
});
