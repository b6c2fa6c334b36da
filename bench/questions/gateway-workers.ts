// Question: what does it cost to have the gateway in two processes?
//
// Floor:  the gateway in one process.
// Plinth: two workers and their primary on the same processor: what one request then costs all three of them, bare and with a limit, which the
//         workers keep together.
// Shape:  64 connections, GET, a 79-byte reply. Two processors have no room for two workers, an origin and a load generator, so that this
//         says nothing of throughput.
// Target: bare at most 1.2 times one process.
import { underLoad } from "../harness/under-load.ts";
import { generousLimit } from "../subjects/gateway/everything-on.ts";
import { nginxOrigin } from "../subjects/gateway/nginx.ts";
import { bareRoute, startPlinth } from "../subjects/gateway/start-plinth.ts";
import { findPeer } from "../subjects/peer-binary.ts";
import { replyBytes } from "../subjects/reply.ts";

const limited = {
  rateLimits: { generous: { ...generousLimit, by: "address" as const } },
  routes: [{ ...bareRoute, rateLimit: "generous" }],
};

export const gatewayWorkers = underLoad({
  name: "gateway-workers",
  sentence: "What does it cost to have the gateway in two processes?",
  subject: "two workers",
  load: { connections: 64, path: "/item", status: 200, bodyBytes: replyBytes },
  targets: [{ row: "two workers", comparedTo: "one process", atMost: 1.2 }],
  prepare: async (lab) => {
    const { port: originPort } = await lab.companion(await nginxOrigin(lab, await findPeer("nginx")));
    const off = { PLINTH_GATEWAY_ACCESS_LOG: "false" };
    const two = { ...off, PLINTH_GATEWAY_WORKERS: "2" };
    return [
      { name: "one process", role: "floor", start: () => startPlinth(lab, { originPort }) },
      {
        name: "one process, a limit",
        role: "floor",
        start: () => startPlinth(lab, { originPort, document: limited, env: off }),
      },
      { name: "two workers", role: "plinth", start: () => startPlinth(lab, { originPort, env: two }) },
      {
        name: "two workers, a limit",
        role: "plinth",
        start: () => startPlinth(lab, { originPort, document: limited, env: two }),
      },
    ];
  },
});
