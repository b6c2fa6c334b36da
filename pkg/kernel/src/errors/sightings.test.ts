import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { deriveContext, runInContext, runOutsideContext } from "../context.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { createTracing } from "../tracing/tracing.ts";
import { AppError } from "./app-error.ts";
import { createErrorBus, type ErrorReport } from "./error-bus.ts";

const inRequest = { origin: "request" } as const;
const tracing = createTracing();

/** A bus without folding, so that each error is a report. */
function busOf() {
  const clock = new FakeClock();
  const bus = createErrorBus({ clock, foldIntervalMs: 0 });
  const reports: ErrorReport[] = [];
  bus.subscribe({ name: "kept", report: (batch) => void reports.push(...batch) });
  return { bus, clock, reports };
}

describe("an error object that is reported again", () => {
  it("is another error in each request, however their layers take turns", async () => {
    const { bus, reports } = busOf();
    const constant = new Error("no connection");
    const requests = ["a", "b", "c"].map((requestId) => ({ requestId }));
    for (let layers = 0; layers < 3; layers++) {
      for (const request of requests) runInContext(request, () => bus.report(constant, inRequest));
    }
    await bus.flush();
    assert.deepEqual(
      reports.map(({ requestId }) => requestId),
      ["a", "b", "c"],
    );
    assert.equal(bus.stats().reported, 3);
  });

  it("is one error in all layers of a request, with spans and scopes of their own, wrapped or not", async () => {
    const { bus, reports } = busOf();
    const [thrown, other] = [new Error("thrown"), new Error("another of the same request")];
    await runInContext({ requestId: "a" }, async () => {
      const inner = tracing.withSpan("outer", {}, () =>
        tracing.withSpan("inner", {}, () => {
          bus.report(thrown, inRequest);
          bus.report(other, inRequest);
          throw thrown;
        }),
      );
      await assert.rejects(inner);
      const { signal } = new AbortController();
      runInContext(deriveContext({ requestId: "of its own" }, { signal }), () => bus.report(other, inRequest));
      bus.report(AppError.from(thrown), inRequest);
      bus.report(other, inRequest);
    });
    await bus.flush();
    assert.deepEqual(
      reports.map(({ error, requestId }) => [error.message, requestId]),
      [
        ["thrown", "a"],
        ["another of the same request", "a"],
        ["another of the same request", "of its own"],
      ],
    );
  });

  it("is another error in each run of a guarded task", async () => {
    const { bus, reports } = busOf();
    const constant = new Error("no connection");
    const sweep = bus.guard("sweep", () => {
      bus.report(constant, { origin: "timer" });
      throw constant;
    });
    for (let runs = 0; runs < 3; runs++) sweep();
    await bus.flush();
    assert.equal(reports.length, 3);
    assert.equal(new Set(reports.map(({ traceId }) => traceId)).size, 3);
  });

  it("outside of any request is the same for a second, also after its request, and then another", async () => {
    const { bus, clock } = busOf();
    const constant = new Error("no connection");
    const reportTwice = (): number => {
      bus.report(constant, { origin: "process" });
      bus.report(constant, { origin: "stream" });
      return bus.stats().reported;
    };
    runInContext({ requestId: "a" }, () => {
      bus.report(constant, inRequest);
      runOutsideContext(() => assert.equal(reportTwice(), 1));
    });
    await clock.advance(999);
    assert.equal(reportTwice(), 1);
    await clock.advance(1);
    assert.equal(reportTwice(), 2);
    await clock.advance(600);
    assert.equal(reportTwice(), 2);
    await clock.advance(400);
    assert.equal(reportTwice(), 3, "one that comes all the time is counted each second, not put off for ever");
  });

  it("is counted with the same fault of other requests", async () => {
    const clock = new FakeClock();
    const bus = createErrorBus({ clock });
    const counts: number[] = [];
    bus.subscribe({ name: "kept", report: ([report]) => void counts.push(report?.count ?? 0) });
    const constant = AppError.unavailable("ERR_SAMPLE_AWAY", "no connection");
    for (let requests = 0; requests < 5; requests++) {
      runInContext({ requestId: String(requests) }, () => bus.report(constant, inRequest));
    }
    await bus.flush();
    assert.deepEqual(counts, [1, 4]);
  });
});
