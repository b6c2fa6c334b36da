// Question: what does it cost to choose an instance for a call, and to give it back?
//
// Floor:   any of them at random, and nothing remembered.
// Peers:   in turn, with a count of what is in flight.
// Plinth:  `createBalancer` with everything on: latency, load, weights, slow start, outliers; each of its policies.
// Shape:   20 instances, 64 calls in flight. A call costs tens of microseconds: a tenth of one does not show.
import { join } from "node:path";
import { type ProgramRow, inProcess } from "../harness/in-process.ts";
import type { RowRole } from "../harness/question.ts";
import { nodeProgram } from "../subjects/programs.ts";

const row = (name: string, role: RowRole, file: string): ProgramRow => ({
  name,
  role,
  launch: nodeProgram(join("balancer", file)),
});

export const balancer = inProcess({
  name: "balancer",
  sentence: "What does it cost to choose an instance for a call, and to give it back?",
  subject: "p2c-ewma",
  figures: [
    { key: "nanos", title: "ns", digits: 0, compared: "pick and release" },
    { key: "bytes", title: "bytes", digits: 0 },
  ],
  effort: { rounds: 5, seconds: 3 },
  shape: { instances: 20, inFlight: 64 },
  describe: ({ rounds, seconds = 0 }) =>
    `20 instances, 64 calls in flight; medians of ${rounds} rounds of ${seconds} s.`,
  targets: [],
  rows: [
    row("random", "floor", "random.ts"),
    row("in turn", "peer", "round-robin.ts"),
    row("p2c-ewma", "plinth", "plinth-p2c-ewma.ts"),
    row("round-robin", "plinth", "plinth-round-robin.ts"),
    row("consistent-hash", "plinth", "plinth-consistent-hash.ts"),
  ],
});
