// The bench's command line over questions of its own, for main.test.ts: quick rows, and targets that no machine can
// meet or miss by chance. The first argument says where results go.
import { join } from "node:path";
import { startNode } from "../subjects/programs.ts";
import { replyBytes } from "../subjects/reply.ts";
import { BenchError } from "./errors.ts";
import { fromCold } from "./from-cold.ts";
import { inProcess } from "./in-process.ts";
import { main } from "./main.ts";
import { type LoadQuestion, underLoad } from "./under-load.ts";

const smoke: LoadQuestion = {
  name: "smoke",
  sentence: "Does the harness work?",
  subject: "fastify",
  load: { connections: 8, path: "/item", status: 200, bodyBytes: replyBytes },
  targets: [
    { row: "fastify", comparedTo: "node:http", atMost: 1_000 },
    { row: "fastify", comparedTo: "node:http", atMost: 0.001 },
  ],
  prepare: async (lab) => [
    { name: "node:http", role: "floor", start: () => startNode(lab, "bare-node.ts") },
    { name: "fastify", role: "peer", start: () => startNode(lab, "bare-fastify.ts") },
  ],
};

const wrongLength: LoadQuestion = {
  ...smoke,
  name: "wrong-length",
  load: { ...smoke.load, bodyBytes: replyBytes + 1 },
};

const missingPeer: LoadQuestion = {
  ...smoke,
  name: "missing-peer",
  prepare: () => Promise.reject(new BenchError("ERR_BENCH_PEER_MISSING", "this bench needs a peer: install it")),
};

const inline = (script: string) => ({ bin: process.execPath, args: ["--eval", script] });

const cold = fromCold({
  name: "smoke-cold",
  sentence: "Does it start?",
  subject: "late",
  effort: { rounds: 2 },
  readyPath: "/ready",
  targets: [],
  prepare: async () =>
    // The second is up at once and ready at the tenth question.
    (["at-once", "late"] as const).map((name) => ({
      name,
      role: "peer",
      launch: (port) => ({
        name,
        ...inline(`let left = ${name === "late" ? 9 : 0}; require("node:http").createServer((_, reply) =>
          reply.writeHead(left-- > 0 ? 503 : 200).end()).listen(${port}, "127.0.0.1")`),
      }),
    })),
});

const program = inProcess({
  name: "smoke-program",
  sentence: "How many seconds was it told?",
  subject: "double",
  effort: { rounds: 1, seconds: 3 },
  figures: [{ key: "told", title: "told s", digits: 0, compared: "told" }],
  shape: {},
  describe: () => "Seconds.",
  targets: [{ row: "double", comparedTo: "single", atMost: 2 }],
  rows: [1, 2].map((factor) => ({
    name: factor === 1 ? "single" : "double",
    role: "peer",
    launch: {
      name: "told",
      ...inline(`console.log(JSON.stringify({ told: ${factor} * Number(process.argv.at(-1)) }))`),
    },
  })),
});

const [resultsDirectory = "", ...argv] = process.argv.slice(2);
process.exitCode = await main(argv, {
  questions: [...[smoke, wrongLength, missingPeer].map(underLoad), cold, program],
  resultsDirectory,
  root: join(import.meta.dirname, "../.."),
});
