import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runInContext } from "../context.ts";
import { AppError } from "../errors/app-error.ts";
import type { RootLogger } from "./logger.ts";
import { createLogger, type LoggerOptions } from "./pino.ts";
import { serializeError } from "./serialize-error.ts";

const fail = (): never => {
  throw new Error("touched");
};

/** Lines as they are written: parsing would hide a key that stands there twice. */
async function logTo(options: LoggerOptions = {}): Promise<{ readonly log: RootLogger; readonly raw: string[] }> {
  const raw: string[] = [];
  return { log: await createLogger({ destination: { write: (line) => void raw.push(line) }, ...options }), raw };
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

class Account {
  readonly id = 7;
  readonly #pin: string = "hunter2";
  get open(): boolean {
    return this.#pin === "";
  }
}

describe("a line of hostile values", () => {
  const values: readonly (readonly [string, unknown, unknown])[] = [
    ["a revoked proxy", revoked(), "[unreadable]"],
    ["a proxy of a list that throws", new Proxy([], { get: fail, getPrototypeOf: fail, has: fail }), "[unreadable]"],
    ["infinities", [Infinity, -Infinity, -0], [null, null, 0]],
    ["a bigint of a million digits' length", 2n ** 70_000n, /^\d{16384}… \(21073 characters\)$/],
    ["a symbol without a name", Symbol(), "Symbol()"],
    [
      "typed arrays and buffers",
      [new Uint8Array(3), new Float64Array(2), new ArrayBuffer(5), new DataView(new ArrayBuffer(6))],
      ["[3 bytes]", "[16 bytes]", "[5 bytes]", "[6 bytes]"],
    ],
    ["a shared buffer", new SharedArrayBuffer(4), "[4 bytes]"],
    ["a pattern", /a+/gu, "/a+/gu"],
    ["a class with private data", new Account(), { id: 7 }],
    [
      "a huge map",
      new Map(Array.from({ length: 100_000 }, (_, index) => [index, index])),
      /^\[\[0,0\],.*\[99,99\],"…"\]$/,
    ],
    ["a sparse list", Object.assign([], { length: 4_000_000_000 }), /^\[null,.*null,"…"\]$/],
    [
      "a map in itself",
      (() => {
        const map = new Map<string, unknown>();
        return map.set("self", map);
      })(),
      [["self", "[circular]"]],
    ],
    ["a toJSON that is no function", { toJSON: 1 }, { toJSON: 1 }],
    ["a toJSON that gives nothing", { toJSON: () => {} }, undefined],
    ["a toJSON that gives an error", { toJSON: () => new RangeError("far") }, /"type":"RangeError","message":"far"/],
    [
      "names that every object has",
      JSON.parse('{"__proto__":1,"constructor":2,"hasOwnProperty":3,"toString":4}'),
      /^\{"__proto__":1,"constructor":2,"hasOwnProperty":3,"toString":4\}$/,
    ],
    ["a name of a million letters", { ["k".repeat(1_000_000)]: 1 }, /^\{"k{200}…":1\}$/],
    ["control characters", "\u0000\u001b[2J\n\u2028", "\u0000\u001b[2J\n\u2028"],
  ];
  for (const [name, value, expected] of values) {
    it(`holds ${name}, at the top, below and in a child's fields`, async () => {
      const { log, raw } = await logTo();
      log.info("a", { value });
      log.info("b", { inner: { value } });
      log.child({ value }).info("c");
      const lines = raw.map((line) => JSON.parse(line));
      for (const line of raw) assert.match(line, /^[^\n]*\n$/);
      for (const shown of [lines[0].value, lines[1].inner.value, lines[2].value]) {
        if (expected instanceof RegExp)
          assert.match(typeof shown === "string" ? shown : JSON.stringify(shown), expected);
        else assert.deepEqual(shown, expected);
      }
    });
  }

  it("is valid text whatever halves of characters it was given, short or long", async () => {
    const { log, raw } = await logTo();
    for (const text of ["\ud800", `${"x".repeat(500)}\udc00`, `${"x".repeat(16_383)}🙂${"x".repeat(100)}`]) {
      log.info(text, { text, list: [text], [text]: 1 });
    }
    assert.equal(raw.length, 3);
    for (const line of raw) {
      assert.equal(line.isWellFormed(), true);
      JSON.parse(line);
    }
  });

  it("is bounded when its fields are ten thousand", async () => {
    const { log, raw } = await logTo();
    const fields = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`key${index}`, index]));
    log.info("a", fields);
    log.child(fields).info("b");
    for (const line of raw) {
      assert.ok(line.length < 3_000, `${line.length}`);
      assert.equal(JSON.parse(line)["…"], "9900 more");
    }
  });

  it("holds one field for each name, and the nearest wins", async () => {
    const span = { traceId: "1".repeat(32), spanId: "2".repeat(16), sampled: true };
    const { log, raw } = await logTo({ fields: { service: "notes", id: 1 } });
    const child = log.child({ id: 2, trace_id: "child" }).named("a").child({ id: 3 }).named("b");
    runInContext({ requestId: "r1", span }, () => {
      child.info("x", { id: 4, service: "mine", request_id: "line", level: 1, message: 2, time: 3, logger: 4 });
      child.info("y");
      log.info("z", { trace_id: undefined, id: undefined });
    });
    for (const line of raw) {
      const keys = [...line.matchAll(/"(\w+)":/g)].map(([, key]) => key);
      assert.deepEqual(keys, [...new Set(keys)]);
    }
    const lines = raw.map((line) => JSON.parse(line));
    assert.deepEqual(
      lines.map(({ id, service, logger, trace_id, span_id, request_id }) => [
        id,
        service,
        logger,
        trace_id,
        span_id,
        request_id,
      ]),
      [
        [4, "mine", "a.b", "child", span.spanId, "line"],
        [3, "notes", "a.b", "child", span.spanId, "r1"],
        [1, "notes", undefined, span.traceId, span.spanId, "r1"],
      ],
    );
    assert.deepEqual(
      [lines[0].level, lines[0].message, lines[0].field_level, lines[0].field_message],
      ["info", "x", 1, 2],
    );
  });

  it("is not taken for a request by pino, nor for settings of a child", async () => {
    const { log, raw } = await logTo();
    const fields = {
      method: "GET",
      headers: { a: "b" },
      socket: { c: 1 },
      serializers: 1,
      formatters: 2,
      customLevels: 3,
      hasOwnProperty: 4,
    };
    log.info("a", { ...fields });
    log.child({ ...fields }).info("b");
    for (const line of raw) {
      const { level: _level, time: _time, message: _message, ...rest } = JSON.parse(line);
      assert.deepEqual(rest, fields);
    }
  });

  it("takes fields in which other lines are written while they are read", async () => {
    const { log, raw } = await logTo({ fields: { id: 1 } });
    const nosy = {
      id: 2,
      get peek(): string {
        log.info("inner", { id: 3 });
        return "seen";
      },
      json: { toJSON: () => (log.info("deep", { deep: { id: 4 } }), "made") },
    };
    log.info("outer", nosy);
    assert.deepEqual(
      raw.map((line) => JSON.parse(line)).map(({ message, id, peek, json }) => [message, id, peek, json]),
      [
        ["inner", 3, undefined, undefined],
        ["deep", 1, undefined, undefined],
        ["outer", 2, "seen", "made"],
      ],
    );
  });
});

describe("callers without types", () => {
  const error = Object.assign(new Error("broken"), { detail: "hunter2" });
  const calls: readonly (readonly [string, readonly unknown[], Record<string, unknown>])[] = [
    ["nothing", [], { message: "" }],
    ["a number", [5], { message: "5" }],
    ["null for fields", ["text", null], { message: "text" }],
    ["a text for fields", ["text", "more"], { message: "text", fields: "more" }],
    ["an error for fields", ["text", error], { message: "text", error: "broken" }],
    ["an error for a message", [error], { message: "broken", error: "broken" }],
    ["an error, then fields", [error, { id: 7 }], { message: "broken", error: "broken", id: 7 }],
    ["an error, then a text", [error, "text"], { message: "text", error: "broken" }],
    [
      "fields, then a text, as for pino",
      [{ id: 7, password: "hunter2" }, "text"],
      { message: "text", id: 7, password: "***" },
    ],
    ["fields alone", [{ id: 7 }], { message: "", id: 7 }],
    ["a symbol", [Symbol("s")], { message: "Symbol(s)" }],
    [
      "a proxy that throws",
      [new Proxy({}, { ownKeys: fail, get: fail, getPrototypeOf: fail })],
      { message: "", fields: "[unreadable]" },
    ],
    ["a revoked proxy", ["text", revoked()], { message: "text", fields: "[unreadable]" }],
  ];
  for (const [name, given, expected] of calls) {
    it(`get a line for ${name}`, async () => {
      const { log, raw } = await logTo();
      Reflect.apply(log.info, log, given);
      const { level: _level, time: _time, error: shown, ...rest } = JSON.parse(raw[0] ?? "");
      assert.deepEqual({ ...rest, ...(shown === undefined ? {} : { error: shown.message }) }, expected);
      assert.doesNotMatch(raw.join(""), /hunter2/);
    });
  }
});

describe("hostile errors", () => {
  it("show what can be read of them", () => {
    const noStack = Object.defineProperty(new TypeError("x", { cause: new Error("root") }), "stack", { get: fail });
    const { cause, ...rest } = Object(serializeError(noStack));
    assert.deepEqual([rest, cause.message], [{ type: "TypeError", message: "x" }, "root"]);
    const noCause = Object.defineProperty(new AppError("ERR_A", "internal", "x"), "cause", { get: fail });
    const { stack, ...shown } = Object(serializeError(noCause));
    assert.deepEqual(shown, { type: "AppError", message: "x", code: "ERR_A", status: "internal" });
    assert.match(stack, /hostile\.test\.ts/);
  });

  it("show of an aggregate of a thousand the first twenty, and how many more there are", () => {
    const all = new AggregateError(
      Array.from({ length: 1_000 }, (_, index) => new Error(`${index}`)),
      "all",
    );
    const { errors } = Object(serializeError(all)) as { errors: { message: string }[] };
    assert.equal(errors.length, 21);
    assert.deepEqual([errors[19]?.message, errors[20]?.message], ["19", "[980 more errors left out]"]);
  });

  it("show none of the fields that a driver adds, which may hold what users wrote", () => {
    const error = Object.assign(new Error("duplicate key"), {
      code: "23505",
      detail: "(email)=(hunter2)",
      parameters: ["hunter2"],
      where: "hunter2",
    });
    const shown = Object(serializeError(error));
    assert.deepEqual(Object.keys(shown), ["type", "message", "code", "stack"]);
    assert.doesNotMatch(JSON.stringify(shown), /hunter2/);
  });

  it("show of a thrown object that is no error only its keys", () => {
    const thrown = {
      password: "hunter2",
      ...Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`k${index}`, 1])),
    };
    const message = "an object that is no error, with 21 keys: password, k0, k1, k2, k3, k4, k5, k6, k7, k8, …";
    assert.deepEqual(serializeError(thrown), { type: "object", message });
    assert.deepEqual(serializeError({ message: "looks like one" }), { type: "object", message: "looks like one" });
    assert.deepEqual(Object(serializeError(new Error("x", { cause: { token: "hunter2" } }))).cause, {
      type: "object",
      message: "an object that is no error, with 1 key: token",
    });
    assert.deepEqual(serializeError(revoked()), { type: "object", message: "a thrown value that cannot be read" });
  });

  it("end where causes go in circles or on without end", () => {
    let chain = new Error("end");
    for (let depth = 0; depth < 10_000; depth++) chain = new Error(`${depth}`, { cause: chain });
    const text = JSON.stringify(serializeError(chain));
    assert.match(text, /more errors left out/);
    const circle = new AggregateError([], "circle");
    circle.errors.push(circle, new Error("x", { cause: circle }));
    assert.equal(JSON.stringify(serializeError(circle)).match(/\[circular\]/g)?.length, 2);
  });

  it("show metadata of any kind as text", () => {
    const error = new AppError("ERR_A", "internal", "x", {
      metadata: JSON.parse('{"a": {"b": 1}, "c": null, "d": "e"}'),
    });
    assert.deepEqual(Object(serializeError(error)).metadata, {
      a: "an object that is no error, with 1 key: b",
      c: "null",
      d: "e",
    });
  });
});
