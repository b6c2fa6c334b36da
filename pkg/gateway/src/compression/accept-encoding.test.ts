import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { preferredCoding } from "./accept-encoding.ts";

describe("the coding that a client likes best, of br and gzip", () => {
  const table: readonly (readonly [field: string | undefined, coding: string | undefined])[] = [
    [undefined, undefined],
    ["", undefined],
    ["gzip", "gzip"],
    ["GZIP", "gzip"],
    ["x-gzip", "gzip"],
    ["gzip, deflate, br, zstd", "br"],
    ["gzip;q=1.0, br;q=0.5", "gzip"],
    ["gzip ; q=0.5 , br ; q=0.8", "br"],
    ["gzip;q=0", undefined],
    ["br;q=0, gzip", "gzip"],
    ["*", "br"],
    ["*;q=0", undefined],
    ["br;q=0, *", "gzip"],
    ["*;q=0, gzip;q=0.1", "gzip"],
    ["identity", undefined],
    ["identity, gzip;q=0.5", undefined],
    ["identity;q=0.5, gzip;q=0.5", "br gzip".split(" ")[1]],
    ["identity;q=0", undefined],
    ["identity;q=0, gzip", "gzip"],
    ["deflate", undefined],
    ["gzip;q=2", undefined],
    ["gzip;q=0.1234", undefined],
    ["gzip;level=9", undefined],
    ["gzip;q=0, gzip;q=1", undefined],
    [",,gzip,,", "gzip"],
    ["gzip\u0000", undefined],
    [`gzip${" ".repeat(2_000)}`, undefined],
  ];
  for (const [field, coding] of table) {
    it(`${JSON.stringify(field)?.slice(0, 60)}: ${coding}`, () =>
      assert.equal(preferredCoding(field, ["br", "gzip"]), coding));
  }
});
