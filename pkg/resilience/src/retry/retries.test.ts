import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { createRetryBudget } from "./budget.ts";
import { createHedging } from "./hedging.ts";
import { attemptTimeoutMs, createRetries, type FailedAttempt, isRetryable, retryDelayMs } from "./retries.ts";
import { parseRetryAfterMs } from "./retry-after.ts";

/** A call that may be tried again. */
const failed: FailedAttempt = {
  attempts: 1,
  isUnsent: false,
  isIdempotent: true,
  isRetryable: true,
  hasReplyBegun: false,
  isCancelled: false,
  remainingMs: 1_000,
};
const almostOne = () => 0.999_999;

describe("isRetryable", () => {
  it("wants that nothing was sent, or that twice is the same as once", () => {
    assert.equal(isRetryable(failed), true);
    assert.equal(isRetryable({ ...failed, isIdempotent: false }), false);
    assert.equal(isRetryable({ ...failed, isIdempotent: false, isUnsent: true }), true);
  });

  it("is false when it would not help, somebody broke it off, or the reply has begun, even if nothing was sent", () => {
    for (const isUnsent of [true, false]) {
      assert.equal(isRetryable({ ...failed, isUnsent, isRetryable: false }), false);
      assert.equal(isRetryable({ ...failed, isUnsent, isCancelled: true }), false);
      assert.equal(isRetryable({ ...failed, isUnsent, hasReplyBegun: true }), false);
    }
  });
});

describe("retryDelayMs", () => {
  it("doubles the ceiling up to the cap, and begins after what the far side asks for", () => {
    const ceilings = [1, 2, 3, 4, 5, 6].map((attempts) => retryDelayMs(attempts, { random: almostOne }));
    assert.deepEqual(ceilings, [24, 49, 99, 199, 249, 249]);
    assert.equal(retryDelayMs(1, { random: () => 0 }), 0);
    assert.equal(retryDelayMs(1, { random: () => 0, retryAfterMs: 1_000.2 }), 1_001);
    assert.equal(retryDelayMs(1, { random: almostOne, retryAfterMs: 1_000 }), 1_099);
    assert.equal(retryDelayMs(1, { random: almostOne, retryAfterMs: 100 }), 124, "never less than without");
  });
});

describe("attemptTimeoutMs", () => {
  it("leaves a margin for the way back, and nothing where nothing is left", () => {
    assert.equal(attemptTimeoutMs(300), 295);
    assert.equal(attemptTimeoutMs(300, { maxMs: 100 }), 100);
    assert.equal(attemptTimeoutMs(5), 0);
    assert.equal(attemptTimeoutMs(-3), 0);
    assert.equal(attemptTimeoutMs(NaN, { marginMs: 0 }) > 0, false);
    assert.equal(attemptTimeoutMs(Infinity), Infinity);
  });
});

describe("createRetries", () => {
  it("tries again after a jittered wait, and at once the first time when nothing was sent", () => {
    const retries = createRetries({ random: almostOne });
    assert.deepEqual(retries.next(failed), { retry: true, delayMs: 24 });
    assert.deepEqual(retries.next({ ...failed, attempts: 2 }), { retry: true, delayMs: 49 });
    assert.deepEqual(retries.next({ ...failed, isUnsent: true }), { retry: true, delayMs: 0 });
    assert.deepEqual(retries.next({ ...failed, isUnsent: true, attempts: 2 }), { retry: true, delayMs: 49 });
  });

  it("says why there is no other attempt", () => {
    const retries = createRetries({ maxAttempts: 2, random: almostOne });
    const reasonOf = (one: Partial<FailedAttempt>) => {
      const verdict = retries.next({ ...failed, ...one });
      return verdict.retry ? `after ${verdict.delayMs}` : verdict.reason;
    };
    assert.equal(reasonOf({ isIdempotent: false }), "not_retryable");
    assert.equal(reasonOf({ attempts: 2 }), "attempts");
    assert.equal(reasonOf({ remainingMs: 9 }), "deadline");
    assert.equal(reasonOf({ remainingMs: NaN }), "deadline");
    assert.equal(reasonOf({ remainingMs: Infinity }), "after 24");
    assert.equal(reasonOf({ retryAfterMs: 10_001 }), "retry_after");
    assert.equal(reasonOf({ retryAfterMs: 995 }), "deadline");
    assert.equal(reasonOf({ retryAfterMs: 500 }), "after 549");
  });

  it("never waits so long that the next attempt would begin with less than the least time left", () => {
    const retries = createRetries({ random: almostOne, minAttemptMs: 10 });
    for (let remainingMs = 10; remainingMs < 60; remainingMs++) {
      const verdict = retries.next({ ...failed, remainingMs });
      assert.ok(verdict.retry && remainingMs - verdict.delayMs >= 10, `${remainingMs}`);
    }
  });

  it("takes from the budget only what it says yes to", () => {
    const budget = createRetryBudget({ ratio: 0.2, minRetries: 1, clock: new FakeClock() });
    const retries = createRetries({ budget });
    for (let i = 0; i < 10; i++) retries.begin();
    retries.next({ ...failed, isIdempotent: false });
    retries.next({ ...failed, remainingMs: 1 });
    assert.equal(budget.available, 2);
    assert.equal(retries.next(failed).retry, true);
    assert.equal(retries.next(failed).retry, true);
    assert.deepEqual(retries.next(failed), { retry: false, reason: "budget" });
    assert.equal(budget.refused, 1);
  });

  it("refuses options out of range by name", () => {
    const code = "ERR_OPTION_RANGE";
    assert.throws(() => createRetries({ maxAttempts: 0 }), { code, message: /^maxAttempts / });
    assert.throws(() => createRetries({ baseDelayMs: 0 }), { code, message: /^baseDelayMs / });
    assert.throws(() => createRetries({ minAttemptMs: -1 }), { code, message: /^minAttemptMs / });
    assert.throws(() => createRetryBudget({ ratio: 1.1 }), { code, message: /^ratio / });
    assert.throws(() => createRetryBudget({ windowMs: 0 }), { code, message: /^windowMs / });
    assert.throws(() => createHedging({ quantile: 1 }), { code, message: /^quantile / });
  });
});

describe("parseRetryAfterMs", () => {
  const nowMs = Date.UTC(2026, 9, 21, 7, 28, 0);

  it("reads seconds, and dates in the three forms", () => {
    assert.equal(parseRetryAfterMs("2", { nowMs }), 2_000);
    assert.equal(parseRetryAfterMs(" 0 ", { nowMs }), 0);
    assert.equal(parseRetryAfterMs("Wed, 21 Oct 2026 07:28:05 GMT", { nowMs }), 5_000);
    assert.equal(parseRetryAfterMs("Wednesday, 21-Oct-26 07:28:05 GMT", { nowMs }), 5_000);
    assert.equal(parseRetryAfterMs("Wed Oct 21 07:28:05 2026", { nowMs }), 5_000);
  });

  it("counts a date from that of the reply, and one that has passed as now", () => {
    const date = "Wed, 21 Oct 2026 09:00:00 GMT";
    assert.equal(parseRetryAfterMs("Wed, 21 Oct 2026 09:00:03 GMT", { nowMs, date }), 3_000);
    assert.equal(parseRetryAfterMs("Wed, 21 Oct 2026 09:00:03 GMT", { nowMs, date: "soon" }), 5_523_000);
    assert.equal(parseRetryAfterMs("Wed, 21 Oct 2026 07:00:00 GMT", { nowMs }), 0);
  });

  it("is bounded by a day, and reads nothing else", () => {
    assert.equal(parseRetryAfterMs("9999999999", { nowMs }), 86_400_000);
    assert.equal(parseRetryAfterMs("Wed, 21 Oct 2099 07:28:05 GMT", { nowMs }), 86_400_000);
    for (const value of [
      undefined,
      "",
      "-1",
      "1.5",
      "soon",

      "2026-10-21T07:28:05Z",
      "99999999999",
      "Wed, 99 Oct 2026 07:28:05 GMT",
    ])
      assert.equal(parseRetryAfterMs(value, { nowMs }), undefined, `${value}`);
  });
});

describe("createHedging", () => {
  it("waits as long as all but the slowest few take, once it knows enough, and forgets what is old", async () => {
    const clock = new FakeClock();
    const hedging = createHedging({ clock, windowMs: 1_000, minCalls: 50 });
    for (let i = 0; i < 49; i++) hedging.observe(i < 47 ? 20 : 500);
    assert.equal(hedging.delayMs(Infinity), undefined, "too little is known");
    for (let i = 0; i < 51; i++) hedging.observe(20);
    const delayMs = hedging.delayMs(Infinity) ?? NaN;
    assert.ok(delayMs >= 20 && delayMs < 22, `${delayMs}: within a step of the scale`);
    assert.equal(hedging.delayMs(delayMs * 2 - 1), undefined, "the second could not be in time");
    await clock.advance(1_999);
    assert.equal(hedging.delayMs(Infinity), delayMs);
    await clock.advance(1_001);
    assert.equal(hedging.delayMs(Infinity), undefined);
    for (let i = 0; i < 50; i++) hedging.observe(20);
    await clock.advance(2_000);
    assert.equal(hedging.delayMs(Infinity), undefined, "nobody asked for two windows");
  });

  it("takes from the same budget as retries, and never hedges sooner than the least delay", () => {
    const clock = new FakeClock();
    const budget = createRetryBudget({ minRetries: 1, clock });
    const hedging = createHedging({ clock, budget, minCalls: 1, minDelayMs: 30 });
    hedging.observe(0);
    assert.equal(hedging.delayMs(1_000), 30);
    assert.equal(hedging.take(), true);
    assert.equal(hedging.take(), false);
  });
});
