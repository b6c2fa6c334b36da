// Question: what does one request cost a service that stands on Plinth's HTTP server with everything on?
//
// Floor:   node:http with a fixed reply.
// Peer:    fastify with one GET route and its reply schema.
// Plinth:  the same route on our HTTP server with recovery, request id, trace, log context, metrics, an access log to a
//          file, and spans of 1 % of the requests exported to an OTLP collector on the other CPU.
// Shape:   64 keep-alive connections in a closed loop, GET, a 79-byte JSON reply; server alone on one CPU.
// Targets: at most 1.6 times bare fastify.
import { underLoad } from "../harness/under-load.ts";
import { startPlinthHttp } from "../subjects/plinth-http-start.ts";
import { startNode } from "../subjects/programs.ts";
import { replyBytes } from "../subjects/reply.ts";

export const httpService = underLoad({
  name: "http-service",
  sentence: "What does one request cost a service on Plinth's HTTP server with everything on?",
  subject: "plinth",
  load: { connections: 64, path: "/item", status: 200, bodyBytes: replyBytes },
  targets: [{ row: "plinth", comparedTo: "fastify", atMost: 1.6 }],
  prepare: async (lab) => [
    { name: "node:http", role: "floor", start: () => startNode(lab, "bare-node.ts") },
    { name: "fastify", role: "peer", start: () => startNode(lab, "bare-fastify.ts") },
    { name: "plinth", role: "plinth", start: () => startPlinthHttp(lab) },
  ],
});
