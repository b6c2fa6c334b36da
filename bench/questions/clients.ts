// Question: what does a unary call cost the process that makes it?
//
// Floors:  grpc-js and undici by hand, with protobuf-es.
// Peer:    connect-node's client over HTTP/1.1.
// Plinth:  a client of `@plinth/services` over each wire, with everything on: a registry, balancing, deadlines, retries within a budget, breakers,
//          metrics, and spans of 1 % of the requests that calls are made in.
// Shape:   32 calls at once, a small message there and back; the caller alone on one CPU, bare servers on the other. Many short turns, so that what
//          else the machine does falls on all rows alike: each figure is the median of their medians of 200 ms.
// Targets: over gRPC at most 1.3 times bare grpc-js; over HTTP at most a quarter of connect-node.
import { join } from "node:path";
import { inProcess, type ProgramRow } from "../harness/in-process.ts";
import type { RowRole } from "../harness/question.ts";
import { nodeProgram } from "../subjects/programs.ts";

export const clients = inProcess({
  name: "clients",
  sentence: "What does a unary call cost the process that makes it?",
  subject: "plinth, gRPC",
  figures: [{ key: "callMicros", title: "CPU µs/call", digits: 1, compared: "CPU per call" }],
  effort: { rounds: 9, seconds: 5 },
  shape: { tasks: 32 },
  describe: ({ rounds, seconds = 0 }) => `32 calls at once; medians of ${rounds} rounds of ${seconds} s.`,
  targets: [
    { row: "plinth, gRPC", comparedTo: "grpc-js", atMost: 1.3 },
    { row: "plinth, HTTP", comparedTo: "connect-node, HTTP", atMost: 0.25 },
  ],
  rows: async (lab) => {
    const grpc = await lab.companion(nodeProgram("bare-grpc.ts"));
    const http = await lab.companion(nodeProgram("bare-rpc.ts"));
    const env = { GRPC_PORT: String(grpc.port), HTTP_PORT: String(http.port) };
    const row = (
      name: string,
      role: RowRole,
      file: string,
      more: Readonly<Record<string, string>> = {},
    ): ProgramRow => ({
      name,
      role,
      launch: nodeProgram(join("clients", file), { ...env, ...more }),
    });
    return [
      row("grpc-js", "floor", "grpc-js.ts"),
      row("undici, HTTP", "floor", "undici.ts"),
      row("connect-node, HTTP", "peer", "connect-node.ts"),
      row("plinth, gRPC", "plinth", "plinth.ts", { TRANSPORT: "grpc" }),
      row("plinth, HTTP", "plinth", "plinth.ts", { TRANSPORT: "http" }),
    ];
  },
});
