// Question: what does Plinth's gateway spend to pass a small request on and its reply back, beside the proxies that
// people put in front of services today?
//
// Floor:   node:http with undici's dispatch behind it, and nothing done for the user.
// Peers:   nginx (one worker), HAProxy (one thread), Caddy (one thread of Go), @fastify/http-proxy, http-proxy-3, express with
//          http-proxy-middleware.
// Plinth:  the gateway with one route, without authentication and rate limit.
// Shape:   64 keep-alive connections in a closed loop, GET, a 79-byte JSON reply; proxy alone on one CPU, origin and load
//          generator on the other. Read CPU per request: the load side may saturate before the fast proxies do.
// Targets: at most 2.5 times nginx, at most half of each proxy on Node.
import { underLoad } from "../harness/under-load.ts";
import { nginxOrigin } from "../subjects/gateway/nginx.ts";
import { nativeProxies, nodeProxies } from "../subjects/gateway/proxies.ts";
import { startPlinth } from "../subjects/gateway/start-plinth.ts";
import { findPeer } from "../subjects/peer-binary.ts";
import { startNode } from "../subjects/programs.ts";
import { replyBytes } from "../subjects/reply.ts";

export const bareForwarding = underLoad({
  name: "bare-forwarding",
  sentence: "What does the gateway spend to forward one small request, without authentication and limit?",
  subject: "plinth",
  load: { connections: 64, path: "/item", status: 200, bodyBytes: replyBytes },
  targets: [
    { row: "plinth", comparedTo: "nginx", atMost: 2.5 },
    { row: "plinth", comparedTo: "@fastify/http-proxy", atMost: 0.5 },
    { row: "plinth", comparedTo: "http-proxy-3", atMost: 0.5 },
    { row: "plinth", comparedTo: "express + http-proxy-middleware", atMost: 0.5 },
  ],
  prepare: async (lab) => {
    const { port } = await lab.companion(await nginxOrigin(lab, await findPeer("nginx")));
    return [
      {
        name: "node:http + undici",
        role: "floor",
        start: () => startNode(lab, "gateway/undici-forwarder.ts", { ORIGIN_PORT: String(port) }),
      },
      ...(await nativeProxies(lab, port)),
      ...nodeProxies(lab, port),
      { name: "plinth", role: "plinth", start: () => startPlinth(lab, { originPort: port }) },
    ];
  },
});
