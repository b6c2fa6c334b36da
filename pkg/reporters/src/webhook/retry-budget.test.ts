import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { RetryBudget } from "./retry-budget.ts";

function retriesOf(budget: RetryBudget, batches: number): number {
  let retries = 0;
  for (let batch = 0; batch < batches; batch++) {
    budget.deposit();
    for (let asked = 0; asked < 3; asked++) if (budget.take()) retries += 1;
  }
  return retries;
}

describe("RetryBudget", () => {
  it("gives ten at the start, then the share of the batches", () => {
    const retries = retriesOf(new RetryBudget(0.2), 1_000);
    assert.ok(retries >= 205 && retries <= 211, `${retries} retries of 1 000 batches`);
  });

  it("saves up no more than ten over a calm time", () => {
    const budget = new RetryBudget(1);
    for (let batch = 0; batch < 1_000; batch++) budget.deposit();
    let free = 0;
    while (budget.take()) free += 1;
    assert.equal(free, 10);
  });

  it("of none never gives one", () => {
    assert.equal(retriesOf(new RetryBudget(0), 100), 0);
  });
});
