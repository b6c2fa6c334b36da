// The result as a person reads it, on a terminal and in bench/results/, and as another program does.
import type { Figure } from "./question.ts";
import type { BenchResult, Ratio, RowResult, TargetResult } from "./result.ts";
import type { Spread } from "./statistics.ts";
import { type Align, toTable } from "./table.ts";

export function toMarkdown(result: BenchResult): string {
  const { figures, machine, ratios } = result;
  const rows = toTable(
    [["row", "left"], ["role", "left"], ...figures.flatMap(headsOf)],
    result.rows.map((row) => [row.name, row.role, ...figures.flatMap((figure) => cellsOf(row, figure))]),
  );
  const tables = figures
    .filter(({ key }) => ratios.some(({ figure }) => figure === key))
    .map(({ key, compared = "" }) =>
      toTable(
        [
          [compared, "left"],
          ["ratio", "right"],
          ["by round", "right"],
          ["target", "left"],
        ],
        ratios
          .filter(({ figure }) => figure === key)
          .map((ratio) => [
            `${ratio.row} / ${ratio.comparedTo}`,
            ratio.value.toFixed(2),
            range(ratio, 2),
            targetOf(result.targets, ratio),
          ]),
      ),
    );
  const own = result.targets.filter((target) => !ratios.some((ratio) => isOf(target, ratio)));
  if (own.length > 0)
    tables.push(
      toTable(
        ownHeads,
        own.map((target) => ownCells(figures, target)),
      ),
    );
  const facts = [
    result.description,
    `Node ${machine.node}, ${machine.cpu}, ${machine.cores} cores, ${machine.system}, load average ${machine.loadAverage} at the start.`,
    `Commit ${machine.commit}${machine.dirty ? " with changes" : ""}, ${machine.date}.`,
  ];
  return `# ${result.question}\n\n${[result.sentence, rows, ...tables].join("\n\n")}\n\n${facts.join("\n")}\n`;
}

/** The result for another program: shape and effort as one, and each row's figures beside its name. */
export function toJson({ figures, rows, shape, effort, ...result }: BenchResult): string {
  const flat = rows.map(({ name, role, figures: spreads }) => ({ name, role, ...spreads }));
  return `${JSON.stringify({ ...result, shape: { ...shape, ...effort }, figures, rows: flat }, null, 2)}\n`;
}

/** How a target reads: `plinth ≤ 2.5 × nginx`, `lost of plinth ≤ 0`. */
export function describeTarget({
  row,
  comparedTo,
  figure,
  atMost,
}: Pick<TargetResult, "row" | "comparedTo" | "figure" | "atMost">): string {
  return comparedTo === undefined ? `${figure} of ${row} ≤ ${atMost}` : `${row} ≤ ${atMost} × ${comparedTo}`;
}

/** A figure with its unit's digits: `12.3`, `98 %`. */
export function formatFigure({ digits, percent = false }: Figure, value: number): string {
  return percent ? `${(value * 100).toFixed(digits)} %` : value.toFixed(digits);
}

function headsOf({ title, compared }: Figure): (readonly [string, Align])[] {
  return compared === undefined
    ? [[title, "right"]]
    : [
        [title, "right"],
        ["min–max", "right"],
      ];
}

function cellsOf(row: RowResult, figure: Figure): string[] {
  const spread = row.figures[figure.key];
  const median = spread === undefined ? "–" : formatFigure(figure, spread.median);
  if (figure.compared === undefined) return [median];
  return [median, spread === undefined ? "–" : range(spread, figure.digits)];
}

function targetOf(targets: readonly TargetResult[], ratio: Ratio): string {
  return targets
    .filter((target) => isOf(target, ratio))
    .map(verdictOf)
    .join(", ");
}

function isOf(target: TargetResult, { row, comparedTo, figure }: Ratio): boolean {
  return target.row === row && target.comparedTo === comparedTo && target.figure === figure;
}

const ownHeads: readonly (readonly [string, Align])[] = [
  ["kept besides", "left"],
  ["figure", "right"],
  ["target", "left"],
];

function ownCells(figures: readonly Figure[], target: TargetResult): string[] {
  const figure = figures.find(({ key }) => key === target.figure);
  const { title = target.figure, digits = 2 } = figure ?? {};
  const { row, comparedTo, value } = target;
  if (comparedTo !== undefined) return [`${row} / ${comparedTo}, ${title}`, value.toFixed(2), verdictOf(target)];
  return [`${row}, ${title}`, value.toFixed(digits), verdictOf(target)];
}

function verdictOf({ atMost, met }: TargetResult): string {
  return `≤ ${atMost} ${met ? "met" : "MISSED"}`;
}

function range({ min, max }: Pick<Spread, "min" | "max">, digits: number): string {
  return `${min.toFixed(digits)}–${max.toFixed(digits)}`;
}
