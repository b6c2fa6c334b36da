// The bench's command line over questions of its own, for main.test.ts: quick rows, and targets that no machine can
// meet or miss by chance. The first argument says where results go.
import { join } from "node:path";
import { startNode } from "../subjects/programs.ts";
import { replyBytes } from "../subjects/reply.ts";
import { BenchError } from "./errors.ts";
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

const [resultsDirectory = "", ...argv] = process.argv.slice(2);
process.exitCode = await main(argv, {
  questions: [smoke, wrongLength, missingPeer].map(underLoad),
  resultsDirectory,
  root: join(import.meta.dirname, "../.."),
});
