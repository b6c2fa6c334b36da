import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type FaultRow, faultTable, parseRows } from "./fault-table.ts";

const row: FaultRow = {
  fault: "11 agent hangs",
  done: "a | b",
  sent: 120,
  failed: 0,
  expected: "0 failed",
  result: "ok",
  seen: "age 9 s",
};

describe("the table of faults", () => {
  it("has a row for each, whose texts cannot break it", () => {
    const [head, , first] = faultTable([row]).split("\n");
    assert.equal(head, "| fault | done | requests | failed | expected | seen | result |");
    assert.equal(first, "| 11 agent hangs | a \\| b | 120 | 0 | 0 failed | age 9 s | ok |");
  });

  it("reads what tests left, a line for each, and refuses anything else", () => {
    assert.deepEqual(parseRows(`${JSON.stringify(row)}\n${JSON.stringify(row)}\n`), [row, row]);
    for (const text of ["7", "null", "{}", JSON.stringify({ ...row, sent: "1" })]) {
      assert.throws(() => parseRows(text), /no row of a fault/);
    }
  });
});
