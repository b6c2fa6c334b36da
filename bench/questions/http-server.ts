// Question: what does one request cost a service that stands on Plinth's HTTP server with everything on?
//
// Floor:     node:http with a fixed reply.
// Peer:      fastify with one GET route and its reply schema, and nothing else.
// Assembled: the same fastify with what a team puts around it today: its pino request log to a file, the HTTP instrumentation
//            and SDK 3 of OpenTelemetry at a parent-based 1 % with an OTLP exporter, and fastify-metrics.
// Plinth:    the same route on our HTTP server with recovery, request id, trace, log context, metrics, deadline, an access log
//            to a file, and spans of 1 % of the requests exported to the same collector on the other CPU.
// Shape:     64 keep-alive connections in a closed loop, GET, a 79-byte JSON reply; server alone on one CPU, after 8 s of the same
//            load, while Node still compiles.
// Targets:   at most 1.6 times bare fastify, and at most half of the assembled one.
import { underLoad } from "../harness/under-load.ts";
import { startAssembledHttp, startPlinthHttp } from "../subjects/http-server-start.ts";
import { startNode } from "../subjects/programs.ts";
import { replyBytes } from "../subjects/reply.ts";

export const httpServer = underLoad({
  name: "http-server",
  sentence: "What does one request cost a service on Plinth's HTTP server with everything on?",
  subject: "plinth",
  load: { connections: 64, path: "/item", status: 200, bodyBytes: replyBytes },
  targets: [
    { row: "plinth", comparedTo: "fastify", atMost: 1.6 },
    { row: "plinth", comparedTo: "assembled", atMost: 0.5 },
  ],
  prepare: async (lab) => [
    { name: "node:http", role: "floor", start: () => startNode(lab, "bare-node.ts") },
    { name: "fastify", role: "peer", start: () => startNode(lab, "bare-fastify.ts") },
    { name: "assembled", role: "peer", start: () => startAssembledHttp(lab) },
    { name: "plinth", role: "plinth", start: () => startPlinthHttp(lab) },
  ],
});
