import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError } from "./app-error.ts";
import type { ErrorReport } from "./error-bus.ts";
import { ReportQueue } from "./report-queue.ts";
import { Ring } from "./ring.ts";

function reportOf(time: number, severity: ErrorReport["severity"]): ErrorReport {
  return {
    error: AppError.internal("ERR_TEST", "x"),
    service: "",
    fingerprint: "",
    count: 1,
    origin: "job",
    handled: true,
    severity,
    time,
    traceId: undefined,
    spanId: undefined,
    requestId: undefined,
    attributes: {},
  };
}

/** A source of numbers in [0, 1) that are always the same. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe("ReportQueue", () => {
  for (const maxQueued of [1, 2, 3, 17, 64]) {
    it(`of ${maxQueued} keeps and drops the same as a plain list does, whatever comes and goes`, () => {
      const random = seeded(maxQueued);
      const queue = new ReportQueue(maxQueued);
      let list: ErrorReport[] = [];
      let dropped = 0;
      let droppedOfList = 0;
      for (let step = 0; step < 5_000; step++) {
        if (random() < 0.7) {
          const report = reportOf(step, random() < 0.2 ? "fatal" : "error");
          if (queue.push(report)) dropped++;
          list.push(report);
          if (list.length > maxQueued) {
            droppedOfList++;
            const plain = list.findIndex(({ severity }) => severity !== "fatal");
            list = list.toSpliced(Math.max(0, plain), 1);
          }
        } else {
          const max = Math.ceil(random() * 5);
          assert.deepEqual(queue.take(max), list.splice(0, max));
        }
        assert.equal(queue.size, list.length);
      }
      assert.equal(dropped, droppedOfList);
      assert.deepEqual(queue.take(Infinity), list);
      assert.deepEqual(queue.take(1), []);
    });
  }
});

describe("Ring", () => {
  it("gives in the order of coming, also where it grows with its head in the middle", () => {
    const ring = new Ring<number>();
    const out: (number | undefined)[] = [];
    let next = 0;
    for (let round = 0; round < 10; round++) {
      for (let count = 0; count < 13; count++) ring.push(next++);
      for (let count = 0; count < 5; count++) out.push(ring.shift());
    }
    assert.equal(ring.first, out.length);
    while (ring.size > 0) out.push(ring.shift());
    assert.deepEqual(
      out,
      Array.from({ length: next }, (_, index) => index),
    );
    assert.equal(ring.shift(), undefined);
    assert.equal(ring.first, undefined);
  });
});
