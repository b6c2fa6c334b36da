import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, it } from "node:test";
import { text } from "node:stream/consumers";
import { systemClock } from "../clock.ts";
import { AppError } from "./app-error.ts";
import { createErrorBus, type ErrorBusStats } from "./error-bus.ts";

const total = 1_000_000;
const perTurn = 500;
const marks = 5;

/** What the child process tells. */
interface Soaked {
  /** In use after a collection, in bytes: once warm, and then after each fifth of the reports. */
  readonly heap: readonly number[];
  readonly stats: ErrorBusStats;
}

/** This file with an argument is the child: a million reports, to a fast reporter, a slow one, a failing one and one that hangs. */
async function soak(): Promise<Soaked> {
  assert.ok(globalThis.gc);
  process.stderr.write = () => true; // what the failing one says
  const bus = createErrorBus({ clock: systemClock, foldIntervalMs: 50, reportTimeoutMs: 100, breakerPauseMs: 20 });
  let taken = 0;
  bus.subscribe({ name: "fast", maxBatch: 1_000, report: (batch) => void (taken += batch.length) });
  bus.subscribe({ name: "slow", maxBatch: 10, report: () => new Promise((resolve) => setTimeout(resolve, 5)) });
  bus.subscribe({ name: "failing", report: () => Promise.reject(new Error("no network")) });
  bus.subscribe({ name: "hanging", report: () => new Promise(() => {}) });
  const heap: number[] = [];
  const mark = (): void => {
    globalThis.gc?.();
    heap.push(process.memoryUsage().heapUsed);
  };
  const word = (index: number): string => String(index).replaceAll(/\d/g, (digit) => "abcdefghij"[Number(digit)] ?? "");
  const thrownAt = (index: number): unknown => {
    if (index % 4 === 0) return AppError.notFound("ERR_NOTE_MISSING", `no note ${index}`);
    if (index % 4 === 1)
      return new AppError("ERR_NOTE_LOST", "internal", `lost ${word(index)}`, { metadata: { id: word(index) } });
    if (index % 4 === 2) return new Error(`no store ${word(index)}`);
    return index % 8 === 3 ? `plain ${index}` : new TypeError("undefined is not a note");
  };
  for (let index = 0; index < total; index++) {
    if (index % (total / marks) === total / marks / 4) mark(); // the first when all is warm
    bus.report(thrownAt(index), { origin: "job", attributes: { index, route: "/notes" } });
    if (index % perTurn === 0) await new Promise(setImmediate);
  }
  mark();
  const { reporters, ...counts } = bus.stats();
  await bus.close();
  assert.ok(taken > total / 4);
  return { heap, stats: { ...counts, reporters } };
}

if (process.argv[2] === "soak") process.stdout.write(JSON.stringify(await soak()));
else tests();

function tests(): void {
  describe(`${total} reports`, () => {
    it("hold memory flat, whatever their reporters do, and are all accounted for", { timeout: 300_000 }, async () => {
      const flags = ["--conditions=plinth-source", "--expose-gc"];
      const child = spawn(process.execPath, [...flags, import.meta.filename, "soak"], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const [said, [code]] = await Promise.all([text(child.stdout), once(child, "close")]);
      assert.equal(code, 0);
      const { heap, stats } = JSON.parse(said) as Soaked;
      const [first = 0, ...others] = heap;
      assert.equal(others.length, marks);
      // A leak of each report, or of a hundredth of each, would be hundreds of megabytes, or several.
      const growth = Math.max(...others) - first;
      assert.ok(growth < 8 * 1024 * 1024, `the heap has grown by ${growth} bytes: ${heap.join(", ")}`);
      assert.equal(stats.reported, total);
      const given = stats.reporters.map(({ queued, delivered, dropped }) => queued + delivered + dropped);
      assert.ok(Math.max(...given) - Math.min(...given) <= 1_000, given.join(", ")); // those that are on their way
      assert.ok(stats.reporters.every(({ queued }) => queued <= 1_000));
      assert.equal(stats.reporters.length, 4);
    });
  });
}
