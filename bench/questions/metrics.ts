// Question: what do metrics cost a request that is counted and timed, and a process that is scraped?
//
// Peer:    @prometheus-io/client, the same metrics on a registry of its own.
// Plinth:  `createMetrics`, with its cap of series and its cleaning of label values; a scrape lets others have their turn.
// Shape:   250 sets of three labels, counted and timed in turn; a scrape of 5 000 series, 250 of them histograms of 14 buckets.
// Targets: no slower than the client where requests are, and a scrape that holds up others for no longer than half of the client's.
import { join } from "node:path";
import { type ProgramRow, inProcess } from "../harness/in-process.ts";
import type { RowRole } from "../harness/question.ts";
import { nodeProgram } from "../subjects/programs.ts";

const row = (name: string, role: RowRole, file: string): ProgramRow => ({
  name,
  role,
  launch: nodeProgram(join("metrics", file)),
});

export const metrics = inProcess({
  name: "metrics",
  sentence: "What do metrics cost a request that is counted and timed, and a process that is scraped?",
  subject: "plinth",
  figures: [
    { key: "countNanos", title: "count ns", digits: 0, compared: "to count a request" },
    { key: "countBytes", title: "bytes", digits: 0 },
    { key: "timeNanos", title: "time ns", digits: 0, compared: "to time a request" },
    { key: "timeBytes", title: "bytes", digits: 0 },
    { key: "scrapeMs", title: "scrape CPU ms", digits: 2, compared: "CPU of a scrape" },
    { key: "blockedMs", title: "longest block ms", digits: 2, compared: "longest block in a scrape" },
  ],
  effort: { rounds: 5, seconds: 6 },
  shape: { labelSets: 250, series: 5_000 },
  describe: ({ rounds, seconds = 0 }) =>
    `250 sets of 3 labels; a scrape of 5 000 series; medians of ${rounds} rounds of ${seconds} s.`,
  targets: [
    { row: "plinth", comparedTo: "@prometheus-io/client", figure: "countNanos", atMost: 1 },
    { row: "plinth", comparedTo: "@prometheus-io/client", figure: "timeNanos", atMost: 1 },
    { row: "plinth", comparedTo: "@prometheus-io/client", figure: "blockedMs", atMost: 0.5 },
  ],
  rows: [row("@prometheus-io/client", "peer", "prometheus-client.ts"), row("plinth", "plinth", "plinth.ts")],
});
