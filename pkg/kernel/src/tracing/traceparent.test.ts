import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatTraceparent, parseTraceparent } from "./traceparent.ts";

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const spanId = "00f067aa0ba902b7";
const good = `00-${traceId}-${spanId}-01`;

describe("parseTraceparent", () => {
  const taken: readonly (readonly [string, string, boolean])[] = [
    ["sampled", good, true],
    ["not sampled", `00-${traceId}-${spanId}-00`, false],
    ["with flags of which only the lowest is known", `00-${traceId}-${spanId}-fe`, false],
    ["with all flags", `00-${traceId}-${spanId}-ff`, true],
    ["of a later version", `cc-${traceId}-${spanId}-01`, true],
    ["of a later version with more fields", `01-${traceId}-${spanId}-01-what-the-future-brings`, true],
    ["of a later version that ends in a hyphen", `01-${traceId}-${spanId}-01-`, true],
  ];
  for (const [name, header, sampled] of taken) {
    it(`takes one ${name}`, () => assert.deepEqual(parseTraceparent(header), { traceId, spanId, sampled }));
  }

  const ignored: Readonly<Record<string, string | undefined>> = {
    "no header": undefined,
    "an empty one": "",
    "a cut one": good.slice(0, -1),
    "a long one of this version": `${good}-extra`,
    "one that goes on without a hyphen": `01-${traceId}-${spanId}-01extra`,
    "version ff": `ff-${traceId}-${spanId}-01`,
    "a version that is none": `0g-${traceId}-${spanId}-01`,
    "a trace id of zeros": `00-${"0".repeat(32)}-${spanId}-01`,
    "a span id of zeros": `00-${traceId}-${"0".repeat(16)}-01`,
    "capital digits": good.toUpperCase(),
    "other letters": `00-${"g".repeat(32)}-${spanId}-01`,
    "other separators": good.replaceAll("-", "_"),
    "space around it": ` ${good}`,
    "a line break after it": `${good}\n`,
    "a trace id that is too short": `00-${traceId.slice(1)}-${spanId}-011`,
    "two joined by a comma": `${good},${good}`,
    "a huge one": `01-${traceId}-${spanId}-01-${"x".repeat(100_000)}`,
  };
  for (const [name, header] of Object.entries(ignored)) {
    it(`ignores ${name}`, () => assert.equal(parseTraceparent(header), undefined));
  }
});

describe("formatTraceparent", () => {
  it("writes what parseTraceparent reads", () => {
    for (const sampled of [true, false]) {
      assert.deepEqual(parseTraceparent(formatTraceparent({ traceId, spanId, sampled })), { traceId, spanId, sampled });
    }
    assert.equal(formatTraceparent({ traceId, spanId, sampled: true }), good);
  });
});
