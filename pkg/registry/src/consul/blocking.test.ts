import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { followIndex } from "./blocking.ts";

/** Runs the loop to its end, and gives all that it told. */
async function toldBy(
  ask: (over: AbortController) => Promise<{ readonly index: number }>,
  onAnswer: (over: AbortController) => void = () => {},
): Promise<string[]> {
  const over = new AbortController();
  const told: string[] = [];
  await followIndex({
    clock: new FakeClock(),
    backoff: {},
    maxRequestsPerSecond: 1,
    signal: over.signal,
    ask(index) {
      told.push(`asked ${index}`);
      return ask(over);
    },
    onAnswer({ index }) {
      told.push(`answered ${index}`);
      onAnswer(over);
    },
    onReset: () => told.push("reset"),
    onFailure: () => told.push("failed"),
    onRecovery: () => told.push("recovered"),
  });
  return told;
}

describe("the loop of blocking queries", () => {
  it("tells nothing of an answer that came together with the end", async () => {
    const told = await toldBy(async (over) => {
      over.abort();
      return { index: 1 };
    });
    assert.deepEqual(told, ["asked 0"]);
  });

  it("tells nothing of a failure that came together with the end", async () => {
    const told = await toldBy(async (over) => {
      over.abort();
      throw new Error("cut");
    });
    assert.deepEqual(told, ["asked 0"]);
  });

  it("asks nothing more when it is ended by the one it tells", async () => {
    const told = await toldBy(
      async () => ({ index: 7 }),
      (over) => over.abort(),
    );
    assert.deepEqual(told, ["asked 0", "answered 7"]);
  });
});
