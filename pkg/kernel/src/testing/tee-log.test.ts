import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { LogDestination } from "../logger/pino.ts";
import { TeeLog } from "./tee-log.ts";

function destination(error?: Error): Required<LogDestination> & { readonly calls: string[] } {
  const calls: string[] = [];
  return {
    calls,
    write: (line) => void calls.push(line),
    flush(done) {
      calls.push("flush");
      done(error);
    },
    flushSync: () => void calls.push("flushSync"),
    linesLost: 2,
  };
}

const flushed = (log: TeeLog): Promise<Error | null | undefined> => new Promise((resolve) => log.flush(resolve));

describe("TeeLog", () => {
  it("writes each line to both, flushes both, and tells what both have lost", async () => {
    const [first, second] = [destination(), destination()];
    const log = new TeeLog(first, second);
    assert.equal(log.linesLost, 4);
    assert.equal(new TeeLog(first, { write: () => {} }).linesLost, 2);
    log.write("a");
    assert.equal(await flushed(log), undefined);
    log.flushSync();
    for (const { calls } of [first, second]) assert.deepEqual(calls, ["a", "flush", "flushSync"]);
  });

  it("flushes the second though the first fails, and tells the failure of either", async () => {
    const error = new Error("full");
    const sound = destination();
    assert.equal(await flushed(new TeeLog(destination(error), sound)), error);
    assert.deepEqual(sound.calls, ["flush"]);
    assert.equal(await flushed(new TeeLog(sound, destination(error))), error);
  });

  it("needs no flush of either", async () => {
    const bare: LogDestination = { write: () => {} };
    const log = new TeeLog(bare, bare);
    log.flushSync();
    assert.equal(await flushed(log), undefined);
  });
});
