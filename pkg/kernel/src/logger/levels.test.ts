import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { logSettings } from "./module.ts";
import { MemoryLog } from "../testing/memory-log.ts";
import { type Logger, type LogLevel, type LogLevels, logLevels, type RootLogger } from "./logger.ts";
import { createLogger, type LoggerOptions } from "./pino.ts";

async function logTo(
  options: LoggerOptions = {},
): Promise<{ readonly log: RootLogger; readonly lines: MemoryLog["lines"] }> {
  const memory = new MemoryLog();
  return { log: await createLogger({ destination: memory, ...options }), lines: memory.lines };
}

function enabled(log: Logger): LogLevel[] {
  return logLevels.filter((level) => log.isEnabled(level));
}

describe("a named logger", () => {
  it("says its name in each line, nested names joined by a dot; the parent stays as it was", async () => {
    const { log, lines } = await logTo({ fields: { service: "notes" } });
    const database = log.named("database");
    database.named("pool").info("a");
    database.child({ host: "db1" }).named("pool").child({ id: 7 }).info("b");
    database.info("c");
    log.info("d");
    assert.deepEqual(
      lines.map(({ logger, service, host, id }) => [logger, service, host, id]),
      [
        ["database.pool", "notes", undefined, undefined],
        ["database.pool", "notes", "db1", 7],
        ["database", "notes", undefined, undefined],
        [undefined, "notes", undefined, undefined],
      ],
    );
  });

  it("takes a name of several parts at once", async () => {
    const { log, lines } = await logTo();
    log.named("http.access").info("a");
    assert.equal(lines[0]?.logger, "http.access");
  });

  for (const name of ["", ".", "a.", ".a", "a..b", "a b", "a\nb", "a*", "ä"]) {
    it(`refuses ${JSON.stringify(name)}, which no setting could name`, async () => {
      const { log } = await logTo();
      assert.throws(() => log.named(name), { code: "ERR_OPTION_RANGE", message: /^name must name loggers by letters/ });
    });
  }

  it("cannot be given out as another one by a field", async () => {
    const { log, lines } = await logTo();
    log.named("http").info("a", { logger: "database" });
    log.named("http").child({ logger: "database" }).info("b");
    assert.deepEqual(
      lines.map(({ logger, field_logger }) => [logger, field_logger]),
      [
        ["http", "database"],
        ["http", "database"],
      ],
    );
  });
});

describe("levels by name", () => {
  it("hold for the logger of the name and those below it, and the longest wins", async () => {
    const { log } = await logTo({
      level: "warn",
      levels: { database: "debug", "database.pool": "error", "http.access": "off" },
    });
    const first = (name: string): LogLevel | undefined => enabled(log.named(name))[0];
    assert.deepEqual(
      [
        "database",
        "database.migrations",
        "database.pool",
        "database.pool.idle",
        "databases",
        "http",
        "http.access",
      ].map((name) => [name, first(name)]),
      [
        ["database", "debug"],
        ["database.migrations", "debug"],
        ["database.pool", "error"],
        ["database.pool.idle", "error"],
        ["databases", "warn"],
        ["http", "warn"],
        ["http.access", undefined],
      ],
    );
    assert.equal(enabled(log)[0], "warn");
  });

  it("decide which lines are written, and children keep those of their name", async () => {
    const { log, lines } = await logTo({ levels: { database: "debug", http: "off" } });
    log.debug("root");
    log.named("database").child({ id: 1 }).debug("database");
    log.named("http").child({ id: 2 }).fatal("http");
    assert.deepEqual(
      lines.map(({ message }) => message),
      ["database"],
    );
  });

  it("do not look at the fields of a line that is off", async () => {
    const { log, lines } = await logTo({ levels: { http: "off" } });
    log.named("http").fatal("quiet", new Proxy({}, { ownKeys: () => assert.fail("looked at") }));
    assert.deepEqual(lines, []);
  });
});

describe("changing levels", () => {
  it("takes effect at once, for children and grandchildren made before", async () => {
    const { log, lines } = await logTo();
    const pool = log.named("database").child({ a: 1 }).named("pool").child({ b: 2 });
    pool.debug("before");
    log.setLevels({ levels: { database: "debug" } });
    pool.debug("by prefix");
    log.setLevels({ level: "debug", levels: { database: "error" } });
    pool.debug("above");
    log.debug("root");
    assert.deepEqual(enabled(pool), ["error", "fatal"]);
    assert.deepEqual(
      lines.map(({ message }) => message),
      ["by prefix", "root"],
    );
  });

  it("puts what is not given back to its default", async () => {
    const { log } = await logTo({ level: "trace", levels: { database: "off" } });
    const database = log.named("database");
    log.setLevels({});
    assert.deepEqual([enabled(log)[0], enabled(database)[0]], ["info", "info"]);
    log.setLevels({ level: undefined, levels: undefined });
    assert.equal(enabled(log)[0], "info");
  });

  it("concerns no other logger of the process", async () => {
    const [one, other] = [await logTo(), await logTo()];
    one.log.setLevels({ level: "fatal" });
    assert.equal(other.log.isEnabled("info"), true);
  });

  const bad: readonly (readonly [LogLevels, RegExp])[] = [
    [JSON.parse('{ "level": "loud" }'), /^level must be one of trace, .*, off, not "loud"/],
    [JSON.parse('{ "level": null }'), /^level must be one of/],
    [JSON.parse('{ "levels": { "http": "toString" } }'), /^levels\["http"\] must be one of/],
    [{ levels: { "http.": "warn" } }, /^levels must name loggers by letters, .*, not "http\."/],
  ];
  for (const [levels, message] of bad) {
    it(`refuses ${JSON.stringify(levels)} and keeps the old ones`, async () => {
      const { log } = await logTo({ level: "warn", levels: { http: "debug" } });
      assert.throws(() => log.setLevels(levels), { code: "ERR_OPTION_RANGE", message });
      assert.deepEqual([enabled(log)[0], enabled(log.named("http"))[0]], ["warn", "debug"]);
      await assert.rejects(createLogger(levels), { code: "ERR_OPTION_RANGE" });
    });
  }

  it("is told what is wrong with a setting", async () => {
    const { issues } = await logSettings.schema["~standard"].validate({
      levels: { "http.": "warn", http: "loud", a: "off" },
    });
    assert.deepEqual(
      issues?.map(({ path, message }) => [path, message.slice(0, 24)]),
      [
        [["levels", "http."], "expected a logger's name"],
        [["levels", "http"], "Invalid option: expected"],
      ],
    );
  });

  it("answers no for a level that is none", async () => {
    const { log } = await logTo();
    assert.equal(log.isEnabled(JSON.parse('"loud"')), false);
  });

  it("needs no list of loggers: one that nobody holds any more is collected", async () => {
    const { log } = await logTo();
    const gone = new FinalizationRegistry<string>(() => {});
    const child = new WeakRef(log.named("http").child({ id: 1 }));
    gone.register(child.deref() ?? assert.fail(), "child");
    log.setLevels({ level: "debug" });
    const { setFlagsFromString } = await import("node:v8");
    const { runInNewContext } = await import("node:vm");
    setFlagsFromString("--expose-gc");
    await new Promise((resolve) => void setImmediate(resolve)); // a WeakRef holds until the end of its turn
    (runInNewContext("gc") as () => void)();
    assert.equal(child.deref(), undefined);
  });
});
