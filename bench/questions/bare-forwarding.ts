// Question: what does Plinth's gateway spend to pass a small request on and its reply back, beside the proxies that
// people put in front of services today?
//
// Floor:   node:http with undici's dispatch behind it, and nothing done for the user.
// Peers:   nginx (one worker), HAProxy (one thread), @fastify/http-proxy.
// Plinth:  the gateway with one route, without authentication and rate limit.
// Shape:   64 keep-alive connections in a closed loop, GET, a 79-byte JSON reply; proxy alone on one CPU, origin and load
//          generator on the other. Read CPU per request: the load side may saturate before the fast proxies do.
// Targets: at most 2.5 times nginx, at most half of @fastify/http-proxy.
import { underLoad } from "../harness/under-load.ts";
import { haproxyProxy } from "../subjects/haproxy.ts";
import { nginxOrigin, nginxProxy } from "../subjects/nginx.ts";
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
  ],
  prepare: async (lab) => {
    const [nginx, haproxy] = await Promise.all([findPeer("nginx"), findPeer("haproxy")]);
    const origin = await lab.companion(await nginxOrigin(lab, nginx));
    const env = { ORIGIN_PORT: String(origin.port) };
    return [
      {
        name: "node:http + undici",
        role: "floor",
        start: () => startNode(lab, "undici-forwarder.ts", env),
      },
      { name: "nginx", role: "peer", start: async () => lab.server(await nginxProxy(lab, nginx, origin.port)) },
      {
        name: "haproxy",
        role: "peer",
        start: async () => lab.server(await haproxyProxy(lab, haproxy, origin.port)),
      },
      {
        name: "@fastify/http-proxy",
        role: "peer",
        start: () => startNode(lab, "fastify-http-proxy.ts", env),
      },
      { name: "plinth", role: "plinth", start: () => startNode(lab, "plinth-gateway.ts", env) },
    ];
  },
});
