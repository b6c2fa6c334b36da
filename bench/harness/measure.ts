import type { Effort, Reading, Row } from "./question.ts";

/** One row in one round. */
export interface Sample {
  readonly row: string;
  /** From 1. */
  readonly round: number;
  readonly reading: Reading;
}

/** Gives each row its turn, round by round (A B C A B C …), so that a slow minute of the machine falls on all of them. */
export async function* measure(rows: readonly Row[], effort: Effort): AsyncGenerator<Sample> {
  for (let round = 1; round <= effort.rounds; round += 1) {
    for (const row of rows) yield { row: row.name, round, reading: await row.measure(effort) };
  }
}
