import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseRetryAfter } from "./retry-after.ts";

const now = Date.UTC(2026, 0, 1);

describe("parseRetryAfter", () => {
  it("reads seconds and dates", () => {
    assert.equal(parseRetryAfter("120", now), 120_000);
    assert.equal(parseRetryAfter(" 0 ", now), 0);
    assert.equal(parseRetryAfter("Thu, 01 Jan 2026 00:00:05 GMT", now), 5_000);
  });

  it("takes a date that has passed for no wait", () => {
    assert.equal(parseRetryAfter("Wed, 31 Dec 2025 23:59:00 GMT", now), 0);
  });

  for (const header of [undefined, "", "soon", "-1", "1.5", "1e3", "2027-01-01", "12:30"]) {
    it(`finds no wait in ${JSON.stringify(header)}`, () => {
      assert.equal(parseRetryAfter(header, now), undefined);
    });
  }
});
