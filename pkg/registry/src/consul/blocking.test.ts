import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { followIndex, type IndexLoopOptions } from "./blocking.ts";

const loop = (over: AbortController, more: Partial<IndexLoopOptions<{ index: number }>>) =>
  followIndex({
    clock: new FakeClock(),
    backoff: {},
    maxRequestsPerSecond: 1,
    signal: over.signal,
    ask: async () => ({ index: 1 }),
    onAnswer: () => assert.fail("an answer was told"),
    onReset: () => assert.fail("a reset was told"),
    onFailure: () => assert.fail("a failure was told"),
    onRecovery: () => assert.fail("a recovery was told"),
    ...more,
  });

describe("the loop of blocking queries", () => {
  it("tells nothing of an answer that came together with the end", async () => {
    const over = new AbortController();
    await loop(over, {
      ask: async () => {
        over.abort();
        return { index: 1 };
      },
    });
  });

  it("tells nothing of a failure that came together with the end", async () => {
    const over = new AbortController();
    await loop(over, {
      ask: async () => {
        over.abort();
        throw new Error("cut");
      },
    });
  });

  it("asks nothing once it has ended, also when the end comes with what it tells", async () => {
    const over = new AbortController();
    let asked = 0;
    await loop(over, {
      ask: async () => ({ index: ++asked }),
      onAnswer: () => over.abort(),
    });
    assert.equal(asked, 1);
    await loop(over, { ask: async () => assert.fail("asked") });
  });
});
