// Question: does it matter to a request how many routes a gateway has?
//
// Floor:   ten routes.
// Plinth:  ten thousand, of which the same number is asked for.
// Shape:   four segments, one of them free; a method; no header to look at.
// Target:  at most 1.3 times.
import { join } from "node:path";
import { type ProgramRow, inProcess } from "../harness/in-process.ts";
import type { RowRole } from "../harness/question.ts";
import { nodeProgram } from "../subjects/programs.ts";

const row = (name: string, role: RowRole, file: string): ProgramRow => ({
  name,
  role,
  launch: nodeProgram(join("route-table", file)),
});

export const routeTable = inProcess({
  name: "route-table",
  sentence: "Does it matter to a request how many routes a gateway has?",
  subject: "10 000 routes",
  figures: [
    { key: "nanos", title: "ns", digits: 0, compared: "look-up" },
    { key: "bytes", title: "bytes", digits: 0 },
  ],
  effort: { rounds: 5, seconds: 3 },
  shape: { routes: 10_000, asked: 10 },
  describe: ({ rounds, seconds = 0 }) => `Ten routes asked for in turn; medians of ${rounds} rounds of ${seconds} s.`,
  targets: [{ row: "10 000 routes", comparedTo: "10 routes", atMost: 1.3 }],
  rows: [row("10 routes", "floor", "ten.ts"), row("10 000 routes", "plinth", "ten-thousand.ts")],
});
