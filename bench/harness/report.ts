// The result as a person reads it, on a terminal and in bench/results/.
import type { BenchResult, Ratio, TargetResult } from "./result.ts";
import type { Spread } from "./statistics.ts";
import { toTable } from "./table.ts";

export function toMarkdown(result: BenchResult): string {
  const { machine, shape } = result;
  const rows = result.rows.map((row) => [
    row.name,
    row.role,
    row.cpuMicrosPerRequest.median.toFixed(1),
    range(row.cpuMicrosPerRequest, 1),
    row.requestsPerSecond.median.toFixed(0),
    row.p50Ms.median.toFixed(2),
    row.p99Ms.median.toFixed(2),
    `${(row.busyRatio.median * 100).toFixed(0)} %`,
  ]);
  const table = toTable(
    [
      ["server", "left"],
      ["role", "left"],
      ["CPU µs/request", "right"],
      ["min–max", "right"],
      ["requests/s", "right"],
      ["p50 ms", "right"],
      ["p99 ms", "right"],
      ["busy", "right"],
    ],
    rows,
  );
  const ratios = toTable(
    [
      ["CPU per request", "left"],
      ["ratio", "right"],
      ["by round", "right"],
      ["target", "left"],
    ],
    result.ratios.map((ratio) => [
      `${ratio.row} / ${ratio.comparedTo}`,
      ratio.value.toFixed(2),
      range(ratio, 2),
      targetOf(result.targets, ratio),
    ]),
  );
  const facts = [
    `${shape.connections} connections, ${shape.bodyBytes}-byte body, ${shape.warmupSeconds} s of warm-up, medians of ${shape.rounds} rounds of ${shape.seconds} s.`,
    `Node ${machine.node}, ${machine.cpu}, ${machine.cores} cores, ${machine.system}, load average ${machine.loadAverage} at the start.`,
    `Commit ${machine.commit}${machine.dirty ? " with changes" : ""}, ${machine.date}.`,
  ];
  return `# ${result.question}\n\n${result.sentence}\n\n${table}\n\n${ratios}\n\n${facts.join("\n")}\n`;
}

/** How a target reads: `plinth ≤ 2.5 × nginx`. */
export function describeTarget({
  row,
  comparedTo,
  atMost,
}: Pick<TargetResult, "row" | "comparedTo" | "atMost">): string {
  return `${row} ≤ ${atMost} × ${comparedTo}`;
}

function targetOf(targets: readonly TargetResult[], { row, comparedTo }: Ratio): string {
  return targets
    .filter((target) => target.row === row && target.comparedTo === comparedTo)
    .map(({ atMost, met }) => `≤ ${atMost} ${met ? "met" : "MISSED"}`)
    .join(", ");
}

function range({ min, max }: Pick<Spread, "min" | "max">, digits: number): string {
  return `${min.toFixed(digits)}–${max.toFixed(digits)}`;
}
