import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { testRateLimiter } from "../testing/rate-limiter-suite.ts";
import { createMemoryRateStore } from "./memory-store.ts";

const ask = { name: "a", key: "k", limit: 3, windowMs: 60_000, cost: 1, owed: 0 };

describe("a rate limit in the memory of one process that others ask", () => {
  testRateLimiter(async ({ limit, windowMs }) => {
    const clock = new FakeClock();
    const store = createMemoryRateStore({ clock });
    return { clock, take: (key, cost = 1) => store.take({ ...ask, key, limit, windowMs, cost }) };
  });

  it("counts what is owed as used now, beyond the limit as well, and gives back what did not go", async () => {
    const clock = new FakeClock();
    const store = createMemoryRateStore({ clock });
    assert.equal((await store.take({ ...ask, owed: 1 })).remaining, 1);
    await store.giveBack(ask);
    assert.equal((await store.take(ask)).remaining, 1);
    const refused = await store.take({ ...ask, owed: 9 });
    assert.deepEqual([refused.allowed, refused.remaining], [false, 0]);
    await store.giveBack({ ...ask, cost: 100 });
    assert.equal((await store.take(ask)).remaining, 2, "no more is given back than was used");
    await store.giveBack({ ...ask, key: "unknown" });
    assert.equal((await store.take({ ...ask, key: "unknown" })).remaining, 2);
  });

  it("gives back the latest uses, so that those before them leave the window in their time", async () => {
    const clock = new FakeClock();
    const store = createMemoryRateStore({ clock });
    await store.take(ask);
    await clock.advance(30_000);
    await store.take({ ...ask, cost: 2 });
    await store.giveBack({ ...ask, cost: 2 });
    assert.equal((await store.take({ ...ask, cost: 3 })).retryAfterMs, 30_000);
  });

  it("counts limits of other names, sizes and windows apart, and nothing after its end", async () => {
    const store = createMemoryRateStore({ clock: new FakeClock() });
    for (const other of [ask, { ...ask, name: "b" }, { ...ask, limit: 4 }, { ...ask, windowMs: 1_000 }])
      assert.equal((await store.take(other)).remaining, other.limit - 1);
    await store.close();
    await store.close();
    assert.equal((await store.take(ask)).remaining, 2);
    assert.throws(() => createMemoryRateStore({ maxKeys: 1 }), { code: "ERR_OPTION_RANGE" });
  });
});
