import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "../testing/fake-clock.ts";
import { AppError } from "./app-error.ts";
import {
  createErrorBus,
  type ErrorBus,
  type ErrorBusOptions,
  type ErrorContext,
  type ErrorReport,
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

const request = { origin: "request" } as const;
const gone = (id: unknown): AppError => AppError.notFound("ERR_NOTE_MISSING", `no note ${String(id)}`);
const counts = (reports: readonly ErrorReport[]): unknown[] =>
  reports.map(({ count, error }) => [count, error.message]);

describe("the error bus, of the same fault seen again", () => {
  it("tells the first at once, then one report with the count in each interval, of the newest", async () => {
    const { bus, clock, reports } = benchOf();
    for (let id = 1; id <= 5; id++) bus.report(gone(id), { ...request, attributes: { id } });
    await clock.advance(9_999);
    assert.deepEqual(counts(reports), [[1, "no note 1"]]);
    await clock.advance(1);
    assert.deepEqual(counts(reports), [
      [1, "no note 1"],
      [4, "no note 5"],
    ]);
    assert.deepEqual(reports[1]?.attributes, { id: 5 });
    assert.equal(reports[1]?.time, clock.now() - 10_000);
    bus.report(gone(6), request);
    bus.report(gone(7), request);
    await clock.advance(10_000);
    assert.deepEqual(counts(reports).slice(2), [[2, "no note 7"]]);
    assert.equal(new Set(reports.map(({ fingerprint }) => fingerprint)).size, 1);
    assert.partialDeepStrictEqual(bus.stats(), { reported: 7, folded: 6, dropped: 0 });
  });

  it("tells it at once again when it has not come for an interval", async () => {
    const { bus, clock, reports } = benchOf({ foldIntervalMs: 1_000 });
    bus.report(gone(1), request);
    await clock.advance(1_000);
    bus.report(gone(2), request);
    await clock.advance(0);
    assert.deepEqual(counts(reports), [
      [1, "no note 1"],
      [1, "no note 2"],
    ]);
    assert.equal(clock.pending, 0);
  });

  it("adds what was counted when the next one comes before its timer", async () => {
    const { bus, reports, clock } = benchOf({ foldIntervalMs: 1_000 });
    bus.report(gone(1), request);
    bus.report(gone(2), request);
    let nowMs = 0;
    clock.monotonicMs = () => nowMs; // the event loop was blocked
    nowMs = 5_000;
    bus.report(gone(3), request);
    await bus.flush();
    assert.deepEqual(counts(reports), [
      [1, "no note 1"],
      [2, "no note 3"],
    ]);
  });

  it("keeps each to an interval of its own", async () => {
    const { bus, clock, reports } = benchOf({ foldIntervalMs: 1_000 });
    bus.report(new AppError("ERR_A", "internal", "a 1"), request);
    await clock.advance(400);
    bus.report(new AppError("ERR_B", "internal", "b 1"), request);
    bus.report(new AppError("ERR_B", "internal", "b 2"), request); // the first to wait, not the first to be due
    bus.report(new AppError("ERR_A", "internal", "a 2"), request);
    reports.length = 0;
    await clock.advance(600);
    assert.deepEqual(counts(reports).slice(-1), [[1, "a 2"]]);
    await clock.advance(400);
    assert.deepEqual(counts(reports).slice(-1), [[1, "b 2"]]);
    await clock.advance(1_000);
    assert.equal(clock.pending, 0);
  });

  const here = (message: string): Error => new Error(message);
  const there = (message: string): Error => new Error(message);
  type Thrown = readonly [unknown, ErrorContext];
  const differing: Readonly<Record<string, readonly [Thrown, Thrown]>> = {
    code: [
      [new AppError("ERR_A", "internal", "x"), request],
      [new AppError("ERR_B", "internal", "x"), request],
    ],
    message: [
      [here("no disk"), request],
      [here("no memory"), request],
    ],
    origin: [
      [gone(1), request],
      [gone(2), { origin: "job" }],
    ],
    place: [
      [here("x"), request],
      [there("x"), request],
    ],
    "the host that cannot be reached": [
      [Object.assign(here("getaddrinfo ENOTFOUND db"), { code: "ENOTFOUND" }), request],
      [Object.assign(here("getaddrinfo ENOTFOUND mail"), { code: "ENOTFOUND" }), request],
    ],
  };
  for (const [what, [one, other]] of Object.entries(differing)) {
    it(`takes errors for different faults that differ by ${what}`, async () => {
      const { bus, reports } = benchOf();
      bus.report(...one);
      bus.report(...other);
      await bus.flush();
      assert.deepEqual(
        reports.map(({ count }) => count),
        [1, 1],
      );
      assert.notEqual(reports[0]?.fingerprint, reports[1]?.fingerprint);
    });
  }

  it("takes errors of one place, whose messages differ by ids, for the same fault", async () => {
    const { bus, reports } = benchOf();
    for (const id of ["7", "1234", "a1b2c3", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"]) {
      bus.report(here(`no note ${id}`), request);
    }
    await bus.flush();
    assert.deepEqual(
      reports.map(({ count }) => count),
      [1, 3],
    );
  });

  it("tells one at once that is worse than those before, as the same fault", async () => {
    const { bus, reports } = benchOf();
    bus.report(gone(1), { ...request, severity: "warning" });
    bus.report(gone(2), request);
    bus.report(gone(3), { ...request, handled: false });
    await bus.flush();
    assert.deepEqual(
      reports.map(({ count, severity, handled }) => [count, severity, handled]),
      [
        [1, "warning", true],
        [1, "error", true],
        [1, "error", false],
      ],
    );
    assert.equal(new Set(reports.map(({ fingerprint }) => fingerprint)).size, 1);
  });

  it("counts no fatal ones together", async () => {
    const { bus, reports } = benchOf();
    for (let id = 0; id < 3; id++) bus.report(gone(id), { origin: "process", severity: "fatal" });
    await bus.flush();
    assert.deepEqual(
      reports.map(({ count }) => count),
      [1, 1, 1],
    );
  });

  it("gives what it has counted when it is flushed, and leaves no timer", async () => {
    const { bus, clock, reports } = benchOf();
    for (let id = 0; id < 4; id++) bus.report(gone(id), request);
    assert.equal(clock.pending, 1);
    await bus.flush();
    assert.deepEqual(counts(reports), [
      [1, "no note 0"],
      [3, "no note 3"],
    ]);
    assert.equal(clock.pending, 0);
    await clock.advance(60_000);
    assert.equal(reports.length, 2);
  });

  it("gives at once what comes after it was closed", async () => {
    const { bus, clock, reports } = benchOf();
    bus.report(gone(1), request);
    await Promise.all([bus.close(), bus.close()]);
    for (const id of [2, 3]) bus.report(gone(id), request);
    await clock.advance(0);
    assert.deepEqual(
      reports.map(({ count }) => count),
      [1, 1, 1],
    );
    assert.equal(clock.pending, 0);
  });

  it("counts a bounded number of faults, and reports the one counted longest for one that is new", async () => {
    const { bus, clock, reports } = benchOf({ maxFingerprints: 2 });
    const fault = (name: string): AppError => new AppError("ERR_X", "internal", name);
    for (const name of ["a", "a", "a", "b", "c"]) bus.report(fault(name), request);
    await clock.advance(0);
    assert.deepEqual(counts(reports), [
      [1, "a"],
      [1, "b"],
      [2, "a"],
      [1, "c"],
    ]);
    bus.report(fault("a"), request); // forgotten, so told at once
    bus.report(fault("c"), request);
    await bus.flush();
    assert.deepEqual(counts(reports).slice(4), [
      [1, "a"],
      [1, "c"],
    ]);
  });

  it("tells of each error, counted or not, whoever keeps the total, also one that throws", () => {
    const seen: string[] = [];
    const { bus } = benchOf({
      onError(origin, code) {
        seen.push(`${origin} ${code}`);
        throw new Error("too many series");
      },
    });
    for (let id = 0; id < 3; id++) bus.report(gone(id), request);
    const once = gone(4);
    bus.report(once, request);
    bus.report(once, { origin: "process" });
    assert.deepEqual(
      seen,
      Array.from({ length: 4 }, () => "request ERR_NOTE_MISSING"),
    );
    assert.equal(bus.stats().reported, 4);
  });

  it("reads no more than a hundred stacks in a second, and takes those of a flood for the fault they were", async () => {
    const { bus, clock, reports } = benchOf();
    let reads = 0;
    const flood = (count: number): void => {
      for (let index = 0; index < count; index++) {
        const error = here(`no note ${index}`);
        const { stack } = error;
        const get = (): string | undefined => {
          reads++;
          return stack;
        };
        bus.report(Object.defineProperty(error, "stack", { get }), request);
      }
    };
    flood(1_000);
    assert.equal(reads, 100);
    await clock.advance(1_000);
    flood(1_000);
    assert.equal(reads, 200);
    await bus.flush();
    assert.deepEqual(
      reports.map(({ count }) => count),
      [1, 1_999],
    );
  });
});
