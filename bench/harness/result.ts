// What a run found: a row of medians each, the subject's ratio to every other row, and which targets are kept.
import { BenchError } from "./errors.ts";
import type { LoadReport } from "./load-plan.ts";
import type { Machine } from "./machine.ts";
import { warmupSecondsOf, type Effort, type Sample } from "./measure.ts";
import type { Question, RowRole, Target } from "./question.ts";
import { spreadOf, type Spread } from "./statistics.ts";

export interface RowResult {
  readonly name: string;
  readonly role: RowRole;
  /** CPU time of the server and its descendants, per completed request, in microseconds. */
  readonly cpuMicrosPerRequest: Spread;
  readonly requestsPerSecond: Spread;
  readonly p50Ms: Spread;
  readonly p99Ms: Spread;
  /** CPU time by wall time. Well below 1 the load side was the limit, and throughput compares nothing. */
  readonly busyRatio: Spread;
}

/** CPU per request of one row by that of another. */
export interface Ratio {
  readonly row: string;
  readonly comparedTo: string;
  /** Of the two medians. */
  readonly value: number;
  /** The ratio within each round, smallest and largest. */
  readonly min: number;
  readonly max: number;
}

export interface TargetResult extends Target {
  readonly value: number;
  readonly met: boolean;
}

export interface BenchResult {
  readonly question: string;
  readonly sentence: string;
  readonly machine: Machine;
  readonly shape: Question["load"] & Effort & { readonly warmupSeconds: number };
  readonly rows: readonly RowResult[];
  readonly ratios: readonly Ratio[];
  readonly targets: readonly TargetResult[];
}

export function summarize(
  question: Question,
  roles: ReadonlyMap<string, RowRole>,
  samples: readonly Sample[],
  effort: Effort,
  machine: Machine,
): BenchResult {
  const rows = [...roles].map(([name, role]): RowResult => {
    const reports = samples.filter(({ row }) => row === name).map(({ report }) => report);
    const over = (pick: (report: LoadReport) => number): Spread => spreadOf(reports.map(pick));
    return {
      name,
      role,
      cpuMicrosPerRequest: over(cpuMicrosPerRequest),
      requestsPerSecond: over(({ requests, seconds }) => requests / seconds),
      p50Ms: over(({ p50Ms }) => p50Ms),
      p99Ms: over(({ p99Ms }) => p99Ms),
      busyRatio: over(({ cpuSeconds, seconds }) => cpuSeconds / seconds),
    };
  });
  const others = rows.filter(({ name }) => name !== question.subject);
  return {
    question: question.name,
    sentence: question.sentence,
    machine,
    shape: { ...question.load, ...effort, warmupSeconds: warmupSecondsOf(effort) },
    rows,
    ratios: others.map(({ name }) => ratioOf(rows, question.subject, name)),
    targets: question.targets.map((target) => judge(rows, target)),
  };
}

/** The CPU time of one request, in microseconds. */
export function cpuMicrosPerRequest({ cpuSeconds, requests }: Pick<LoadReport, "cpuSeconds" | "requests">): number {
  return (cpuSeconds * 1_000_000) / requests;
}

/**
 * @throws {@link BenchError} `ERR_BENCH_DEFINITION` when a name is no row.
 */
export function ratioOf(rows: readonly RowResult[], row: string, comparedTo: string): Ratio {
  const [above, below] = [cpuOf(rows, row), cpuOf(rows, comparedTo)];
  const byRound = above.rounds.map((value, round) => value / (below.rounds[round] ?? Number.NaN));
  return {
    row,
    comparedTo,
    value: above.median / below.median,
    min: Math.min(...byRound),
    max: Math.max(...byRound),
  };
}

/** A target is met at exactly its ratio; a ratio that is not a number meets none. */
export function judge(rows: readonly RowResult[], target: Target): TargetResult {
  const { value } = ratioOf(rows, target.row, target.comparedTo);
  return { ...target, value, met: value <= target.atMost };
}

function cpuOf(rows: readonly RowResult[], name: string): Spread {
  const row = rows.find((candidate) => candidate.name === name);
  if (row === undefined) {
    throw new BenchError(
      "ERR_BENCH_DEFINITION",
      `no row is called "${name}"; there are ${rows.map((one) => one.name).join(", ")}`,
    );
  }
  return row.cpuMicrosPerRequest;
}
