import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ProcessErrors } from "../app/runnable.ts";
import { runInContext } from "../context.ts";
import { createLogger } from "../logger/pino.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { MemoryLog } from "../testing/memory-log.ts";
import { createErrorBus, type ErrorReport } from "./error-bus.ts";
import { createProcessErrors } from "./process-errors.ts";

interface Bench {
  readonly own: ProcessErrors;
  readonly reports: ErrorReport[];
  readonly clock: FakeClock;
  readonly log: MemoryLog;
  readonly settings: { current: Policy };
  flush(): Promise<void>;
}

type Policy = Parameters<typeof createProcessErrors>[0]["settings"]["current"];
const keep: Policy = { uncaughtException: "keep", unhandledRejection: "keep", maxKept: 3 };

async function benchOf(policy: Policy = keep): Promise<Bench> {
  const clock = new FakeClock();
  const reports: ErrorReport[] = [];
  const errors = createErrorBus({ clock, foldIntervalMs: 0 });
  errors.subscribe({ name: "kept", report: (batch) => void reports.push(...batch) });
  const destination = new MemoryLog();
  const log = await createLogger({ destination });
  const settings = { current: policy };
  const own = createProcessErrors({ errors, settings, clock, log });
  return { own, reports, clock, log: destination, settings, flush: () => errors.flush() };
}

describe("errors of the process", () => {
  it("that are kept are reported as dealt with by nobody, with the ids of the request they came from", async () => {
    const { own, reports, flush } = await benchOf();
    const span = { traceId: "1".repeat(32), spanId: "2".repeat(16), sampled: false };
    const kept = runInContext({ requestId: "r1", span }, () => own.keeps("unhandledRejection", new Error("nobody")));
    assert.equal(kept, true);
    await flush();
    assert.partialDeepStrictEqual(reports[0], {
      origin: "process",
      handled: false,
      severity: "error",
      traceId: span.traceId,
      requestId: "r1",
      attributes: { event: "unhandledRejection" },
    });
  });

  it("stop it by the policy for their kind, which may change, and are then reported by whoever stops", async () => {
    const { own, reports, settings, flush } = await benchOf({ ...keep, uncaughtException: "stop" });
    assert.equal(own.keeps("uncaughtException", new Error("a")), false);
    assert.equal(own.keeps("unhandledRejection", new Error("b")), true);
    settings.current = keep;
    assert.equal(own.keeps("uncaughtException", new Error("c")), true);
    await flush();
    assert.deepEqual(
      reports.map(({ error }) => error.message),
      ["b", "c"],
    );
  });

  it("stop it though they are kept when there are too many in a minute, of both kinds together", async () => {
    const { own, clock, log } = await benchOf();
    const error = new Error("again"); // the same one counts too
    const next = (index: number): boolean => own.keeps(index % 2 ? "uncaughtException" : "unhandledRejection", error);
    assert.deepEqual([next(0), next(1), next(2)], [true, true, true]);
    await clock.advance(59_999);
    assert.equal(next(3), false);
    assert.equal(log.lines.length, 1);
    assert.partialDeepStrictEqual(log.lines[0], { level: "error", maxKept: 3, event: "uncaughtException" });
    await clock.advance(1);
    assert.equal(next(4), true);
  });

  it("never throw, whatever was thrown", async () => {
    const { own, reports, flush } = await benchOf({ ...keep, maxKept: 10_000 });
    const hostile = new Proxy({}, { get: () => assert.fail(), has: () => assert.fail() });
    for (const thrown of [undefined, null, 0, "text", hostile]) {
      assert.equal(own.keeps("uncaughtException", thrown), true);
      own.warn(thrown);
    }
    await flush();
    assert.ok(reports.length >= 5);
  });
});

describe("warnings of the process", () => {
  const warningOf = (message: string, name = "DeprecationWarning"): Error =>
    Object.assign(new Error(message), { name });

  it("are reported once however often they come, numbers in them apart", async () => {
    const { own, reports, flush } = await benchOf();
    for (let count = 11; count < 20; count++)
      own.warn(warningOf(`${count} exit listeners added`, "MaxListenersWarning"));
    own.warn(warningOf("Buffer() is deprecated"));
    await flush();
    assert.deepEqual(
      reports.map(({ error, severity, origin }) => [error.code, error.message, severity, origin]),
      [
        ["ERR_PROCESS_WARNING", "MaxListenersWarning: 11 exit listeners added", "warning", "process"],
        ["ERR_PROCESS_WARNING", "DeprecationWarning: Buffer() is deprecated", "warning", "process"],
      ],
    );
    assert.ok(reports[0]?.error.cause instanceof Error);
  });

  it("are a bounded number", async () => {
    const { own, reports, flush } = await benchOf();
    const word = (index: number): string =>
      String(index).replaceAll(/\d/g, (digit) => "abcdefghij"[Number(digit)] ?? "");
    for (let index = 0; index < 1_000; index++) own.warn(warningOf(word(index)));
    await flush();
    assert.equal(reports.length, 100);
  });
});
