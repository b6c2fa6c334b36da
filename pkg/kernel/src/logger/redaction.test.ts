import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Secret } from "../config/secret.ts";
import { AppError } from "../errors/app-error.ts";
import { logSettings } from "./module.ts";
import { MemoryLog } from "../testing/memory-log.ts";
import type { RootLogger } from "./logger.ts";
import { createLogger, type LoggerOptions } from "./pino.ts";

async function logTo(
  options: LoggerOptions,
): Promise<{ readonly log: RootLogger; readonly lines: MemoryLog["lines"] }> {
  const memory = new MemoryLog();
  return { log: await createLogger({ destination: memory, ...options }), lines: memory.lines };
}

/** What one line with `fields` holds, without level, time and message. */
async function shown(redact: readonly string[], fields: object): Promise<Record<string, unknown>> {
  const { log, lines } = await logTo({ redact });
  log.info("x", { ...fields });
  const { level: _level, time: _time, message: _message, ...rest } = lines[0] ?? {};
  return rest;
}

describe("redaction by path", () => {
  it("masks what a path ends at, and nothing else", async () => {
    assert.deepEqual(
      await shown(["user.email", "card"], {
        user: { email: "ann", id: 7 },
        card: "1",
        email: "bob",
        other: { card: 2 },
      }),
      { user: { email: "***", id: 7 }, card: "***", email: "bob", other: { card: 2 } },
    );
  });

  it("takes * for any one name, first, in the middle and last", async () => {
    const fields = {
      a: { card: 1, b: { card: 2 } },
      payment: { visa: { number: 3, ok: 4 }, number: 5 },
      all: { x: 6, y: { z: 7 } },
      card: 8,
    };
    assert.deepEqual(await shown(["*.card", "payment.*.number", "all.*"], fields), {
      a: { card: "***", b: { card: 2 } },
      payment: { visa: { number: "***", ok: 4 }, number: 5 },
      all: { x: "***", y: "***" },
      card: 8,
    });
  });

  it("goes into lists, by index or *", async () => {
    const users = [
      { email: "a", id: 1 },
      { email: "b", id: 2 },
    ];
    assert.deepEqual(await shown(["users.*.email", "users.1.id"], { users }), {
      users: [
        { email: "***", id: 1 },
        { email: "***", id: "***" },
      ],
    });
  });

  it("masks a whole value of any kind, and adds none that is not there", async () => {
    const fields = {
      a: null,
      b: 0,
      c: false,
      d: { deep: "hunter2" },
      e: ["hunter2"],
      f: undefined,
      g: new Error("hunter2"),
    };
    assert.deepEqual(await shown(["a", "b", "c", "d", "e", "f", "g", "absent", "b.c"], fields), {
      a: "***",
      b: "***",
      c: "***",
      d: "***",
      e: "***",
      g: "***",
    });
  });

  it("means the names of the written line: of errors, of what toJSON makes, of renamed fields", async () => {
    const { log, lines } = await logTo({
      redact: ["error.cause.message", "error.metadata.user", "made.email", "time"],
    });
    log.error("x", {
      error: new Error("outer", { cause: new Error("hunter2") }),
      made: { toJSON: () => ({ email: "hunter2" }) },
      time: "hunter2",
    });
    assert.equal(Object(lines[0]?.error).cause.message, "***");
    assert.equal(Object(lines[0]?.error).message, "outer");
    assert.deepEqual([lines[0]?.made, lines[0]?.field_time], [{ email: "***" }, "***"]);
    assert.match(String(lines[0]?.time), /^\d{4}-/);
  });

  it("tells names apart by case, and needs no two patterns to agree", async () => {
    assert.deepEqual(await shown(["a.b", "a", "a.*"], { a: { b: 1 }, A: { b: 1 } }), { a: "***", A: { b: 1 } });
  });

  it("holds for the fields of children too, whatever they are named", async () => {
    const { log, lines } = await logTo({ redact: ["user.email"], fields: { user: { email: "hunter2" } } });
    log.info("a");
    log
      .child({ user: { email: "hunter2", id: 1 } })
      .named("http")
      .info("b");
    assert.deepEqual([lines[0]?.user, lines[1]?.user], [{ email: "***" }, { email: "***", id: 1 }]);
  });

  it("leaves the caller's objects as they are", async () => {
    const user = { email: "ann" };
    await shown(["user.email"], { user });
    assert.deepEqual(user, { email: "ann" });
  });

  it("is not led astray by names that every object has", async () => {
    const fields = { a: JSON.parse('{"__proto__": {"b": 1}, "constructor": 2}') };
    assert.deepEqual(
      JSON.stringify(await shown(["a.__proto__.b", "a.constructor"], fields)),
      '{"a":{"__proto__":{"b":"***"},"constructor":"***"}}',
    );
    assert.deepEqual(await shown(["a.toString", "hasOwnProperty"], { a: {} }), { a: {} });
  });

  for (const pattern of ["", ".", "a.", ".a", "a..b", "a b", "a.b*", "**", "a[0]", "a.*b", "\n"]) {
    it(`refuses the pattern ${JSON.stringify(pattern)}, in code and as a setting`, async () => {
      await assert.rejects(createLogger({ redact: ["ok", pattern] }), {
        code: "ERR_OPTION_RANGE",
        message: /^redact must hold names joined by dots/,
      });
      const { issues } = await logSettings.schema["~standard"].validate({ redact: ["ok", pattern] });
      const message = "expected names joined by dots, `*` for any one of them";
      assert.deepEqual(
        issues?.map((issue) => [issue.path, issue.message]),
        [[["redact", 1], message]],
      );
    });
  }
});

describe("redaction by name", () => {
  it("holds for the metadata of errors, and of what led to them, wherever they stand", async () => {
    const { log, lines } = await logTo({ redactNames: ["iban"] });
    const metadata = { token: "hunter2", IBAN: "hunter2", note: "7" };
    const inner = AppError.notFound("ERR_NOTE_MISSING", "no note 7", { metadata });
    const error = AppError.unavailable("ERR_AWAY", "away", { metadata, cause: new Error("x", { cause: inner }) });
    log.error("x", { error, failed: { first: error }, all: new AggregateError([inner], "several") });
    assert.doesNotMatch(JSON.stringify(lines), /hunter2/);
    const shown = { token: "***", IBAN: "***", note: "7" };
    assert.deepEqual(Object(lines[0]?.error).metadata, shown);
    assert.deepEqual(Object(lines[0]?.failed).first.cause.cause.metadata, shown);
    assert.deepEqual(Object(lines[0]?.all).errors[0].metadata, shown);
  });

  it("masks the names given, and the usual ones, at any depth and in any case", async () => {
    const { log, lines } = await logTo({ redactNames: ["SSN", "iban"] });
    log
      .child({ iban: "hunter2" })
      .info("x", { Ssn: "hunter2", a: [{ IBAN: { deep: "hunter2" }, password: "hunter2" }], ssnCount: 1 });
    assert.doesNotMatch(JSON.stringify(lines), /hunter2/);
    assert.equal(lines[0]?.ssnCount, 1);
  });

  it("concerns no other logger of the process", async () => {
    await logTo({ redactNames: ["city"], redact: ["town"] });
    const { log, lines } = await logTo({});
    log.info("x", { city: "Bonn", town: "Bonn" });
    assert.deepEqual([lines[0]?.city, lines[0]?.town], ["Bonn", "Bonn"]);
  });
});

describe("redaction by type", () => {
  it("masks a secret wherever it stands", async () => {
    const { log, lines } = await logTo({});
    const secret = new Secret("hunter2");
    log.child({ key: secret }).info(`key ${String(secret)}`, {
      secret2: secret,
      list: [secret],
      map: new Map([["k", secret]]),
      error: new Error(`with ${String(secret)}`),
      reason: Object.assign(new Error("x"), { cause: secret }),
    });
    assert.doesNotMatch(JSON.stringify(lines), /hunter2/);
  });
});

describe("passwords in URLs", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["postgres://ann:hunter2@db:5432/notes?x=1", "postgres://ann:***@db:5432/notes?x=1"],
    ["redis://:hunter2@cache", "redis://:***@cache"],
    ["https://ann:hunt@er2@host/path", "https://ann:***@host/path"],
    ["two: a://b:c@d and e://f:g@h.", "two: a://b:***@d and e://f:***@h."],
    ["https://ann@host/a:b@c", "https://ann@host/a:b@c"],
    ["https://host:80/a@b", "https://host:80/a@b"],
    ["file:///node_modules/@scope/a:1:2", "file:///node_modules/@scope/a:1:2"],
    ["mail ann@host, see http://a:1/", "mail ann@host, see http://a:1/"],
  ];
  for (const [text, masked] of cases) {
    it(`are ${text === masked ? "not seen" : "masked"} in ${text.replaceAll("hunter2", "…")}`, async () => {
      const { log, lines } = await logTo({});
      log.error(text, { text, list: [text], error: new Error(text, { cause: text }), url: new Map([["k", text]]) });
      const [line] = lines;
      const error = Object(line?.error);
      assert.deepEqual(
        [line?.message, line?.text, line?.list, error.message, error.cause.message],
        [masked, masked, [masked], masked, masked],
      );
      assert.ok(error.stack.includes(masked));
      assert.equal(JSON.stringify(line).includes("hunter2"), false);
    });
  }

  it("cost no more than the length of the text, however hostile it is", async () => {
    const { log, lines } = await logTo({});
    const texts = ["://", "://a:", ":", "a", "@", "://@"].map((part) => part.repeat(16_000).slice(0, 16_000));
    for (const text of texts) log.info(`${text}://@`, { text: `://${text}`, other: `${text} ://a:b@c` });
    assert.equal(lines.length, texts.length);
  });
});
