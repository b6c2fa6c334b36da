import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runInContext } from "../context.ts";
import { MemoryLog } from "../testing/memory-log.ts";
import { createEarlyLogger } from "./early-logger.ts";
import type { Logger } from "./logger.ts";
import { createLogger } from "./pino.ts";

const span = { traceId: "1".repeat(32), spanId: "2".repeat(16), sampled: true };

describe("an early logger", () => {
  it("keeps lines, and writes them through with their own time, level, name, fields and request", async (t) => {
    t.mock.timers.enable({ apis: ["Date"], now: 1_000 });
    const early = createEarlyLogger();
    early.named("app").child({ part: "config" }).warn("first", { port: 1, time: "mine" });
    t.mock.timers.setTime(2_000);
    runInContext({ requestId: "r1", span }, () => early.info("second", { error: new Error("broken") }));
    t.mock.timers.setTime(9_000);
    const memory = new MemoryLog();
    early.attach(await createLogger({ destination: memory, fields: { service: "notes" } }));
    early.info("third");

    const { error, ...second } = memory.lines[1] ?? {};
    assert.deepEqual(memory.lines[0], {
      level: "warn",
      time: "1970-01-01T00:00:01.000Z",
      service: "notes",
      logger: "app",
      part: "config",
      port: 1,
      field_time: "mine",
      message: "first",
    });
    assert.deepEqual(second, {
      level: "info",
      time: "1970-01-01T00:00:02.000Z",
      service: "notes",
      trace_id: span.traceId,
      span_id: span.spanId,
      request_id: "r1",
      message: "second",
    });
    const { type, message, stack } = Object(error);
    assert.deepEqual([type, message], ["Error", "broken"]);
    assert.match(stack, /early-logger\.test\.ts/);
    assert.deepEqual([memory.lines[2]?.time, memory.lines.length], ["1970-01-01T00:00:09.000Z", 3]);
  });

  it("leaves out what the levels known by then leave out, by name too", async () => {
    const early = createEarlyLogger();
    assert.equal(early.isEnabled("trace"), true);
    early.debug("quiet");
    early.named("database").debug("loud");
    early.named("http.access").fatal("off");
    const memory = new MemoryLog();
    early.attach(await createLogger({ destination: memory, levels: { database: "debug", http: "off" } }));
    assert.deepEqual(
      memory.lines.map(({ message }) => message),
      ["loud"],
    );
    assert.equal(early.isEnabled("debug"), false);
  });

  it("hands on from then on, children and names made before included, and levels change for them too", async () => {
    const early = createEarlyLogger();
    const pool = early.named("database").child({ id: 7 }).named("pool");
    const memory = new MemoryLog();
    const log = await createLogger({ destination: memory });
    early.attach(log);
    pool.info("a");
    pool.child({ more: true }).info("b");
    assert.equal(pool.isEnabled("debug"), false);
    log.setLevels({ levels: { "database.pool": "debug" } });
    assert.equal(pool.isEnabled("debug"), true);
    assert.deepEqual(
      memory.lines.map(({ logger, id, more }) => [logger, id, more]),
      [
        ["database.pool", 7, undefined],
        ["database.pool", 7, true],
      ],
    );
  });

  it("hides what the attached logger hides, though it did not know it when the line came", async () => {
    const early = createEarlyLogger();
    early.info("a", {
      user: { email: "ann", cards: [{ Ssn: "hunter2", password: "hunter2" }] },
      ssn: "hunter2",
      password: "hunter2",
    });
    const memory = new MemoryLog();
    early.attach(await createLogger({ destination: memory, redact: ["user.email"], redactNames: ["ssn"] }));
    const [line] = memory.lines;
    assert.deepEqual(
      [line?.user, line?.ssn, line?.password],
      [{ email: "***", cards: [{ Ssn: "***", password: "***" }] }, "***", "***"],
    );
  });

  it("keeps what a line said, whatever becomes of its objects", async () => {
    const early = createEarlyLogger();
    const fields = { list: [1], bad: 0 };
    early.info("a", fields);
    const child = early.child(fields);
    fields.list.push(2);
    fields.bad = 1;
    const memory = new MemoryLog();
    early.attach(await createLogger({ destination: memory }));
    child.info("b");
    assert.deepEqual([memory.lines[0]?.list, memory.lines[0]?.bad, memory.lines[1]?.bad], [[1], 0, 0]);
  });

  it("drops the oldest beyond its limit, and says how many", async (t) => {
    t.mock.timers.enable({ apis: ["Date"], now: 1_000 });
    const early = createEarlyLogger({ maxLines: 3 });
    for (let line = 0; line < 10; line++) early.info(`line ${line}`);
    const memory = new MemoryLog();
    early.attach(await createLogger({ destination: memory }));
    assert.deepEqual(
      memory.lines.map(({ level, message, dropped }) => [level, message, dropped]),
      [
        ["warn", "lines from before the logger are lost: there were too many", 7],
        ["info", "line 7", undefined],
        ["info", "line 8", undefined],
        ["info", "line 9", undefined],
      ],
    );
  });

  it("is bounded in size too", async () => {
    const early = createEarlyLogger();
    for (let line = 0; line < 1_000; line++) early.info("huge", { line, text: "x".repeat(16_000) });
    const memory = new MemoryLog();
    early.attach(await createLogger({ destination: memory }));
    const [told, ...kept] = memory.lines;
    assert.ok(kept.length > 200 && kept.length < 300, `${kept.length}`);
    assert.equal(Number(told?.dropped) + kept.length, 1_000);
    assert.equal(kept.at(-1)?.line, 999);
  });

  for (const maxLines of [0, -1, 1.5, NaN]) {
    it(`refuses to keep ${maxLines} lines`, () => {
      assert.throws(() => createEarlyLogger({ maxLines }), { code: "ERR_OPTION_RANGE", message: /^maxLines/ });
    });
  }

  it("writes what it has kept when it is released without a logger, once, and hands on to the same", () => {
    const memory = new MemoryLog();
    const early = createEarlyLogger({ destination: memory, fields: { service: "notes" } });
    early.named("config").error("bad file");
    early.debug("below info");
    early.release();
    early.release();
    early.info("after");
    assert.deepEqual(
      memory.lines.map(({ service, logger, message }) => [service, logger, message]),
      [
        ["notes", "config", "bad file"],
        ["notes", undefined, "after"],
      ],
    );
  });

  it("writes nothing when it is released after a logger was attached", async () => {
    const own = new MemoryLog();
    const early = createEarlyLogger({ destination: own });
    early.info("a");
    const memory = new MemoryLog();
    early.attach(await createLogger({ destination: memory }));
    early.release();
    early.info("b");
    assert.deepEqual([own.lines.length, memory.lines.length], [0, 2]);
  });

  it("moves on to another logger, without writing a line twice", async () => {
    const [first, second] = [new MemoryLog(), new MemoryLog()];
    const early = createEarlyLogger({ destination: first });
    const child = early.named("app");
    child.info("a");
    early.release();
    early.attach(await createLogger({ destination: second, fields: { service: "notes" } }));
    child.info("b");
    assert.deepEqual([first.lines.length, second.lines.length], [1, 1]);
    assert.deepEqual([second.lines[0]?.logger, second.lines[0]?.service], ["app", "notes"]);
  });

  it("gives a logger of another make the time as a field", async (t) => {
    t.mock.timers.enable({ apis: ["Date"], now: 1_000 });
    const said: unknown[] = [];
    const write = (...line: unknown[]): void => void said.push(line);
    const own: Logger = {
      trace: write,
      debug: write,
      info: write,
      warn: write,
      error: write,
      fatal: write,
      isEnabled: (level) => level !== "debug",
      child: () => own,
      named: () => own,
      flush: async () => {},
      flushSync: () => {},
    };
    const early = createEarlyLogger();
    early.named("app").info("a", { port: 1 });
    early.debug("b");
    early.attach(own);
    early.warn("c", { port: 2 });
    assert.deepEqual(said, [
      ["a", { port: 1, logged_at: "1970-01-01T00:00:01.000Z" }],
      ["c", { port: 2 }],
    ]);
  });

  it("flushes what it is attached to; before, a blocking flush releases it", async () => {
    const memory = new MemoryLog();
    const early = createEarlyLogger({ destination: memory });
    early.info("a");
    await early.flush();
    assert.equal(memory.lines.length, 0);
    early.flushSync();
    assert.equal(memory.lines.length, 1);
    const asked: string[] = [];
    early.attach(
      await createLogger({
        destination: {
          write: () => {},
          flush: (done) => done(new Error("disk full")),
          flushSync: () => asked.push("sync"),
        },
      }),
    );
    early.flushSync();
    assert.deepEqual(asked, ["sync"]);
    await assert.rejects(early.flush(), { message: "disk full" });
  });

  it("refuses a name as any logger does, and survives callers without types", async () => {
    const early = createEarlyLogger();
    assert.throws(() => early.named("a b"), { code: "ERR_OPTION_RANGE" });
    const [first, second] = [JSON.parse("5"), JSON.parse('"text"')];
    early.info(first, second);
    const memory = new MemoryLog();
    early.attach(await createLogger({ destination: memory }));
    assert.deepEqual([memory.lines[0]?.message, memory.lines[0]?.fields], ["5", "text"]);
  });

  it("listens for the end of the process only while it keeps lines", async () => {
    const before = process.listenerCount("exit");
    const earlies = Array.from({ length: 20 }, () => createEarlyLogger({ destination: new MemoryLog() }));
    assert.equal(process.listenerCount("exit"), before);
    for (const early of earlies) early.info("a");
    assert.equal(process.listenerCount("exit"), before + 1);
    for (const early of earlies) early.release();
    assert.equal(process.listenerCount("exit"), before);
  });
});
