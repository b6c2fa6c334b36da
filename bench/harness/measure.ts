import { join } from "node:path";
import { BenchError } from "./errors.ts";
import type { Lab } from "./lab.ts";
import { parseLoadReport, type LoadPlan, type LoadReport } from "./load-plan.ts";
import type { Question, Row } from "./question.ts";

const generator = join(import.meta.dirname, "load-generator.ts");
const maxWarmupSeconds = 3;

/** How long to measure. */
export interface Effort {
  /** How often each row takes its turn. */
  readonly rounds: number;
  /** Length of one counted window, in seconds. */
  readonly seconds: number;
}

/** One row in one round. */
export interface Sample {
  readonly row: string;
  /** From 1. */
  readonly round: number;
  readonly report: LoadReport;
}

/** Load before each window, so that code is compiled and connections are open: 3 s, less in a quick run. */
export function warmupSecondsOf({ seconds }: Effort): number {
  return Math.min(maxWarmupSeconds, seconds);
}

/**
 * Gives each row its turn, round by round (A B C A B C …), so that a slow minute of the machine falls on all of them.
 *
 * @throws {@link BenchError} `ERR_BENCH_LOAD` on any wrong reply or broken connection: a server that fails some
 *   requests does less work than one that answers all.
 */
export async function* measure(
  lab: Lab,
  question: Question,
  rows: readonly Row[],
  effort: Effort,
): AsyncGenerator<Sample> {
  for (let round = 1; round <= effort.rounds; round += 1) {
    for (const row of rows) {
      yield { row: row.name, round, report: await measureOnce(lab, question, row, effort) };
    }
  }
}

async function measureOnce(lab: Lab, { load }: Question, row: Row, effort: Effort): Promise<LoadReport> {
  const server = await row.start();
  const plan: LoadPlan = {
    load,
    port: server.port,
    serverPid: server.pid,
    warmupMs: warmupSecondsOf(effort) * 1_000,
    windowMs: effort.seconds * 1_000,
  };
  const text = await lab.run({
    name: "load generator",
    bin: process.execPath,
    args: [generator, JSON.stringify(plan)],
  });
  const report = parseLoadReport(text);
  if (report.errors > 0 || report.requests === 0) {
    const reasons = report.reasons.length === 0 ? "no reply was counted" : report.reasons.join("; ");
    throw new BenchError(
      "ERR_BENCH_LOAD",
      `${row.name}: ${report.errors} errors beside ${report.requests} right replies: ${reasons}`,
    );
  }
  await server.stop();
  return report;
}
