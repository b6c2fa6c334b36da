import assert from "node:assert/strict";
import { it } from "node:test";
import type { FakeClock } from "@plinth/kernel/testing";
import type { RateVerdict } from "../rate-limiter.ts";
import { seededRandom } from "./seeded-random.ts";

/** A limiter on a clock that the test holds. */
export interface SuiteLimiter {
  readonly clock: FakeClock;
  take(key: string, cost?: number): RateVerdict | Promise<RateVerdict>;
}

/**
 * What every rate limiter promises, wherever it keeps its counts. Call it inside a `describe`.
 * @param make - A limiter of its own, whose keys are all full.
 */
export function testRateLimiter(make: (options: { limit: number; windowMs: number }) => Promise<SuiteLimiter>): void {
  it("lets exactly the limit through at once, says what is left, and gives nothing for what it refuses", async () => {
    const limiter = await make({ limit: 5, windowMs: 10_000 });
    const verdicts: RateVerdict[] = [];
    for (let i = 0; i < 7; i++) verdicts.push(await limiter.take("alice"));
    assert.equal(verdicts.filter(({ allowed }) => allowed).length, 5);
    assert.deepEqual(verdicts[0], { allowed: true, remaining: 4, retryAfterMs: 0, resetMs: 10_000 });
    assert.deepEqual(verdicts[6], { allowed: false, remaining: 0, retryAfterMs: 10_000, resetMs: 10_000 });
    assert.equal((await limiter.take("bob")).allowed, true, "keys are apart");
    await limiter.clock.advance(9_999);
    assert.deepEqual(await limiter.take("alice"), { allowed: false, remaining: 0, retryAfterMs: 1, resetMs: 1 });
    await limiter.clock.advance(1);
    assert.equal((await limiter.take("alice")).remaining, 4);
  });

  it("takes as many at once as something costs, all or none, and says how long until there are so many", async () => {
    const limiter = await make({ limit: 10, windowMs: 1_000 });
    await limiter.take("k", 3);
    await limiter.clock.advance(100);
    await limiter.take("k", 4);
    await limiter.clock.advance(100);
    assert.deepEqual(await limiter.take("k", 4), { allowed: false, remaining: 3, retryAfterMs: 800, resetMs: 900 });
    assert.deepEqual(await limiter.take("k", 7), { allowed: false, remaining: 3, retryAfterMs: 900, resetMs: 900 });
    assert.equal((await limiter.take("k", 3)).allowed, true, "what was refused cost nothing");
    await limiter.clock.advance(800);
    const last = await limiter.take("k", 3);
    assert.deepEqual(last, { allowed: true, remaining: 0, retryAfterMs: 0, resetMs: 1_000 });
  });

  it("never lets more than the limit through in any window, and waiting as told is always enough", async () => {
    for (let seed = 1; seed <= 8; seed++) {
      const random = seededRandom(seed);
      const limit = 1 + Math.floor(random() * 20);
      const windowMs = 100 + Math.floor(random() * 2_000);
      const limiter = await make({ limit, windowMs });
      const { clock } = limiter;
      const passed: { readonly atMs: number; readonly cost: number }[] = [];
      const take = async (cost: number): Promise<RateVerdict> => {
        const verdict = await limiter.take("k", cost);
        if (verdict.allowed) passed.push({ atMs: clock.monotonicMs(), cost });
        return verdict;
      };
      for (let step = 0; step < 100; step++) {
        const cost = 1 + Math.floor(random() * Math.min(3, limit));
        const verdict = await take(cost);
        if (!verdict.allowed && random() < 0.1) {
          await clock.advance(verdict.retryAfterMs);
          const again = await take(cost);
          assert.equal(again.allowed, true, `seed ${seed}: told to wait ${verdict.retryAfterMs} ms`);
        }
        if (random() < 0.3) await clock.advance(Math.floor(random() * windowMs * 0.2));
      }
      for (const [index, { atMs }] of passed.entries()) {
        const within = passed.slice(index).filter((other) => other.atMs - atMs < windowMs);
        const sum = within.reduce((total, { cost }) => total + cost, 0);
        assert.ok(sum <= limit, `seed ${seed}: ${sum} within a window, limit ${limit}`);
      }
    }
  });
}
