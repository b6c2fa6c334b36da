// Question: what does a container add to calling constructors by hand: to build, start and stop a graph, and for each request?
//
// Floor:   the same constructors called in order, stopped in reverse.
// Peers:   awilix (proxy, strict), inversify. Neither has a start hook: their factories start what they make.
// Plinth:  a provider with create, start and stop for each thing; a request scope.
// Shape:   1 000 things in 100 layers of 10, each needing 3 of the layer above, declared, checked, built, started and stopped again
//          and again; a request makes 5 things, each on one of the graph's and the one before, and stops them. Hooks that do
//          nothing: what is timed is the container. A service starts once; it serves requests all day.
import { join } from "node:path";
import { type ProgramRow, inProcess } from "../harness/in-process.ts";
import type { RowRole } from "../harness/question.ts";
import { nodeProgram } from "../subjects/programs.ts";

const row = (name: string, role: RowRole, file: string): ProgramRow => ({
  name,
  role,
  launch: nodeProgram(join("container", file)),
});

export const container = inProcess({
  name: "container",
  sentence: "What does a container add to calling constructors by hand, at the start and for each request?",
  subject: "plinth",
  figures: [
    { key: "graphMs", title: "start and stop ms", digits: 2, compared: "start and stop of 1 000" },
    { key: "graphKib", title: "KiB", digits: 0 },
    { key: "requestMicros", title: "request µs", digits: 2, compared: "one request of 5" },
    { key: "requestBytes", title: "bytes", digits: 0 },
  ],
  effort: { rounds: 5, seconds: 4 },
  shape: { things: 1_000, needs: 3, requestThings: 5 },
  describe: ({ rounds, seconds = 0 }) =>
    `1 000 things with 3 needs each, 5 things to a request; medians of ${rounds} rounds, each the median of many batches in ${seconds} s.`,
  targets: [],
  rows: [
    row("by hand", "floor", "by-hand.ts"),
    row("awilix", "peer", "awilix.ts"),
    row("inversify", "peer", "inversify.ts"),
    row("plinth", "plinth", "plinth.ts"),
  ],
});
