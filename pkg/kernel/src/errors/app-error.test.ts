import assert from "node:assert/strict";
import { describe, it } from "node:test";
import vm from "node:vm";
import { AppError, isError, messageOf } from "./app-error.ts";
import { statuses } from "./status.ts";

/** Values that fight back when looked at. */
const hostile: Readonly<Record<string, unknown>> = {
  "a proxy whose every trap throws": new Proxy(
    {},
    {
      get: () => fail("get"),
      has: () => fail("has"),
      ownKeys: () => fail("ownKeys"),
      getPrototypeOf: () => fail("getPrototypeOf"),
      getOwnPropertyDescriptor: () => fail("getOwnPropertyDescriptor"),
    },
  ),
  "an error whose message getter throws": Object.defineProperty(new Error("x"), "message", {
    get: () => fail("message"),
  }),
  "an error whose name getter throws": Object.defineProperty(new Error("x"), "name", { get: () => fail("name") }),
  "a getter that throws something that throws": {
    get message(): string {
      // oxlint-disable-next-line typescript/only-throw-error -- the point of it
      throw new Proxy({}, { get: () => fail("inner"), getPrototypeOf: () => fail("inner") });
    },
  },
  "an object whose toString throws": { message: { toString: () => fail("toString") } },
  "an object whose inspection throws": { [Symbol.for("nodejs.util.inspect.custom")]: () => fail("inspect") },
  "an object without a prototype": Object.create(null),
  "a revoked proxy": revoked(),
};

function fail(what: string): never {
  throw new Error(`${what} was touched`);
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

describe("AppError", () => {
  it("keeps code, status, message, metadata and cause", () => {
    const cause = new Error("socket closed");
    const error = new AppError("ERR_TEST_DOWN", "unavailable", "the store is down", {
      cause,
      metadata: { store: "a" },
    });
    assert.ok(error instanceof Error);
    assert.equal(error.code, "ERR_TEST_DOWN");
    assert.equal(error.status, "unavailable");
    assert.equal(error.message, "the store is down");
    assert.deepEqual(error.metadata, { store: "a" });
    assert.equal(error.cause, cause);
    assert.match(error.stack ?? "", /app-error\.test\.ts/);
  });

  it("has no cause at all when none was given, also not an undefined one", () => {
    assert.equal("cause" in new AppError("ERR_TEST", "internal", "x"), false);
    assert.equal("cause" in new AppError("ERR_TEST", "internal", "x", { cause: undefined }), false);
  });

  it("is retryable by default only when trying again may help, and when it says so", () => {
    const retryable = statuses.filter((status) => new AppError("ERR_TEST", status, "x").retryable);
    assert.deepEqual(retryable.toSorted(), ["aborted", "unavailable"]);
    assert.equal(new AppError("ERR_TEST", "internal", "x", { retryable: true }).retryable, true);
    assert.equal(new AppError("ERR_TEST", "unavailable", "x", { retryable: false }).retryable, false);
  });

  it("freezes its own copy of the metadata", () => {
    const metadata = { store: "a" };
    const error = new AppError("ERR_TEST", "internal", "x", { metadata });
    metadata.store = "b";
    assert.equal(error.metadata.store, "a");
    assert.ok(Object.isFrozen(error.metadata));
  });

  it("is recognised across two copies of the module", async () => {
    const first = await import(`${import.meta.dirname}/app-error.ts?copy=1`);
    const second = await import(`${import.meta.dirname}/app-error.ts?copy=2`);
    assert.notEqual(first.AppError, second.AppError);
    const theirs = new first.AppError("ERR_TEST_COPY", "not_found", "gone");
    assert.equal(theirs instanceof second.AppError, false);
    assert.equal(second.AppError.is(theirs), true);
    assert.equal(second.AppError.from(theirs), theirs);
  });

  const strangers = [undefined, null, 0, "", "text", 1n, Symbol("s"), {}, [], new Error("x"), () => {}];
  for (const value of strangers) {
    it(`does not take ${describeValue(value)} for one`, () => assert.equal(AppError.is(value), false));
  }

  it("does not take something that merely looks like one", () => {
    assert.equal(AppError.is({ code: "ERR_TEST", status: "internal", message: "x" }), false);
    const brand = Symbol.for("plinth.AppError");
    assert.equal(AppError.is({ [brand]: true, code: "ERR_TEST", status: "no such status" }), false);
    assert.equal(AppError.is({ [brand]: true, status: "internal" }), false);
  });

  for (const [name, value] of Object.entries(hostile)) {
    it(`is not thrown off by ${name}`, () => assert.equal(AppError.is(value), false));
  }
});

describe("AppError.from", () => {
  it("returns an AppError as it is", () => {
    const error = new AppError("ERR_TEST", "not_found", "gone");
    assert.equal(AppError.from(error), error);
  });

  const everything: readonly (readonly [string, unknown, string])[] = [
    ["an error", new TypeError("x is not a function"), "x is not a function"],
    ["a string", "boom", "boom"],
    ["an empty string", "", '""'],
    ["undefined", undefined, "undefined"],
    ["null", null, "null"],
    ["a number", 42, "42"],
    ["a bigint", 42n, "42"],
    ["a symbol", Symbol("s"), "Symbol(s)"],
    ["a plain object", { reason: "no" }, "{ reason: 'no' }"],
    ["an object with a message", { message: "from elsewhere" }, "from elsewhere"],
    ["a function", () => {}, "[Function (anonymous)]"],
    ["an error of another realm", vm.runInNewContext("new Error('elsewhere')"), "elsewhere"],
  ];
  for (const [name, thrown, message] of everything) {
    it(`wraps ${name} as internal, with the original as cause`, () => {
      const error = AppError.from(thrown);
      assert.equal(error.code, "ERR_INTERNAL");
      assert.equal(error.status, "internal");
      assert.equal(error.message, message);
      assert.equal(error.cause, thrown);
      assert.equal(error.retryable, false);
    });
  }

  it("turns an aborted signal's reason into cancelled, a timeout into deadline_exceeded", () => {
    const cancelled = AppError.from(AbortSignal.abort().reason);
    assert.deepEqual([cancelled.code, cancelled.status], ["ERR_CANCELLED", "cancelled"]);
    const late = AppError.from(new DOMException("late", "TimeoutError"));
    assert.deepEqual([late.code, late.status], ["ERR_DEADLINE_EXCEEDED", "deadline_exceeded"]);
  });

  for (const [name, value] of Object.entries(hostile)) {
    it(`wraps ${name} without throwing`, () => {
      const error = AppError.from(value);
      assert.equal(error.code, "ERR_INTERNAL");
      assert.equal(error.cause, value);
      assert.notEqual(error.message, "");
    });
  }
});

describe("messageOf", () => {
  it("names the errors of an aggregate that has no message, as a refused connection has none", () => {
    const refused = new AggregateError([new Error("refused ::1"), new Error("refused 127.0.0.1"), "odd"], "");
    assert.equal(messageOf(refused), "refused ::1; refused 127.0.0.1");
  });

  it("falls back to name and code for an error without a message", () => {
    assert.equal(messageOf(Object.assign(new Error(""), { code: "ECONNRESET" })), "Error ECONNRESET");
    assert.equal(messageOf({ message: "" }), "an error without a message");
  });

  it("does not follow an aggregate that holds itself", () => {
    const error = new AggregateError([], "");
    error.errors.push(error);
    assert.equal(messageOf(error), "AggregateError");
  });

  it("cuts a huge object short", () => {
    assert.ok(messageOf({ list: Array.from({ length: 10_000 }, (_, index) => `item ${index}`) }).length <= 1_000);
  });
});

describe("isError", () => {
  it("takes errors of any realm and copy, and nothing else", () => {
    assert.ok(isError(new TypeError("x")));
    assert.ok(isError(vm.runInNewContext("new Error('elsewhere')")));
    assert.ok(isError(new DOMException("x")));
    const others = [{ message: "x" }, "Error: x", null, { stack: 1, message: "x" }];
    assert.deepEqual(others.filter(isError), []);
    assert.equal(isError(hostile["a proxy whose every trap throws"]), false);
    assert.equal(isError(hostile["a revoked proxy"]), false);
  });
});

function describeValue(value: unknown): string {
  return typeof value === "symbol" || typeof value === "function"
    ? `a ${typeof value}`
    : `${typeof value} ${String(value)}`;
}
