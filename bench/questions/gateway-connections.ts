// Question: what does a request cost the gateway while a thousand clients are connected?
//
// Peers:  nginx, HAProxy, Caddy, @fastify/http-proxy.
// Plinth: the gateway with one route, without authentication and rate limit.
// Shape:  as bare-forwarding, with 1 000 connections, each with a request under way at any time.
// Targets: as there.
import { underLoad } from "../harness/under-load.ts";
import { nginxOrigin } from "../subjects/gateway/nginx.ts";
import { nativeProxies, nodeProxies } from "../subjects/gateway/proxies.ts";
import { startPlinth } from "../subjects/gateway/start-plinth.ts";
import { findPeer } from "../subjects/peer-binary.ts";
import { replyBytes } from "../subjects/reply.ts";

export const gatewayConnections = underLoad({
  name: "gateway-connections",
  sentence: "What does a request cost the gateway while a thousand clients are connected?",
  subject: "plinth",
  load: { connections: 1_000, path: "/item", status: 200, bodyBytes: replyBytes },
  targets: [
    { row: "plinth", comparedTo: "nginx", atMost: 2.5 },
    { row: "plinth", comparedTo: "@fastify/http-proxy", atMost: 0.5 },
  ],
  prepare: async (lab) => {
    const { port } = await lab.companion(await nginxOrigin(lab, await findPeer("nginx")));
    return [
      ...(await nativeProxies(lab, port)),
      ...nodeProxies(lab, port, ["@fastify/http-proxy"]),
      { name: "plinth", role: "plinth", start: () => startPlinth(lab, { originPort: port }) },
    ];
  },
});
