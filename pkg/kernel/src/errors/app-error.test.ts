import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { describe, it } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import vm from "node:vm";
import { freePort } from "../testing/free-port.ts";
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

describe("the constructors of AppError", () => {
  const camel = (status: string): string => status.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase());

  for (const status of statuses) {
    it(`make ${status}`, () => {
      const make: unknown = Reflect.get(AppError, camel(status));
      assert.ok(typeof make === "function");
      const error: unknown = make.call(AppError, "ERR_TEST", "text", { metadata: { a: "b" }, cause: 1 });
      assert.ok(AppError.is(error));
      const plain = new AppError("ERR_TEST", status, "text");
      assert.deepEqual(
        [error.code, error.status, error.message, error.retryable, error.metadata, error.cause],
        ["ERR_TEST", status, "text", plain.retryable, { a: "b" }, 1],
      );
    });
  }

  it("keep the code as a literal type, and the stack begins where they are called", () => {
    const error = AppError.notFound("ERR_NOTE_MISSING", "no note 7");
    const code: "ERR_NOTE_MISSING" = error.code;
    assert.equal(code, "ERR_NOTE_MISSING");
    assert.match(error.stack ?? "", /^AppError: no note 7\n +at .*app-error\.test\.ts/);
  });

  it("do not compile on a subclass, which makes errors of its own", () => {
    class ShopError extends AppError<"ERR_SHOP"> {}
    class FixedError extends AppError<"ERR_FIXED"> {
      constructor(code: "ERR_FIXED", message: string) {
        super(code, "internal", message);
      }
    }
    // @ts-expect-error -- a ShopError it would not be
    assert.equal(ShopError.notFound("ERR_SHOP", "x") instanceof ShopError, false);
    // @ts-expect-error -- nor one of the status that all FixedErrors have
    assert.equal(FixedError.notFound("ERR_FIXED", "x") instanceof FixedError, false);
  });
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
    ["a plain object, whose values may be secret", { pin: 1 }, "an object that is no error, with 1 key: pin"],
    ["a list", ["a", "b"], "a list that is no error, of 2"],
    ["an object with a message", { message: "from elsewhere" }, "from elsewhere"],
    ["bytes", new Uint8Array(5), "5 bytes that are no error"],
    ["a function", () => {}, "a function that is no error"],
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

  /** Code, status and whether a retry helps. */
  const kindOf = ({ code, status, retryable }: AppError): readonly unknown[] => [code, status, retryable];
  const cancelled = ["ERR_CANCELLED", "cancelled", false];
  const late = ["ERR_DEADLINE_EXCEEDED", "deadline_exceeded", false];
  const internal = ["ERR_INTERNAL", "internal", false];

  it("turns an aborted signal's reason into cancelled, a timeout into deadline_exceeded", async () => {
    assert.deepEqual(kindOf(AppError.from(AbortSignal.abort().reason)), cancelled);
    assert.deepEqual(kindOf(AppError.from(new DOMException("late", "TimeoutError"))), late);
    const rejects = async (signal: AbortSignal): Promise<unknown> =>
      assertRejection(() => wait(60_000, undefined, { signal }));
    assert.deepEqual(kindOf(AppError.from(await rejects(AbortSignal.abort(new Error("of its own"))))), cancelled);
    assert.deepEqual(kindOf(AppError.from(await rejects(AbortSignal.timeout(1)))), late);
    const stopped = AppError.deadlineExceeded("ERR_TEST_LATE", "the caller has no time left");
    assert.deepEqual(kindOf(AppError.from(await rejects(AbortSignal.abort(stopped)))), late);
  });

  for (const reason of [new Error("client left"), "client left", null, 0, { any: "thing" }]) {
    it(`takes ${typeof reason} ${messageOf(reason)} for a cancellation when it is the reason of the signal given, and else not`, () => {
      const { signal } = new AbortController();
      const aborted = AbortSignal.abort(reason);
      assert.deepEqual(kindOf(AppError.from(reason, { signal: aborted })), cancelled);
      assert.deepEqual(kindOf(AppError.from(reason, { signal })), internal);
      assert.deepEqual(kindOf(AppError.from(new Error("another"), { signal: aborted })), internal);
    });
  }

  const failed = ["ERR_CONNECTION_FAILED", "unavailable", true];
  const lost = ["ERR_CONNECTION_LOST", "unavailable", true];
  const short = ["ERR_SYSTEM_RESOURCES", "unavailable", true];
  const systemErrors: Readonly<Record<string, readonly unknown[]>> = {
    ECONNREFUSED: failed,
    EHOSTUNREACH: failed,
    ENETUNREACH: failed,
    ETIMEDOUT: failed,
    EAI_AGAIN: failed,
    UND_ERR_CONNECT_TIMEOUT: failed,
    ENOTFOUND: ["ERR_CONNECTION_FAILED", "unavailable", false],
    ECONNRESET: lost,
    EPIPE: lost,
    UND_ERR_SOCKET: lost,
    UND_ERR_HEADERS_TIMEOUT: late,
    UND_ERR_BODY_TIMEOUT: late,
    UND_ERR_ABORTED: cancelled,
    EMFILE: short,
    ENFILE: short,
    ENOSPC: short,
    ENOMEM: short,
    ENOENT: internal,
    EACCES: internal,
    EADDRINUSE: internal,
    UND_ERR_DESTROYED: internal,
    toString: internal,
  };
  for (const [code, kind] of Object.entries(systemErrors)) {
    it(`takes ${code} for ${kind.join(", ")}`, () => {
      const thrown = Object.assign(new Error(`connect ${code} /run/secret.sock db.internal:5432`), { code });
      const error = AppError.from(thrown);
      assert.deepEqual(kindOf(error), kind);
      assert.equal(error.cause, thrown);
      assert.equal(error.message.includes("internal:5432"), kind === internal);
    });
  }

  it("knows a real refused connection, also behind fetch and behind a name with two addresses", async () => {
    const port = await freePort();
    const refused = await assertRejection(() => once(connect(port, "127.0.0.1"), "connect"));
    const fetched = await assertRejection(() => fetch(`http://127.0.0.1:${port}/`));
    const both = await assertRejection(() => fetch(`http://localhost:${port}/`));
    for (const thrown of [refused, fetched, both]) {
      const error = AppError.from(thrown);
      assert.deepEqual(kindOf(error), failed);
      assert.equal(error.message, "something that the service needs cannot be reached");
    }
  });

  it("leaves a file that is not there to the server, though a caller asked for it", async () => {
    const error = AppError.from(await assertRejection(() => readFile("/no/such/file")));
    assert.deepEqual(kindOf(error), internal);
  });

  const gone = (code = "ERR_TEST_GONE"): AppError => AppError.notFound(code, `${code} is gone`);
  const down = (): Error => Object.assign(new Error("x"), { code: "ECONNREFUSED" });
  const aggregates: readonly (readonly [string, readonly unknown[], readonly unknown[]])[] = [
    ["nothing", [], internal],
    ["one status and code", [gone(), gone()], ["ERR_TEST_GONE", "not_found", false]],
    ["one status and several codes", [gone(), gone("ERR_TEST_LOST")], ["ERR_AGGREGATE", "not_found", false]],
    ["refused connections alone", [down(), down()], failed],
    [
      "what helps to retry and what does not",
      [down(), AppError.unavailable("ERR_X", "x", { retryable: false })],
      ["ERR_AGGREGATE", "unavailable", false],
    ],
    ["several statuses", [gone(), down()], internal],
    ["a fault of the server among others", [gone(), new Error("x")], internal],
    ["faults of the server alone", [AppError.internal("ERR_X", "x"), AppError.internal("ERR_X", "x")], internal],
    ["what is no error", [gone(), "text"], internal],
    ["aggregates of the same", [new AggregateError([gone()]), gone()], ["ERR_TEST_GONE", "not_found", false]],
    ["too many to look at", Array.from({ length: 101 }, () => gone()), internal],
  ];
  for (const [name, errors, kind] of aggregates) {
    it(`takes an aggregate of ${name} for ${kind.join(", ")}, and keeps it`, () => {
      const thrown = new AggregateError(errors, "all of it failed");
      const error = AppError.from(thrown);
      assert.deepEqual(kindOf(error), kind);
      assert.equal(error.cause, thrown);
    });
  }

  it("says to callers what each of an aggregate says, once, and of an inner one nothing", () => {
    assert.equal(AppError.from(new AggregateError([gone(), gone()], "secret")).message, "ERR_TEST_GONE is gone");
    const many = ["ERR_A", "ERR_B", "ERR_C", "ERR_D"].map(gone);
    assert.equal(AppError.from(new AggregateError(many)).message, "ERR_A is gone; ERR_B is gone; ERR_C is gone; …");
    assert.doesNotMatch(AppError.from(new AggregateError([down()], "secret")).message, /secret|x/);
  });

  it("looks at a bounded number of errors, however deep and wide aggregates nest", () => {
    let looks = 0;
    const looked = Object.defineProperty(new Error("x"), "code", { get: () => (looks++, "ECONNREFUSED") });
    const hundred = (error: Error): Error => new AggregateError(Array.from({ length: 100 }, () => error));
    assert.deepEqual(kindOf(AppError.from(hundred(hundred(looked)))), internal);
    assert.ok(looks <= 100);
    const self = new AggregateError([]);
    self.errors.push(self);
    assert.deepEqual(kindOf(AppError.from(self)), internal);
  });

  it("has no stack of its own where the cause has one, and else that of its caller", () => {
    assert.doesNotMatch(AppError.from(new Error("x")).stack ?? "", /\n/);
    assert.match(AppError.from("text").stack ?? "", /^.*text\n +at .*app-error\.test\.ts/);
    assert.ok(Error.stackTraceLimit >= 10);
  });

  it("works where the limit of stacks is frozen", () => {
    const limit = Object.getOwnPropertyDescriptor(Error, "stackTraceLimit");
    try {
      Object.defineProperty(Error, "stackTraceLimit", { value: 10, writable: false });
      assert.equal(AppError.from("x").message, "x");
      assert.equal(AppError.notFound("ERR_X", "x").code, "ERR_X");
    } finally {
      Object.defineProperty(Error, "stackTraceLimit", limit ?? {});
    }
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

  it("cuts what is huge, and says how long it was", () => {
    const keys = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`item ${index}`, index]));
    assert.equal(messageOf({ a: 1, b: 2 }), "an object that is no error, with 2 keys: a, b");
    assert.match(messageOf(keys), /^an object that is no error, with 10000 keys: item 0, .*item 9, …$/);
    for (const thrown of ["x".repeat(100_000), new Error("x".repeat(100_000))]) {
      assert.match(messageOf(thrown), /^x{16384}… \(100000 characters\)$/);
    }
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

/** What `work` rejects with. */
async function assertRejection(work: () => Promise<unknown>): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  return assert.fail("did not reject");
}
