import assert from "node:assert/strict";
import { describe, it, type MockTracker } from "node:test";
import { currentContext, runInContext } from "../context.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { AppError } from "./app-error.ts";
import {
  createErrorBus,
  type ErrorBus,
  type ErrorBusOptions,
  type ErrorReport,
  type ErrorReporter,
} from "./error-bus.ts";

interface Bench {
  readonly bus: ErrorBus;
  readonly clock: FakeClock;
  readonly reports: ErrorReport[];
}

function benchOf(options: Partial<ErrorBusOptions> = {}): Bench {
  const clock = new FakeClock();
  const reports: ErrorReport[] = [];
  const bus = createErrorBus({ clock, ...options });
  bus.subscribe({ name: "kept", report: (batch) => void reports.push(...batch) });
  return { bus, clock, reports };
}

/** Keeps what a failing reporter says on standard error. */
function capture(t: { readonly mock: MockTracker }): string[] {
  const lines: string[] = [];
  t.mock.method(process.stderr, "write", (text: string) => lines.push(text) > 0);
  return lines;
}

const job = { origin: "job" } as const;
const messages = (reports: readonly ErrorReport[]): string[] => reports.map(({ error }) => error.message);

describe("ErrorBus", () => {
  it("gives a report to every reporter, with what is known of it", async () => {
    const { bus, clock, reports } = benchOf({ service: "notes" });
    const others: ErrorReport[] = [];
    bus.subscribe({ name: "other", report: async (batch) => void others.push(...batch) });
    await clock.advance(5);
    const cause = new Error("boom");
    const error = bus.report(cause, {
      origin: "timer",
      handled: false,
      severity: "fatal",
      attributes: { job: "mail" },
    });
    assert.equal(error.code, "ERR_INTERNAL");
    assert.equal(reports.length, 0);
    await bus.flush();
    assert.deepEqual(reports, [
      {
        error,
        service: "notes",
        fingerprint: reports[0]?.fingerprint,
        count: 1,
        origin: "timer",
        handled: false,
        severity: "fatal",
        time: clock.now(),
        traceId: undefined,
        spanId: undefined,
        requestId: undefined,
        attributes: { job: "mail" },
      },
    ]);
    assert.match(reports[0]?.fingerprint ?? "", /^[0-9a-f]{16}$/);
    assert.deepEqual(others, reports);
  });

  it("takes an error for handled and no warning unless told otherwise", async () => {
    const { bus, reports } = benchOf();
    bus.report(new Error("x"), job);
    await bus.flush();
    assert.deepEqual([reports[0]?.handled, reports[0]?.severity, reports[0]?.attributes], [true, "error", {}]);
  });

  it("carries the ids of the request that reported, and none outside; reporters run in no request", async () => {
    const { bus, reports } = benchOf();
    const contexts: unknown[] = [];
    bus.subscribe({ name: "context", report: () => void contexts.push(currentContext()) });
    const span = { traceId: "1".repeat(32), spanId: "2".repeat(16), sampled: true };
    runInContext({ requestId: "r1", span }, () => bus.report(new Error("inside"), { origin: "request" }));
    runInContext({ requestId: "r2" }, () => bus.report(new Error("without a span"), { origin: "request" }));
    bus.report(new Error("outside"), job);
    await bus.flush();
    assert.deepEqual(
      reports.map(({ traceId, spanId, requestId }) => [traceId, spanId, requestId]),
      [
        [span.traceId, span.spanId, "r1"],
        [undefined, undefined, "r2"],
        [undefined, undefined, undefined],
      ],
    );
    assert.deepEqual(contexts, [undefined, undefined, undefined]);
  });

  it("reports one error object once, however many layers report or wrap it", async () => {
    const { bus, reports } = benchOf();
    const thrown = new TypeError("once");
    const wrapped = bus.report(thrown, { origin: "request" });
    bus.report(thrown, { origin: "process" });
    bus.report(wrapped, { origin: "process" });
    bus.report(AppError.from(thrown), { origin: "process" });
    const late = new Error("wrapped first");
    bus.report(AppError.from(late), job);
    bus.report(late, job);
    await bus.flush();
    assert.deepEqual(messages(reports), ["once", "wrapped first"]);
    assert.equal(bus.stats().reported, 2);
  });

  it("reports equal errors that are different objects, and equal primitives, each time, where none are counted together", async () => {
    const { bus, reports } = benchOf({ foldIntervalMs: 0 });
    const everything = [new Error("same"), new Error("same"), "text", "text", undefined, null, 0];
    for (const thrown of everything) bus.report(thrown, job);
    await bus.flush();
    assert.deepEqual(messages(reports), ["same", "same", "text", "text", "undefined", "null", "0"]);
  });

  const hostile: Readonly<Record<string, unknown>> = {
    "a proxy that throws": new Proxy({}, { get: fail, has: fail, getPrototypeOf: fail, ownKeys: fail }),
    "an error with a throwing message": Object.defineProperty(new Error("x"), "message", { get: fail }),
    "a frozen error": Object.freeze(new Error("frozen")),
    "a function": fail,
  };
  for (const [name, thrown] of Object.entries(hostile)) {
    it(`takes ${name} without throwing, and once`, async () => {
      const { bus, reports } = benchOf();
      bus.report(thrown, job);
      bus.report(thrown, job);
      await bus.flush();
      assert.equal(reports.length, 1);
    });
  }

  it("takes an error whose metadata cannot be read also when it is counted for later", async () => {
    const { bus, clock, reports } = benchOf({ foldIntervalMs: 1_000 });
    for (let times = 0; times < 3; times++) {
      const error = AppError.internal("ERR_SAMPLE", "broken");
      bus.report(Object.defineProperty(error, "metadata", { get: fail }), job);
    }
    await clock.advance(1_000);
    await bus.flush();
    assert.equal(
      reports.reduce((sum, { count }) => sum + count, 0),
      3,
    );
  });

  it("drops the oldest that is not fatal when a queue is full, and counts it", async () => {
    const { bus, reports } = benchOf({ maxQueued: 3 });
    bus.report(new Error("fatal 1"), { origin: "process", severity: "fatal" });
    for (const name of ["a", "b", "c", "d"]) bus.report(new Error(name), job);
    await bus.flush();
    assert.deepEqual(messages(reports), ["fatal 1", "c", "d"]);
    assert.partialDeepStrictEqual(bus.stats(), { reported: 5, dropped: 2, reporterFailures: 0 });
  });

  it("keeps the fatal ones when only fatal ones wait, and drops what comes", async () => {
    const { bus, reports } = benchOf({ maxQueued: 2 });
    for (const name of ["f1", "f2"]) bus.report(new Error(name), { origin: "process", severity: "fatal" });
    bus.report(new Error("plain"), job);
    await bus.flush();
    assert.deepEqual(messages(reports), ["f1", "f2"]);
    assert.equal(bus.stats().dropped, 1);
  });

  it("drops the oldest when all that wait and what comes are fatal", async () => {
    const { bus, reports } = benchOf({ maxQueued: 2 });
    for (const name of ["f1", "f2", "f3"]) bus.report(new Error(name), { origin: "process", severity: "fatal" });
    await bus.flush();
    assert.deepEqual(messages(reports), ["f2", "f3"]);
    assert.equal(bus.stats().dropped, 1);
  });

  const failing: Readonly<Record<string, ErrorReporter["report"]>> = {
    throws: () => {
      throw new Error("no network");
    },
    rejects: () => Promise.reject(new Error("no network")),
    // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- what a careless reporter does
    "rejects with nothing": () => Promise.reject(undefined),
  };
  for (const [name, report] of Object.entries(failing)) {
    it(`counts a reporter that ${name}, tells it once, and gives the others everything`, async (t) => {
      const said = capture(t);
      const clock = new FakeClock();
      const bus = createErrorBus({ clock });
      const reports: ErrorReport[] = [];
      bus.subscribe({ name: "webhook", report });
      bus.subscribe({ name: "kept", report: (batch) => void reports.push(...batch) });
      for (const text of ["a", "b", "c"]) bus.report(new Error(text), job);
      await bus.flush();
      assert.deepEqual(messages(reports), ["a", "b", "c"]);
      assert.partialDeepStrictEqual(bus.stats(), { reported: 3, dropped: 3, reporterFailures: 3 });
      assert.equal(said.length, 1);
      assert.match(said[0] ?? "", /^error reporter webhook failed: (no network|undefined)\n$/);
    });
  }

  it("tells of a reporter's failure again after it has worked in between", async (t) => {
    const said = capture(t);
    const bus = createErrorBus({ clock: new FakeClock() });
    const failures = new Set(["a", "c"]);
    bus.subscribe({
      name: "flaky",
      report: ([report]) => {
        const error = report?.error;
        if (error && failures.has(error.message)) throw new Error(error.message);
      },
    });
    for (const text of ["a", "b", "c"]) bus.report(new Error(text), job);
    await bus.flush();
    assert.equal(said.length, 2);
  });

  it("lets a reporter that hangs hold up nobody but itself", async (t) => {
    capture(t);
    const { bus, clock, reports } = benchOf({ reportTimeoutMs: 1_000 });
    const seen: string[] = [];
    bus.subscribe({
      name: "hanging",
      report([report]) {
        const message = report?.error.message ?? "";
        seen.push(message);
        return message === "a" ? new Promise(() => {}) : undefined;
      },
    });
    for (const text of ["a", "b"]) bus.report(new Error(text), job);
    await clock.advance(999);
    assert.deepEqual(messages(reports), ["a", "b"]);
    assert.deepEqual(seen, ["a"]);
    await clock.advance(1);
    assert.deepEqual(seen, ["a", "b"]);
    assert.equal(bus.stats().reporterFailures, 1);
    await bus.flush();
    assert.equal(clock.pending, 0);
  });

  it("survives a reporter that fails after it was given up", async (t) => {
    capture(t);
    const { bus, clock } = benchOf({ reportTimeoutMs: 10 });
    const late = Promise.withResolvers<void>();
    bus.subscribe({ name: "late", report: () => late.promise });
    bus.report(new Error("a"), job);
    await clock.advance(10);
    late.reject(new Error("too late"));
    await clock.advance(0);
    assert.equal(bus.stats().reporterFailures, 1);
  });

  it("stops flushing at its limit, drops what waits and counts it", async (t) => {
    capture(t);
    const { bus, clock, reports } = benchOf({ flushTimeoutMs: 50 });
    bus.subscribe({ name: "hanging", report: () => new Promise(() => {}) });
    for (const text of ["a", "b", "c"]) bus.report(new Error(text), job);
    let isFlushed = false;
    const flushed = bus.flush().then(() => (isFlushed = true));
    await clock.advance(49);
    assert.equal(isFlushed, false);
    await clock.advance(1);
    await flushed;
    assert.deepEqual(messages(reports), ["a", "b", "c"]);
    assert.equal(bus.stats().dropped, 2); // the first is with the reporter
  });

  it("flushes at once when nothing waits, and leaves no timer", async () => {
    const { bus, clock } = benchOf();
    await bus.flush();
    assert.equal(clock.pending, 0);
  });

  it("leaves the process to others, and its flush ends, also with a reporter that reports for ever", async () => {
    const { bus, clock } = benchOf({ flushTimeoutMs: 50 });
    let isOver = false;
    bus.subscribe({ name: "loop", report: () => void (isOver || bus.report(new Error("again"), job)) });
    bus.report(new Error("first"), job);
    const flushed = bus.flush();
    await clock.advance(50);
    await flushed;
    isOver = true;
    assert.ok(bus.stats().reported > 1);
  });

  it("delivers what a reporter itself reports, without looping on its failure", async () => {
    const { bus, reports } = benchOf();
    bus.subscribe({
      name: "reports",
      report([report]) {
        if (report?.error.message === "first") bus.report(new Error("second"), job);
      },
    });
    bus.report(new Error("first"), job);
    await bus.flush();
    assert.deepEqual(messages(reports), ["first", "second"]);
  });

  const wrong: readonly Partial<ErrorBusOptions>[] = [
    { maxQueued: 0 },
    { maxQueued: 1.5 },
    { reportTimeoutMs: 0 },
    { flushTimeoutMs: NaN },
    { foldIntervalMs: -1 },
    { maxFingerprints: 0 },
    { breakerFailures: 0 },
    { breakerPauseMs: 0 },
    { breakerMaxPauseMs: 0 },
  ];
  for (const options of wrong) {
    const [name] = Object.keys(options);
    it(`refuses ${JSON.stringify(options)} and names ${name}`, () => {
      assert.throws(() => createErrorBus({ clock: new FakeClock(), ...options }), {
        code: "ERR_OPTION_RANGE",
        message: new RegExp(`^${name} `),
      });
    });
  }
});

function fail(): never {
  throw new Error("was touched");
}
