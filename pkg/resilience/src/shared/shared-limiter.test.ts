import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import type { RateVerdict } from "../rate-limiter.ts";
import { createSharedRateLimiter, type SharedRateLimiterOptions } from "./shared-limiter.ts";
import { StoreGate } from "./store-gate.ts";
import type { RateAsk, RateStore } from "./types.ts";

const fine: RateVerdict = { allowed: true, remaining: 9, retryAfterMs: 0, resetMs: 1_000 };

/** A store that answers, fails or hangs as it is told. */
class ScriptedStore implements RateStore {
  readonly name = "scripted";
  isReady = true;
  lastError: unknown;
  mode: "answers" | "fails" | "hangs" = "answers";
  verdict = fine;
  readonly asked: RateAsk[] = [];
  readonly givenBack: RateAsk[] = [];

  async take(ask: RateAsk): Promise<RateVerdict> {
    this.asked.push(ask);
    if (this.mode === "hangs") return new Promise(() => undefined);
    if (this.mode === "fails") throw new Error("down");
    return this.verdict;
  }

  async giveBack(ask: RateAsk): Promise<void> {
    this.givenBack.push(ask);
  }

  async close(): Promise<void> {}
}

function setUp(more: Partial<SharedRateLimiterOptions> = {}) {
  const clock = new FakeClock();
  const store = new ScriptedStore();
  const told: string[] = [];
  const onDegraded = (isDegraded: boolean, cause: unknown): void => {
    told.push(`${isDegraded ? "lost" : "back"}: ${cause instanceof Error ? cause.message : "unknown"}`);
  };
  const gate = new StoreGate({ store, clock, onDegraded });
  const options = { name: "a", limit: 10, windowMs: 1_000, gate, clock, ...more };
  return { clock, store, gate, told, limiter: createSharedRateLimiter(options) };
}

describe("a limit whose store is lost", () => {
  it("lets a share of the limit through, at least one, by the number of processes there are now", async () => {
    let processes = 3;
    const { store, limiter } = setUp({ processes: () => processes });
    assert.deepEqual(await limiter.take("k"), { ...fine, by: "store" });
    store.mode = "fails";
    const verdicts = [];
    for (let i = 0; i < 4; i++) verdicts.push(await limiter.take("k"));
    assert.deepEqual(
      verdicts.map(({ allowed }) => allowed),
      [true, true, true, false],
    );
    assert.deepEqual(verdicts[3], { allowed: false, remaining: 0, retryAfterMs: 1_000, resetMs: 1_000, by: "share" });
    processes = 100;
    assert.equal((await limiter.take("other", 7)).allowed, true, "what costs more than the share is the share");
    assert.equal((await limiter.take("other")).allowed, false);
  });

  it("lets everything through, or nothing, where that is what was asked for", async () => {
    const open = setUp({ onStoreFailure: "open" });
    open.store.mode = "fails";
    for (let i = 0; i < 20; i++) assert.equal((await open.limiter.take("k")).allowed, true);
    const closed = setUp({ onStoreFailure: "closed" });
    closed.store.mode = "fails";
    const verdict = await closed.limiter.take("k");
    assert.deepEqual([verdict.allowed, verdict.by], [false, "nobody"]);
  });

  it("tells the store when it is back what went without it, once, and as much as counts still", async () => {
    const { clock, store, limiter } = setUp();
    store.mode = "fails";
    await limiter.take("k");
    await clock.advance(600);
    for (let i = 0; i < 2; i++) await limiter.take("k");
    await clock.advance(500);
    store.mode = "answers";
    await limiter.take("k");
    await limiter.take("k");
    await limiter.take("other");
    assert.deepEqual(
      store.asked.slice(3).map(({ owed }) => owed),
      [2, 0, 0],
    );
  });

  it("still owes what the store did not hear of", async () => {
    const { store, limiter } = setUp();
    store.mode = "fails";
    for (let i = 0; i < 3; i++) await limiter.take("k");
    assert.deepEqual(
      store.asked.map(({ owed }) => owed),
      [0, 1, 2],
    );
    assert.equal(limiter.local.used("k"), 3);
  });

  it("waits no longer than the deadline for a store that hangs, and after a few does not ask for a while", async () => {
    const { clock, store, gate, told, limiter } = setUp();
    store.mode = "hangs";
    for (let i = 0; i < 5; i++) {
      const verdict = limiter.take("k");
      await clock.advance(30);
      assert.equal((await verdict).by, "share");
    }
    assert.deepEqual([store.asked.length, gate.failures, gate.isDegraded], [5, 5, true]);
    assert.equal((await limiter.take("k")).by, "share", "at once");
    assert.deepEqual([store.asked.length, gate.notSent], [5, 1]);
    assert.deepEqual(told, ["lost: no answer within 30 ms"]);
    store.mode = "answers";
    await clock.advance(500);
    assert.equal((await limiter.take("k")).by, "store");
    await clock.advance(2_000);
    await limiter.take("k");
    assert.equal(gate.isDegraded, false);
    assert.equal(told.length, 2, "said once that it is back");
    assert.equal(clock.pending, 0);
  });

  it("lets nobody through whom the store has just refused, until the time that it was told", async () => {
    const { clock, store, limiter } = setUp();
    store.verdict = { allowed: false, remaining: 0, retryAfterMs: 400, resetMs: 900 };
    await limiter.take("k");
    store.mode = "fails";
    await clock.advance(100);
    assert.deepEqual([(await limiter.take("k")).retryAfterMs, (await limiter.take("other")).allowed], [300, true]);
    await clock.advance(300);
    assert.equal((await limiter.take("k")).allowed, true);
  });

  it("gives back only what the store has taken", async () => {
    const { store, limiter } = setUp();
    const taken = await limiter.take("k", 2);
    limiter.giveBack("k", 2, taken);
    store.mode = "fails";
    limiter.giveBack("k", 2, await limiter.take("k", 2));
    limiter.giveBack("k", 2, { ...taken, allowed: false });
    assert.deepEqual(
      store.givenBack.map(({ key, cost }) => [key, cost]),
      [["k", 2]],
    );
  });
});
