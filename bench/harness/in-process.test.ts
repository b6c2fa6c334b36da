import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseReading } from "./in-process.ts";

const figures = [
  { key: "micros", title: "µs", digits: 1 },
  { key: "bytes", title: "bytes", digits: 0 },
];

describe("parseReading", () => {
  it("takes the number of each figure, and nothing else", () => {
    assert.deepEqual(parseReading('{"micros":1.5,"bytes":0,"more":1}\n', "ours", figures), { micros: 1.5, bytes: 0 });
  });
  for (const text of [
    '{"micros":1}',
    '{"micros":1,"bytes":"2"}',
    '{"micros":null,"bytes":2}',
    "[1]",
    "null",
    "x",
    "",
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseReading(text, "ours", figures), {
        code: "ERR_BENCH_PROCESS",
        message: /^ours printed no number "(micros|bytes)": /,
      });
    });
  }
});
