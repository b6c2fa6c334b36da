// Question: what does a request with a body of a megabyte cost the gateway?
//
// Peers:  nginx, told to pass bodies on as they come, HAProxy, Caddy, @fastify/http-proxy.
// Plinth: the gateway with one route, without authentication and rate limit.
// Shape:  16 connections in a closed loop, POST, 1 MiB, a 79-byte reply.
// Target: at most what @fastify/http-proxy takes.
import { underLoad } from "../harness/under-load.ts";
import { largeBytes } from "../subjects/gateway/nginx.ts";
import { nativeProxies, nodeProxies } from "../subjects/gateway/proxies.ts";
import { startPlinth } from "../subjects/gateway/start-plinth.ts";
import { nodeProgram } from "../subjects/programs.ts";
import { replyBytes } from "../subjects/reply.ts";

export const gatewayUploads = underLoad({
  name: "gateway-uploads",
  sentence: "What does a request with a body of a megabyte cost the gateway?",
  subject: "plinth",
  load: {
    connections: 16,
    path: "/item",
    status: 200,
    bodyBytes: replyBytes,
    body: { contentType: "application/octet-stream", base64: Buffer.alloc(largeBytes, "x").toString("base64") },
  },
  targets: [{ row: "plinth", comparedTo: "@fastify/http-proxy", atMost: 1 }],
  prepare: async (lab) => {
    const { port } = await lab.companion(nodeProgram("gateway/reading-origin.ts"));
    return [
      ...(await nativeProxies(lab, port)),
      ...nodeProxies(lab, port, ["@fastify/http-proxy"]),
      { name: "plinth", role: "plinth", start: () => startPlinth(lab, { originPort: port }) },
    ];
  },
});
