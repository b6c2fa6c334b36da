// Question: what does the gateway spend with everything on, beside what others spend to forward and nothing else?
//
// Peers:  Caddy, @fastify/http-proxy, http-proxy-3, as they are in bare-forwarding.
// Plinth: tokens checked (ES256, each seen before), a scope, a rate limit by caller, identity for the service, metrics, spans of 1 % of
//         the requests exported, an access log to a file. Beside it the gateway with none of that.
// Shape:  64 connections, GET, a 79-byte reply, 64 callers.
// Targets: at most what the best proxy on Node spends on bare forwarding, and at most what Caddy does.
import { underLoad } from "../harness/under-load.ts";
import { startEverything, tokenLines } from "../subjects/gateway/everything-on.ts";
import { nginxOrigin } from "../subjects/gateway/nginx.ts";
import { nativeProxies, nodeProxies } from "../subjects/gateway/proxies.ts";
import { startPlinth } from "../subjects/gateway/start-plinth.ts";
import { findPeer } from "../subjects/peer-binary.ts";
import { replyBytes } from "../subjects/reply.ts";

export const gatewayEverything = underLoad({
  name: "gateway-everything",
  sentence: "What does the gateway spend with everything on, beside what others spend to forward and nothing else?",
  subject: "plinth, everything on",
  load: { connections: 64, path: "/item", status: 200, bodyBytes: replyBytes },
  targets: [
    { row: "plinth, everything on", comparedTo: "@fastify/http-proxy", atMost: 1 },
    { row: "plinth, everything on", comparedTo: "http-proxy-3", atMost: 1 },
    { row: "plinth, everything on", comparedTo: "caddy", atMost: 1 },
  ],
  prepare: async (lab) => {
    const { port } = await lab.companion(await nginxOrigin(lab, await findPeer("nginx")));
    const native = await nativeProxies(lab, port);
    return [
      ...native.filter(({ name }) => name === "caddy"),
      ...nodeProxies(lab, port, ["@fastify/http-proxy", "http-proxy-3"]),
      { name: "plinth, bare", role: "plinth", start: () => startPlinth(lab, { originPort: port }) },
      {
        name: "plinth, everything on",
        role: "plinth",
        load: { lines: tokenLines(64) },
        start: () => startEverything(lab, port),
      },
    ];
  },
});
