// Question: what does a reply of a megabyte cost the gateway?
//
// Peers:  nginx, HAProxy, Caddy, @fastify/http-proxy.
// Plinth: the gateway with one route, without authentication and rate limit.
// Shape:  16 connections in a closed loop, GET, 1 MiB from a file of the origin.
// Target: at most what @fastify/http-proxy takes. Nearly all of it is the kernel's copying.
import { underLoad } from "../harness/under-load.ts";
import { largeBytes, nginxOrigin } from "../subjects/gateway/nginx.ts";
import { nativeProxies, nodeProxies } from "../subjects/gateway/proxies.ts";
import { bareRoute, startPlinth } from "../subjects/gateway/start-plinth.ts";
import { findPeer } from "../subjects/peer-binary.ts";

export const gatewayDownloads = underLoad({
  name: "gateway-downloads",
  sentence: "What does a reply of a megabyte cost the gateway?",
  subject: "plinth",
  load: { connections: 16, path: "/large", status: 200, bodyBytes: largeBytes },
  targets: [{ row: "plinth", comparedTo: "@fastify/http-proxy", atMost: 1 }],
  prepare: async (lab) => {
    const { port } = await lab.companion(await nginxOrigin(lab, await findPeer("nginx")));
    const document = { routes: [{ ...bareRoute, match: { path: "/large" } }] };
    return [
      ...(await nativeProxies(lab, port)),
      ...nodeProxies(lab, port, ["@fastify/http-proxy"]),
      { name: "plinth", role: "plinth", start: () => startPlinth(lab, { originPort: port, document }) },
    ];
  },
});
