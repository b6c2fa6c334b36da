import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toTable } from "./table.ts";

describe("toTable", () => {
  it("pads each column to its widest cell, and aligns numbers on the right", () => {
    const table = toTable(
      [
        ["server", "left"],
        ["µs", "right"],
      ],
      [
        ["nginx", "15.5"],
        ["a long name", "9"],
      ],
    );
    assert.deepEqual(table.split("\n"), [
      "| server      |   µs |",
      "| ----------- | ---: |",
      "| nginx       | 15.5 |",
      "| a long name |    9 |",
    ]);
  });
  it("is a head alone when there are no rows", () => {
    assert.equal(toTable([["a", "left"]], []), "| a   |\n| --- |");
  });
});
