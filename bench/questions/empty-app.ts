// Question: what does it take, in a process that is warm, to start an app without anything of its own and to stop it again?
//
// Floor:   an empty fastify, made, ready and closed: no route, no logger, no metrics.
// Plinth:  an app of the core module alone: config, logger, error bus, health, metrics, tracing seams; declared, checked,
//          started and stopped.
// Shape:   one after the other in one process, nothing listens, the log is thrown away. It is what a test pays for each app.
// Target:  at most 5 times the empty fastify, which does much less: a bound against sliding, not a contest.
import { join } from "node:path";
import { inProcess } from "../harness/in-process.ts";
import { nodeProgram } from "../subjects/programs.ts";

export const emptyApp = inProcess({
  name: "empty-app",
  sentence: "What does it take to start an app without anything of its own, and to stop it again?",
  subject: "plinth",
  figures: [
    { key: "micros", title: "start and stop µs", digits: 0, compared: "start and stop" },
    { key: "kib", title: "KiB", digits: 0 },
  ],
  effort: { rounds: 5, seconds: 5 },
  shape: {},
  describe: ({ rounds, seconds = 0 }) =>
    `One app after the other in a warm process; medians of ${rounds} rounds, each the median of many batches in ${seconds} s.`,
  targets: [{ row: "plinth", comparedTo: "fastify", atMost: 5 }],
  rows: [
    { name: "fastify", role: "floor", launch: nodeProgram(join("empty-app", "fastify.ts")) },
    { name: "plinth", role: "plinth", launch: nodeProgram(join("empty-app", "plinth.ts")) },
  ],
});
