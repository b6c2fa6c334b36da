// Question: how soon after its start does a small service answer that it is ready, and what CPU time does that take?
//
// Floor:   fastify with the one route /ready.
// Peer:    NestJS on its fastify adapter: one controller, /ready by terminus.
// Plinth:  the core module, an HTTP server with the ops endpoints, one module with a route and a setting.
// Shape:   plain JavaScript in a project of its own, our packages as they are published (dist), NODE_ENV=production, no
//          compile cache; a fresh process for each start, alone on one CPU. What a start costs is mostly loading modules.
// Targets: at most 1.5 times bare fastify, at most half of NestJS.
import { join } from "node:path";
import { fromCold } from "../harness/from-cold.ts";
import { publishedProject } from "../subjects/published-project.ts";

export const coldStart = fromCold({
  name: "cold-start",
  sentence: "How soon after its start does a small service answer that it is ready?",
  subject: "plinth",
  effort: { rounds: 50 },
  readyPath: "/ready",
  targets: [
    { row: "plinth", comparedTo: "fastify", atMost: 1.5 },
    { row: "plinth", comparedTo: "nestjs", atMost: 0.5 },
  ],
  prepare: async (lab) => {
    const program = await publishedProject(lab, join(import.meta.dirname, "../subjects/cold-start"));
    return [
      { name: "fastify", role: "floor", launch: (port) => program("fastify", { PORT: String(port) }) },
      { name: "nestjs", role: "peer", launch: (port) => program("nest", { PORT: String(port) }) },
      { name: "plinth", role: "plinth", launch: (port) => program("plinth", { PLINTH_HTTP_PORT: String(port) }) },
    ];
  },
});
