// What a run found: a row of medians each, the subject's ratio to every other row, and which targets are kept.
import { BenchError } from "./errors.ts";
import type { Machine } from "./machine.ts";
import type { Sample } from "./measure.ts";
import type { Effort, Figure, Question, RowRole, Target } from "./question.ts";
import { spreadOf, type Spread } from "./statistics.ts";

export interface RowResult {
  readonly name: string;
  readonly role: RowRole;
  /** Over the rounds, by the figure's key. A figure that the row does not give is absent. */
  readonly figures: Readonly<Record<string, Spread>>;
}

/** A figure of one row by that of another. */
export interface Ratio {
  readonly row: string;
  readonly comparedTo: string;
  /** Key of the figure. */
  readonly figure: string;
  /** Of the two medians. */
  readonly value: number;
  /** The ratio within each round, smallest and largest. */
  readonly min: number;
  readonly max: number;
}

export interface TargetResult extends Target {
  readonly figure: string;
  readonly value: number;
  readonly met: boolean;
}

export interface BenchResult {
  readonly question: string;
  readonly sentence: string;
  readonly machine: Machine;
  readonly figures: readonly Figure[];
  readonly shape: Question["shape"];
  readonly effort: Effort;
  /** What was measured, in words. */
  readonly description: string;
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
  const { figures, subject } = question;
  const rows = [...roles].map(([name, role]): RowResult => {
    const readings = samples.filter(({ row }) => row === name).map(({ reading }) => reading);
    const spreads = figures.flatMap(({ key }) => {
      const rounds = readings.flatMap((reading) => reading[key] ?? []);
      return rounds.length === 0 ? [] : [[key, spreadOf(rounds)] as const];
    });
    return { name, role, figures: Object.fromEntries(spreads) };
  });
  const others = rows.filter(({ name }) => name !== subject);
  const compared = figures.filter((figure) => figure.compared !== undefined);
  return {
    question: question.name,
    sentence: question.sentence,
    machine,
    figures,
    shape: question.shape,
    effort,
    description: question.describe(effort),
    rows,
    ratios: compared.flatMap(({ key }) =>
      others
        .filter((row) => isComparable(rows, subject, row, key))
        .map(({ name }) => ratioOf(rows, subject, name, key)),
    ),
    targets: question.targets.map((target) => judge(rows, target, compared)),
  };
}

/**
 * @throws {@link BenchError} `ERR_BENCH_DEFINITION` when a name is no row, or the row does not give the figure.
 */
export function ratioOf(rows: readonly RowResult[], row: string, comparedTo: string, figure: string): Ratio {
  const [above, below] = [spreadIn(rows, row, figure), spreadIn(rows, comparedTo, figure)];
  const byRound = above.rounds.map((value, round) => value / (below.rounds[round] ?? Number.NaN));
  return {
    row,
    comparedTo,
    figure,
    value: above.median / below.median,
    min: Math.min(...byRound),
    max: Math.max(...byRound),
  };
}

/** A target is met at exactly its ratio; a ratio that is not a number meets none. */
function judge(rows: readonly RowResult[], target: Target, [first]: readonly Figure[]): TargetResult {
  const { figure = first?.key ?? "" } = target;
  const { row, comparedTo } = target;
  const value =
    comparedTo === undefined ? spreadIn(rows, row, figure).median : ratioOf(rows, row, comparedTo, figure).value;
  return { ...target, figure, value, met: value <= target.atMost };
}

function isComparable(rows: readonly RowResult[], subject: string, other: RowResult, figure: string): boolean {
  return figure in other.figures && figure in (rows.find(({ name }) => name === subject)?.figures ?? {});
}

function spreadIn(rows: readonly RowResult[], name: string, figure: string): Spread {
  const row = rows.find((candidate) => candidate.name === name);
  if (row === undefined) {
    throw new BenchError(
      "ERR_BENCH_DEFINITION",
      `no row is called "${name}"; there are ${rows.map((one) => one.name).join(", ")}`,
    );
  }
  const spread = row.figures[figure];
  if (spread === undefined) {
    throw new BenchError(
      "ERR_BENCH_DEFINITION",
      `"${name}" has no figure "${figure}"; it has ${Object.keys(row.figures).join(", ")}`,
    );
  }
  return spread;
}
