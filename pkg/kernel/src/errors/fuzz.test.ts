import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { inspect } from "node:util";
import vm from "node:vm";
import { runInContext } from "../context.ts";
import { serializeError } from "../logger/serialize-error.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { AppError, isError, messageOf } from "./app-error.ts";
import { brand, rootOf } from "./brand.ts";
import { createErrorBus, type ErrorBus, type ErrorContext, type ErrorReport } from "./error-bus.ts";

/** A source of numbers in [0, 1) that are always the same. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const fail = (): never => {
  throw new Error("was touched");
};
const nothing: ProxyHandler<object> = {};
const everyTrap: ProxyHandler<() => void> = {
  get: fail,
  has: fail,
  ownKeys: fail,
  getPrototypeOf: fail,
  getOwnPropertyDescriptor: fail,
  isExtensible: fail,
  set: fail,
  defineProperty: fail,
  apply: fail,
  construct: fail,
};

function revoked(target: object): object {
  const { proxy, revoke } = Proxy.revocable(target, nothing);
  revoke();
  return proxy;
}

function chainOf(depth: number): Error {
  let error = new Error("end");
  for (let at = 0; at < depth; at++) error = new Error(`at ${at}`, { cause: error });
  return error;
}

/** What takes long to make, made once. */
const deep = chainOf(10_000);
const many = Array.from({ length: 100_000 }, () => deep);
const manyKeys = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`k${index}`, index]));
const longKeys = Object.fromEntries(
  Array.from({ length: 5_000 }, (_, index) => [`k${index}${"k".repeat(500)}`, index]),
);
const hugeTexts = [100_000, 1_000_000, 2_000_000].map((length) => "x".repeat(length));

/** Works for a number of reads, then throws; the numbers are tried one after the other. */
function wornOut(reads: number): AppError {
  const error = new AppError("ERR_TEST_WORN", "not_found", "worn");
  let left = reads;
  for (const [key, value] of Object.entries({
    code: error.code,
    status: error.status,
    message: "worn",
    metadata: {},
  })) {
    Object.defineProperty(error, key, { get: () => (left-- > 0 ? value : fail()) });
  }
  return error;
}

type Make = (random: () => number, inner: () => unknown) => unknown;

/** Ways to make something to throw, some of other things. */
const makers: Readonly<Record<string, Make>> = {
  primitive: (random) =>
    [undefined, null, true, 0, -0, Number.NaN, 1n, "", "text", Symbol("s"), Symbol.iterator][Math.floor(random() * 11)],
  "huge string": (random) => hugeTexts[Math.floor(random() * hugeTexts.length)],
  "lone surrogates and controls": () => "\uD800\u0000\u001B[2J\r\n\u2028",
  error: () => new Error("boom"),
  "error without prototype": () => Object.setPrototypeOf(new Error("x"), null),
  "error with a huge message": () => new Error(hugeTexts[1]),
  "error whose message is an object": () => Object.assign(new Error("x"), { message: { toString: fail } }),
  "error with a cause": (_, inner) => new Error("outer", { cause: inner() }),
  "error of another realm": () => vm.runInNewContext("Object.assign(new RangeError('elsewhere'), { code: 'EPIPE' })"),
  "error with getters": (random) => {
    const key = ["name", "message", "stack", "cause", "code", "errors"][Math.floor(random() * 6)] ?? "name";
    return Object.defineProperty(new Error("x"), key, { get: fail });
  },
  "frozen error": () => Object.freeze(new Error("frozen")),
  "error with a strange code": (_, inner) => Object.assign(new Error("x"), { code: inner(), name: inner() }),
  "system error": (random) => {
    const codes = ["ECONNREFUSED", "ENOENT", "EMFILE", "UND_ERR_SOCKET", "__proto__", "constructor"];
    return Object.assign(new Error("connect secret.internal"), { code: codes[Math.floor(random() * codes.length)] });
  },
  aggregate: (random, inner) =>
    new AggregateError(
      Array.from({ length: Math.floor(random() * 5) }, () => inner()),
      random() < 0.5 ? "" : "several",
    ),
  "aggregate that holds itself": () => {
    const error = new AggregateError([]);
    error.errors.push(error, error);
    return error;
  },
  "aggregate whose list is a proxy": () =>
    Object.assign(new AggregateError([]), { errors: new Proxy([new Error("x")], { get: fail }) }),
  "aggregate of many": () => Object.assign(new AggregateError([]), { errors: many }),
  "causes in a circle": () => {
    const error = new Error("round");
    error.cause = new Error("and round", { cause: error });
    return error;
  },
  "causes 10 000 deep": () => new Error("deepest", { cause: deep }),
  "proxy that throws": () => new Proxy(() => {}, everyTrap),
  "proxy of an error": () => new Proxy(new Error("x"), nothing),
  "proxy of an error that throws": () => new Proxy(new Error("x"), { get: fail, has: fail }),
  "proxy that answers to everything": () => new Proxy(() => {}, { get: (_, key) => key, has: () => true }),
  "revoked proxy": () => revoked({}),
  "revoked proxy of a function": () => revoked(() => {}),
  "object without a prototype": () => Object.create(null),
  "class without a prototype": () => {
    class Nothing extends Error {}
    return Object.setPrototypeOf(Nothing, null);
  },
  "function with a throwing name": () => Object.defineProperty(() => {}, "name", { get: fail }),
  "object whose inspection throws": () => ({ [inspect.custom]: fail, toString: fail, toJSON: fail, valueOf: fail }),
  "object with many keys": () => ({ ...manyKeys }),
  // oxlint-disable-next-line unicorn/no-thenable -- the point of it
  thenable: () => ({ then: fail }),
  promise: () => Promise.resolve(1),
  event: () => new Event("abort"),
  "DOM exception": (random) => new DOMException("x", random() < 0.5 ? "AbortError" : "TimeoutError"),
  "suppressed error": (_, inner) => new SuppressedError(inner(), inner(), "both"),
  "what looks like an AppError": () => ({ [brand]: true, code: "ERR_X", status: "internal", message: "x" }),
  "AppError whose fields cannot be read": () =>
    Object.defineProperty(new AppError("ERR_X", "internal", "x"), "code", { get: fail }),
  "AppError whose fields wear out": (random) => wornOut(Math.floor(random() * 20)),
  "AppError with strange metadata": (_, inner) =>
    new AppError("ERR_X", "not_found", "x", { metadata: JSON.parse('{"a": {"b": 1}, "password": 7}'), cause: inner() }),
  "AppError of a code without end": () => new AppError("E".repeat(100_000), "internal", "z".repeat(100_000)),
  array: (_, inner) => [inner(), inner()],
  buffer: () => Buffer.alloc(1_000_000),
  date: () => new Date(Number.NaN),
};
const names = Object.keys(makers);

function makeOf(random: () => number, depth = 3): unknown {
  const name = names[Math.floor(random() * names.length)] ?? "error";
  const inner = (): unknown => (depth > 0 ? makeOf(random, depth - 1) : "end");
  return makers[name]?.(random, inner);
}

/** What a report holds of its own, not by reference to what was thrown. */
function lengthOf({ error, attributes, fingerprint }: ReportShown): number {
  const own = rootOf(error) === error ? 0 : messageOf(error).length;
  return own + JSON.stringify(attributes).length + fingerprint.length;
}

type ReportShown = Pick<ErrorReport, "error" | "attributes" | "fingerprint">;

/** Attributes and contexts of callers without types. */
function contextOf(random: () => number): ErrorContext {
  const attributes: unknown = [
    undefined,
    null,
    {},
    { id: 7, password: "hunter2", Token: "hunter2", url: "http://a:hunter2@b/", big: "x".repeat(100_000) },
    { __proto__: { a: 1 }, nested: { secret: "hunter2" }, list: [1], nan: Number.NaN, none: undefined },
    longKeys,
    new Proxy({}, { ownKeys: fail }),
    Object.defineProperty({}, "a", { get: fail, enumerable: true }),
    "text",
    7,
  ][Math.floor(random() * 10)];
  return { origin: "job", ...(random() < 0.1 ? { severity: "fatal" } : {}), attributes } as ErrorContext;
}

const rounds = 4_000;

describe("whatever is thrown", () => {
  for (const [name, make] of Object.entries(makers)) {
    it(`${name}: is turned into an AppError, a text, a plain value and a report, none of them huge, and nothing throws`, async () => {
      for (let seed = 0; seed < 5; seed++) {
        const random = seeded(seed);
        const thrown = make(random, () => makeOf(random));
        const error = AppError.from(thrown);
        assert.equal(isError(error), true);
        assert.ok(messageOf(thrown).length > 0 && messageOf(thrown).length <= 16_420);
        assert.ok(JSON.stringify(serializeError(thrown)).length < 5_000_000);
        const { bus, reports } = benchOf();
        assert.ok(isError(bus.report(thrown, { origin: "job" })));
        await bus.flush();
        assert.equal(reports.length, 1);
        assert.ok(reports.every((report) => lengthOf(report) < 20_000));
      }
    });
  }

  it(`harms neither the bus nor a reporter in ${rounds} mixed reports, in and out of requests`, async (t) => {
    const said = t.mock.method(process.stderr, "write", () => true);
    const random = seeded(42);
    const { bus, reports } = benchOf();
    let lost = 0;
    for (let round = 0; round < rounds; round++) {
      const thrown = makeOf(random);
      const context = contextOf(random);
      const span = { traceId: "1".repeat(32), spanId: "2".repeat(16), sampled: true };
      const report = (): AppError => bus.report(thrown, context);
      const error = random() < 0.5 ? report() : runInContext({ span }, report);
      if (!isError(error)) lost++;
      if (round % 100 === 0) await bus.flush();
    }
    await bus.flush();
    assert.equal(lost, 0);
    assert.equal(said.mock.callCount(), 0);
    const { dropped, reporterFailures } = bus.stats();
    assert.deepEqual({ dropped, reporterFailures }, { dropped: 0, reporterFailures: 0 });
    assert.ok(reports.length > rounds / 10);
    for (const report of reports) {
      assert.ok(lengthOf(report) < 2_000_000);
      assert.doesNotMatch(JSON.stringify(report.attributes), /hunter2/);
    }
  });

  it("is reported also by callers without types, who give no context or a broken one", async () => {
    const { bus, reports } = benchOf();
    const contexts = [[], [null], [7], [Object.defineProperty({}, "origin", { get: fail })]];
    const errors = ["no disk", "no memory", "no luck", "no time"].map((text) => new Error(text));
    errors.forEach((error, index) => Reflect.apply(bus.report, bus, [error, ...(contexts[index] ?? [])]));
    Reflect.apply(bus.report, bus, []);
    await bus.flush();
    assert.equal(reports.length, 5);
  });
});

function benchOf(): { readonly bus: ErrorBus; readonly reports: ErrorReport[] } {
  const reports: ErrorReport[] = [];
  const bus = createErrorBus({ clock: new FakeClock(), maxQueued: 10_000 });
  bus.subscribe({ name: "kept", maxBatch: 100, report: (batch) => void reports.push(...batch) });
  return { bus, reports };
}
