import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { until } from "./until.ts";

describe("until", () => {
  it("looks again until there is something, and tells what", async () => {
    let turns = 0;
    assert.equal(await until(() => (++turns < 3 ? undefined : "there")), "there");
    assert.equal(await until(async () => ++turns === 5), true);
    assert.equal(turns, 5);
  });

  it("takes an empty text, 0 and null for something", async () => {
    for (const found of ["", 0, null]) assert.equal(await until(() => found), found);
  });

  it("fails with what is missing when the time is up", async () => {
    await assert.rejects(
      until(() => false, { what: "the moon", limitMs: 1 }),
      {
        name: "AssertionError",
        message: "not within 1 ms: the moon",
      },
    );
    await assert.rejects(
      until(() => undefined, { limitMs: 1 }),
      /not within 1 ms: \(\) => undefined/,
    );
  });

  it("fails with what looking throws", async () => {
    const fault = new Error("blind");
    await assert.rejects(
      until(() => {
        throw fault;
      }),
      fault,
    );
  });
});
