import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { createRateLimiter } from "./rate-limiter.ts";
import { seededRandom } from "./testing/seeded-random.ts";

describe("createRateLimiter", () => {
  it("lets exactly the limit through at once, and says what is left", () => {
    const limiter = createRateLimiter({ limit: 50, windowMs: 10_000, clock: new FakeClock() });
    const verdicts = Array.from({ length: 60 }, () => limiter.take("alice"));
    assert.equal(verdicts.filter(({ allowed }) => allowed).length, 50);
    assert.deepEqual(verdicts[0], { allowed: true, remaining: 49, retryAfterMs: 0, resetMs: 10_000 });
    assert.deepEqual(verdicts[49], { allowed: true, remaining: 0, retryAfterMs: 0, resetMs: 10_000 });
    assert.deepEqual(verdicts[50], { allowed: false, remaining: 0, retryAfterMs: 10_000, resetMs: 10_000 });
  });

  it("lets no more through while the window lasts, however slowly they come, and refusals cost nothing", async () => {
    const clock = new FakeClock();
    const limiter = createRateLimiter({ limit: 50, windowMs: 10_000, clock });
    let allowed = 0;
    for (let i = 0; i < 200; i++) {
      if (limiter.take("alice").allowed) allowed++;
      await clock.advance(50);
    }
    assert.equal(allowed, 50, "in 10 s");
    assert.deepEqual(limiter.take("alice"), { allowed: false, remaining: 0, retryAfterMs: 450, resetMs: 2_450 });
    await clock.advance(450);
    assert.deepEqual(
      Array.from({ length: 11 }, () => limiter.take("alice").allowed).filter(Boolean).length,
      10,
      "those of the slice that has left the window",
    );
  });

  it("keeps keys apart", () => {
    const limiter = createRateLimiter({ limit: 1, windowMs: 1_000, clock: new FakeClock() });
    assert.equal(limiter.take("a").allowed, true);
    assert.equal(limiter.take("b").allowed, true);
    assert.equal(limiter.take("a").allowed, false);
  });

  for (const [limit, windowMs] of [
    [3, 1_000],
    [7, 1_000],
    [49, 9_973],
    [1_000_000, 1_000],
    [1, 86_400_000],
  ] as const) {
    it(`is exact for ${limit} per ${windowMs} ms, which do not divide evenly`, () => {
      const limiter = createRateLimiter({ limit, windowMs, clock: new FakeClock() });
      let allowed = 0;
      for (let i = 0; i < limit + 10; i++) if (limiter.take("k").allowed) allowed++;
      assert.equal(allowed, limit);
    });
  }

  it("never lets more than the limit through in any window, and waiting as told is always enough", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = seededRandom(seed);
      const clock = new FakeClock();
      const limit = 1 + Math.floor(random() * 20);
      const windowMs = 100 + Math.floor(random() * 2_000);
      const limiter = createRateLimiter({ limit, windowMs, clock });
      const passedAtMs: number[] = [];
      for (let step = 0; step < 300; step++) {
        const verdict = limiter.take("k");
        if (verdict.allowed) passedAtMs.push(clock.monotonicMs());
        else if (random() < 0.1) {
          await clock.advance(verdict.retryAfterMs);
          assert.equal(limiter.take("k").allowed, true, `seed ${seed}: told to wait ${verdict.retryAfterMs} ms`);
          passedAtMs.push(clock.monotonicMs());
        }
        if (random() < 0.3) await clock.advance(Math.floor(random() * windowMs * 0.2));
      }
      for (const [index, atMs] of passedAtMs.entries()) {
        const within = passedAtMs.slice(index).filter((other) => other - atMs < windowMs).length;
        assert.ok(within <= limit, `seed ${seed}: ${within} within a window, limit ${limit}`);
      }
    }
  });

  it("takes as many at once as something costs, all or none, and says how long until there are so many", async () => {
    const clock = new FakeClock();
    const limiter = createRateLimiter({ limit: 10, windowMs: 1_000, clock });
    limiter.take("k", 3);
    await clock.advance(100);
    limiter.take("k", 4);
    await clock.advance(100);
    assert.deepEqual(limiter.take("k", 4), { allowed: false, remaining: 3, retryAfterMs: 800, resetMs: 900 });
    assert.deepEqual(limiter.take("k", 7), { allowed: false, remaining: 3, retryAfterMs: 900, resetMs: 900 });
    assert.equal(limiter.take("k", 3).allowed, true, "what was refused cost nothing");
    await clock.advance(800);
    assert.deepEqual(limiter.take("k", 3), { allowed: true, remaining: 0, retryAfterMs: 0, resetMs: 1_000 });
    for (const cost of [0, 11, 1.5, Number.NaN]) {
      assert.throws(() => limiter.take("k", cost), { code: "ERR_OPTION_RANGE", message: /^cost / });
    }
  });

  it("says without taking what there is, and forgets a key that is to be full again", async () => {
    const clock = new FakeClock();
    const limiter = createRateLimiter({ limit: 2, windowMs: 1_000, clock });
    const full = { allowed: true, remaining: 2, retryAfterMs: 0, resetMs: 0 };
    assert.deepEqual([limiter.peek("k"), limiter.peek("k", 2)], [full, full]);
    assert.equal(limiter.keys, 0);
    limiter.take("k");
    await clock.advance(400);
    assert.deepEqual(limiter.peek("k"), { allowed: true, remaining: 1, retryAfterMs: 0, resetMs: 600 });
    assert.deepEqual(limiter.peek("k", 2), { allowed: false, remaining: 1, retryAfterMs: 600, resetMs: 600 });
    assert.equal(limiter.used("k"), 1);
    limiter.forget("k");
    assert.deepEqual([limiter.used("k"), limiter.peek("k")], [0, full]);
  });

  it("stays within maxKeys whatever number of keys comes, and keeps those in use", () => {
    const clock = new FakeClock();
    const limiter = createRateLimiter({ limit: 1, windowMs: 60_000, maxKeys: 1_000, clock });
    limiter.take("busy");
    for (let i = 0; i < 100_000; i++) {
      limiter.take(`hostile-${i}`);
      assert.ok(limiter.keys <= 1_000);
    }
    assert.ok(limiter.forgotten >= 98_000, `${limiter.forgotten}`);
    limiter.take("recent");
    for (let i = 0; i < 400; i++) limiter.take(`more-${i}`);
    assert.equal(limiter.take("recent").allowed, false, "a key used among the last maxKeys / 2 is remembered");
  });

  it("forgets keys that are full again, without counting them as lost", async () => {
    const clock = new FakeClock();
    const limiter = createRateLimiter({ limit: 5, windowMs: 1_000, clock });
    for (let i = 0; i < 1_000; i++) limiter.take(`k${i}`);
    assert.equal(limiter.keys, 1_000);
    for (let i = 0; i < 2; i++) {
      await clock.advance(1_050);
      limiter.take("x");
    }
    assert.ok(limiter.keys <= 2, `${limiter.keys}`);
    assert.equal(limiter.forgotten, 0);
  });

  it("remembers a used-up key for the whole window, whenever the table turns over", async () => {
    const clock = new FakeClock();
    const limiter = createRateLimiter({ limit: 2, windowMs: 1_000, clock });
    await clock.advance(999);
    limiter.take("k");
    limiter.take("k");
    for (let ms = 0; ms < 999; ms++) {
      await clock.advance(1);
      limiter.take("other");
      assert.equal(limiter.take("k").allowed, false, `after ${ms + 1} ms`);
    }
    await clock.advance(1);
    assert.equal(limiter.take("k").allowed, true);
  });

  for (const [option, value] of [
    ["limit", 0],
    ["limit", 1.5],
    ["limit", Number.NaN],
    ["windowMs", 0],
    ["maxKeys", 1],
  ] as const) {
    it(`refuses ${option} ${value} and names it`, () => {
      assert.throws(() => createRateLimiter({ limit: 1, windowMs: 1, [option]: value }), {
        code: "ERR_OPTION_RANGE",
        message: new RegExp(`^${option} `),
      });
    });
  }
});
