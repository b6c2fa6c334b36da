import assert from "node:assert/strict";
import { describe, it, type MockTracker } from "node:test";
import { FakeClock } from "../testing/fake-clock.ts";
import { AppError } from "./app-error.ts";
import {
  createErrorBus,
  type ErrorBus,
  type ErrorBusOptions,
  type ErrorReport,
  type ErrorReporter,
  type ReporterStats,
} from "./error-bus.ts";

interface Bench {
  readonly bus: ErrorBus;
  readonly clock: FakeClock;
}

function benchOf(options: Partial<ErrorBusOptions> = {}): Bench {
  const clock = new FakeClock();
  return { bus: createErrorBus({ clock, foldIntervalMs: 0, ...options }), clock };
}

/** Keeps what a failing reporter says on standard error. */
function capture(t: { readonly mock: MockTracker }): string[] {
  const lines: string[] = [];
  t.mock.method(process.stderr, "write", (text: string) => lines.push(text) > 0);
  return lines;
}

const job = { origin: "job" } as const;
const fatal = { origin: "process", severity: "fatal" } as const;
const messages = (reports: readonly ErrorReport[]): string[] => reports.map(({ error }) => error.message);

function reportAll(bus: ErrorBus, texts: readonly string[]): void {
  for (const text of texts) bus.report(new Error(text), job);
}

function statsOf(bus: ErrorBus, name: string): ReporterStats {
  const stats = bus.stats().reporters.find((reporter) => reporter.name === name);
  assert.ok(stats);
  return stats;
}

/** Fails as long as it is told to; keeps what it is given. */
class Flaky implements ErrorReporter {
  readonly name = "flaky";
  readonly batches: string[][] = [];
  isDown = true;

  async report(batch: readonly ErrorReport[]): Promise<void> {
    this.batches.push(messages(batch));
    if (this.isDown) throw new Error("no network");
  }
}

describe("a reporter", () => {
  it("gets batches of what has come meanwhile, not more than it takes, never two at once", async () => {
    const { bus, clock } = benchOf();
    const batches: string[][] = [];
    const taken: PromiseWithResolvers<void>[] = [];
    bus.subscribe({
      name: "slow",
      maxBatch: 3,
      report(batch) {
        batches.push(messages(batch));
        taken.push(Promise.withResolvers<void>());
        return taken.at(-1)?.promise;
      },
    });
    reportAll(bus, ["a", "b"]);
    await clock.advance(0);
    reportAll(bus, ["c", "d", "e", "f"]);
    await clock.advance(0);
    assert.deepEqual(batches, [["a", "b"]]);
    taken[0]?.resolve();
    await clock.advance(0);
    taken[1]?.resolve();
    await clock.advance(0);
    assert.deepEqual(batches, [["a", "b"], ["c", "d", "e"], ["f"]]);
    taken[2]?.resolve();
    await bus.flush();
    assert.partialDeepStrictEqual(statsOf(bus, "slow"), { queued: 0, delivered: 6, dropped: 0, failures: 0 });
    assert.equal(clock.pending, 0);
  });

  it("is told by its signal that its limit has passed, and then gets the next", async (t) => {
    capture(t);
    const { bus, clock } = benchOf({ reportTimeoutMs: 1_000 });
    const reasons: string[] = [];
    bus.subscribe({
      name: "hanging",
      report: (_, { signal }) =>
        new Promise(() => signal.addEventListener("abort", () => reasons.push(String(signal.reason)))),
    });
    reportAll(bus, ["a", "b"]);
    await clock.advance(999);
    assert.deepEqual(reasons, []);
    await clock.advance(1);
    assert.deepEqual(reasons, ["Error: a report took longer than 1000 ms"]);
    await clock.advance(1_000);
    assert.equal(reasons.length, 2);
    assert.partialDeepStrictEqual(statsOf(bus, "hanging"), { dropped: 2, failures: 2 });
  });

  it("that hangs is called by nobody who reports, and keeps no more than its queue holds", async (t) => {
    capture(t);
    const { bus, clock } = benchOf({ maxQueued: 10, reportTimeoutMs: 1_000 });
    let calls = 0;
    bus.subscribe({ name: "hanging", report: () => (calls++, new Promise(() => {})) });
    const others: ErrorReport[] = [];
    bus.subscribe({ name: "kept", maxBatch: 10, report: (batch) => void others.push(...batch) });
    for (let round = 0; round < 100; round++) {
      reportAll(
        bus,
        Array.from({ length: 10 }, (_, index) => `${round} ${index}`),
      );
      assert.equal(calls, round === 0 ? 0 : 1); // not by `report`
      await clock.advance(0);
    }
    assert.equal(others.length, 1_000);
    assert.partialDeepStrictEqual(statsOf(bus, "hanging"), { queued: 10, dropped: 989, delivered: 0 });
    assert.partialDeepStrictEqual(statsOf(bus, "kept"), { queued: 0, dropped: 0, delivered: 1_000 });
  });

  it("counts each report once: delivered, dropped or waiting", async (t) => {
    capture(t);
    const { bus, clock } = benchOf({ maxQueued: 5 });
    const flaky = new Flaky();
    bus.subscribe(flaky);
    for (let round = 0; round < 20; round++) {
      flaky.isDown = round % 3 === 0;
      reportAll(bus, ["a", "b", "c", "d", "e", "f", "g"]);
      await clock.advance(round);
      const { queued, delivered, dropped } = statsOf(bus, "flaky");
      assert.equal(queued + delivered + dropped, (round + 1) * 7);
    }
  });

  it("gets nothing more, and what waits for it is dropped, once its subscription has ended", async () => {
    const { bus, clock } = benchOf();
    const seen: string[] = [];
    const hanging = Promise.withResolvers<void>();
    let signal: AbortSignal | undefined;
    const end = bus.subscribe({
      name: "gone",
      report(batch, context) {
        seen.push(...messages(batch));
        signal = context.signal;
        return hanging.promise;
      },
    });
    const kept: string[] = [];
    bus.subscribe({ name: "kept", report: (batch) => void kept.push(...messages(batch)) });
    reportAll(bus, ["a", "b", "c"]);
    await clock.advance(0);
    assert.equal(bus.stats().dropped, 0);
    end();
    end();
    reportAll(bus, ["d"]);
    await clock.advance(0);
    await bus.flush();
    assert.deepEqual(seen, ["a"]);
    assert.equal(signal?.aborted, true);
    assert.deepEqual(kept, ["a", "b", "c", "d"]);
    assert.equal(bus.stats().reporters.length, 1);
    assert.equal(bus.stats().dropped, 2); // the total does not fall
    assert.equal(clock.pending, 0);
  });

  it("has a name of its own in the counts when several are called the same", () => {
    const { bus } = benchOf();
    const ends = ["webhook", "webhook", "webhook"].map((name) => bus.subscribe({ name, report: () => {} }));
    const names = (): string[] => bus.stats().reporters.map(({ name }) => name);
    assert.deepEqual(names(), ["webhook", "webhook 2", "webhook 3"]);
    ends[1]?.();
    bus.subscribe({ name: "webhook", report: () => {} });
    assert.deepEqual(names(), ["webhook", "webhook 3", "webhook 2"]);
  });

  for (const maxBatch of [0, -1, 1.5, NaN]) {
    it(`is refused with a batch of ${maxBatch}`, () => {
      const { bus } = benchOf();
      assert.throws(() => bus.subscribe({ name: "x", maxBatch, report: () => {} }), { code: "ERR_OPTION_RANGE" });
    });
  }

  it("cannot write to a terminal what is no text, nor a password, by its failure", async (t) => {
    const said = capture(t);
    const { bus } = benchOf();
    bus.subscribe({
      name: "webhook",
      report() {
        throw new Error("https://user:hunter2@host\u001B[2J\nfatal error, stopping");
      },
    });
    reportAll(bus, ["a"]);
    await bus.flush();
    assert.deepEqual(said, [
      "error reporter webhook failed: https://user:***@host\\u{1b}[2J\\nfatal error, stopping\n",
    ]);
  });
});

describe("a reporter that fails again and again", () => {
  it("is left alone after five failures in a row, then tried once after pauses that double to a cap", async (t) => {
    const said = capture(t);
    const { bus, clock } = benchOf({ random: () => 1, breakerPauseMs: 1_000, breakerMaxPauseMs: 4_000 });
    const flaky = new Flaky();
    bus.subscribe(flaky);
    reportAll(
      bus,
      Array.from({ length: 20 }, (_, index) => `${index}`),
    );
    await clock.advance(0);
    assert.equal(flaky.batches.length, 5);
    assert.partialDeepStrictEqual(statsOf(bus, "flaky"), { open: true, queued: 15, failures: 5, dropped: 5 });
    for (const [pauseMs, calls] of [
      [1_000, 6],
      [2_000, 7],
      [4_000, 8],
      [4_000, 9],
    ] as const) {
      await clock.advance(pauseMs - 1);
      assert.equal(flaky.batches.length, calls - 1);
      await clock.advance(1);
      assert.equal(flaky.batches.length, calls);
      assert.equal(statsOf(bus, "flaky").open, true);
    }
    flaky.isDown = false;
    await clock.advance(4_000);
    assert.partialDeepStrictEqual(statsOf(bus, "flaky"), { open: false, queued: 0, failures: 9, delivered: 11 });
    assert.deepEqual(flaky.batches.at(-1), ["19"]);
    assert.equal(said.length, 1); // one spell
    flaky.isDown = true;
    reportAll(bus, ["a", "b", "c", "d", "e", "f"]);
    await clock.advance(0);
    assert.equal(statsOf(bus, "flaky").open, true);
    assert.equal(said.length, 2);
    await clock.advance(999); // the pause is short again
    assert.equal(statsOf(bus, "flaky").failures, 14);
    await clock.advance(1);
    assert.equal(statsOf(bus, "flaky").failures, 15);
  });

  it("is tried after a pause of which half is jitter", async (t) => {
    capture(t);
    for (const [random, pauseMs] of [
      [0, 500],
      [0.5, 750],
    ] as const) {
      const { bus, clock } = benchOf({ random: () => random, breakerFailures: 1 });
      const flaky = new Flaky();
      bus.subscribe(flaky);
      reportAll(bus, ["a", "b"]);
      await clock.advance(pauseMs - 1);
      assert.equal(flaky.batches.length, 1);
      await clock.advance(1);
      assert.equal(flaky.batches.length, 2);
    }
  });

  it("is not left alone for failures with a success between them", async (t) => {
    capture(t);
    const { bus, clock } = benchOf({ breakerFailures: 2 });
    const flaky = new Flaky();
    bus.subscribe(flaky);
    for (let round = 0; round < 10; round++) {
      flaky.isDown = round % 2 === 0;
      reportAll(bus, ["x"]);
      await clock.advance(0);
    }
    assert.equal(flaky.batches.length, 10);
    assert.equal(clock.pending, 0);
  });

  it("costs the others nothing, and keeps the newest of what comes meanwhile", async (t) => {
    capture(t);
    const { bus, clock } = benchOf({ breakerFailures: 1, maxQueued: 2, random: () => 1 });
    const flaky = new Flaky();
    bus.subscribe(flaky);
    const kept: string[] = [];
    bus.subscribe({ name: "kept", report: (batch) => void kept.push(...messages(batch)) });
    for (const text of ["a", "b", "c", "d"]) {
      reportAll(bus, [text]);
      await clock.advance(0);
    }
    assert.deepEqual(kept, ["a", "b", "c", "d"]);
    flaky.isDown = false;
    await clock.advance(1_000);
    assert.deepEqual(flaky.batches, [["a"], ["c"], ["d"]]);
  });

  it("is tried once more by a flush, which waits for nothing when it fails again, and drops the rest", async (t) => {
    capture(t);
    const { bus, clock } = benchOf({ breakerFailures: 1 });
    const flaky = new Flaky();
    bus.subscribe(flaky);
    reportAll(bus, ["a", "b", "c"]);
    await clock.advance(0);
    await bus.flush();
    assert.deepEqual(flaky.batches, [["a"], ["b"]]);
    assert.partialDeepStrictEqual(statsOf(bus, "flaky"), { queued: 0, dropped: 3 });
    flaky.isDown = false;
    reportAll(bus, ["d", "e"]);
    await bus.flush();
    assert.deepEqual(flaky.batches.slice(2), [["d"], ["e"]]);
  });

  it("leaves no timer when the bus is closed, and then is not waited for", async (t) => {
    capture(t);
    const { bus, clock } = benchOf({ breakerFailures: 1 });
    const flaky = new Flaky();
    bus.subscribe(flaky);
    reportAll(bus, ["a", "b"]);
    await bus.close();
    assert.equal(clock.pending, 0);
    reportAll(bus, ["c"]);
    await clock.advance(60_000);
    assert.deepEqual(flaky.batches, [["a"]]);
    assert.partialDeepStrictEqual(statsOf(bus, "flaky"), { queued: 0, dropped: 3 });
  });
});

describe("closing the error bus", () => {
  it("leaves no timer of a reporter that begins to fail after it", async (t) => {
    capture(t);
    const { bus, clock } = benchOf({ breakerFailures: 2 });
    const flaky = new Flaky();
    bus.subscribe(flaky);
    await bus.close();
    reportAll(bus, ["a", "b", "c", "d"]);
    await clock.advance(0);
    reportAll(bus, ["e"]);
    await clock.advance(60_000);
    assert.deepEqual(flaky.batches, [["a"], ["b"]]);
    assert.equal(clock.pending, 0);
  });

  it("does not begin to wait when its signal has aborted before", async (t) => {
    capture(t);
    const { bus, clock } = benchOf();
    bus.subscribe({ name: "hanging", report: () => new Promise(() => {}) });
    reportAll(bus, ["a", "b"]);
    await bus.close({ signal: AbortSignal.abort() });
    assert.equal(clock.pending, 0);
    assert.partialDeepStrictEqual(statsOf(bus, "hanging"), { queued: 0, dropped: 2 });
  });

  it("ends a call that hangs when the flush limit has passed, and leaves no timer", async (t) => {
    capture(t);
    const { bus, clock } = benchOf({ flushTimeoutMs: 50, reportTimeoutMs: 60_000 });
    let reason: unknown;
    bus.subscribe({
      name: "hanging",
      report: (_, { signal }) => new Promise(() => signal.addEventListener("abort", () => (reason = signal.reason))),
    });
    reportAll(bus, ["a", "b"]);
    const closed = bus.close();
    await clock.advance(50);
    await closed;
    await clock.advance(0);
    assert.match(String(reason), /the error bus was closed/);
    assert.equal(clock.pending, 0);
    assert.partialDeepStrictEqual(statsOf(bus, "hanging"), { dropped: 2, failures: 1, queued: 0 });
  });

  it("waits no longer than its signal lets it", async (t) => {
    capture(t);
    const { bus, clock } = benchOf();
    bus.subscribe({ name: "hanging", report: () => new Promise(() => {}) });
    reportAll(bus, ["a"]);
    const stopping = new AbortController();
    const closed = bus.close({ signal: stopping.signal });
    await clock.advance(0);
    stopping.abort();
    await closed;
    await bus.close({ signal: stopping.signal });
    assert.equal(clock.pending, 0);
  });
});

describe("what can be written at once", () => {
  /** Keeps what it gets, and how. */
  function written(name = "log"): ErrorReporter & { readonly lines: string[] } {
    const lines: string[] = [];
    return {
      name,
      lines,
      report: (batch) => void lines.push(...messages(batch)),
      reportSync: (batch) => void lines.push(...messages(batch).map((text) => `${text}!`)),
    };
  }

  it("is, when a fatal error comes, with all that waits before it", async () => {
    const { bus } = benchOf({ foldIntervalMs: 10_000 });
    const log = written();
    bus.subscribe(log);
    const webhook: string[] = [];
    bus.subscribe({ name: "webhook", report: (batch) => void webhook.push(...messages(batch)) });
    for (let id = 1; id <= 3; id++) bus.report(new AppError("ERR_A", "internal", `a ${id}`), job);
    bus.report(new Error("the end"), fatal);
    assert.deepEqual(log.lines, ["a 1!", "a 3!", "the end!"]);
    assert.deepEqual(webhook, []);
    await bus.flush();
    assert.deepEqual(webhook, ["a 1", "a 3", "the end"]);
    assert.equal(log.lines.length, 3);
    assert.partialDeepStrictEqual(statsOf(bus, "log"), { delivered: 3, queued: 0 });
  });

  it("is by flushSync, also where one of those who write fails", (t) => {
    const said = capture(t);
    const { bus } = benchOf();
    const broken: ErrorReporter = {
      ...written("broken"),
      reportSync() {
        throw new Error("disk full");
      },
    };
    const log = written();
    bus.subscribe(broken);
    bus.subscribe(log);
    reportAll(bus, ["a", "b"]);
    bus.flushSync();
    bus.flushSync();
    assert.deepEqual(log.lines, ["a!", "b!"]);
    assert.deepEqual(said, ["error reporter broken failed: disk full\n"]);
    assert.partialDeepStrictEqual(statsOf(bus, "broken"), { dropped: 2, failures: 1, queued: 0 });
  });
});
