import { seededRandom } from "../../pkg/resilience/src/testing/seeded-random.ts";
import { type BrownOutOutcome, type BrownOutPlan, type RetryHabit, runBrownOut } from "./brown-out-model.ts";

/** Forty seconds, in fifteen of which the lowest layer has a third more capacity than it needs, and one answer in seven is an error. */
export const brownOutPlan: BrownOutPlan = {
  seed: 7,
  requestsPerSecond: 50,
  seconds: 40,
  brownOut: { from: 10, to: 25, capacityRatio: 0.6, errorRatio: 0.15 },
  capacity: 450,
};

export const retryHabits = {
  none: { name: "no retries", maxAttempts: 1, hasBudget: false, handsOnRetryable: true },
  bare: { name: "3 attempts, no budget", maxAttempts: 3, hasBudget: false, handsOnRetryable: true },
  everyLayer: { name: "budgets, every layer retries", maxAttempts: 3, hasBudget: true, handsOnRetryable: true },
  plinth: { name: "budgets, given up is final", maxAttempts: 3, hasBudget: true, handsOnRetryable: false },
} satisfies Record<string, RetryHabit>;

/** The same minute with each habit. */
export function simulateBrownOut(plan: BrownOutPlan = brownOutPlan): readonly BrownOutOutcome[] {
  return Object.values(retryHabits).map((habit) => runBrownOut(plan, habit, seededRandom(plan.seed)));
}

/** One line for each habit, to be printed. */
export function toBrownOutTable(outcomes: readonly BrownOutOutcome[]): string {
  const percent = (ratio: number): string => `${(ratio * 100).toFixed(0)} %`;
  const rows = outcomes.map(({ name, load, worstLoad, answered }) => [
    name,
    ...load.map((times) => times.toFixed(2)),
    worstLoad.toFixed(2),
    percent(answered.before),
    percent(answered.during),
    percent(answered.after),
  ]);
  const head = ["clients", "top", "middle", "lowest", "worst second", "before", "during", "after"];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ");
  return [
    "Load of each layer by what it would be without retries, and requests answered before, during and after the brown-out.",
    "",
    ...[head, ...rows].map(line),
    "",
  ].join("\n");
}
