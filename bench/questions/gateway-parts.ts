// Question: what does each thing that the gateway can do for a request add to it?
//
// Floor:  the gateway with one route, without authentication and rate limit.
// Plinth: the same with one thing more each: tokens seen before, tokens never seen before (40 000 in turn, more than it remembers), a
//         limit in the process, a limit in Redis, an access log to a file, ten thousand routes, and a new document each second.
// Shape:  64 connections, GET, a 79-byte reply.
// Target: ten thousand routes at most 1.3 times one. The others are shown.
import { setTimeout as elapse } from "node:timers/promises";
import { writeFile } from "node:fs/promises";
import type { GatewayDocument } from "@plinth/gateway";
import { startRedis } from "../../scripts/servers/index.ts";
import { underLoad } from "../harness/under-load.ts";
import type { Lab, Running } from "../harness/lab.ts";
import { generousLimit, issuer, tokenLines } from "../subjects/gateway/everything-on.ts";
import { nginxOrigin } from "../subjects/gateway/nginx.ts";
import { bareRoute, documentText, startPlinth } from "../subjects/gateway/start-plinth.ts";
import { findPeer } from "../subjects/peer-binary.ts";
import { replyBytes } from "../subjects/reply.ts";

const { anonymous: _anonymous, ...route } = bareRoute;
const guarded: GatewayDocument = { jwt: { bench: issuer }, routes: [{ ...route, auth: {} }] };
const limited: GatewayDocument = {
  rateLimits: { generous: { ...generousLimit, by: "address" } },
  routes: [{ ...bareRoute, rateLimit: "generous" }],
};

/** The route that is asked for among so many others that look alike. */
function manyRoutes(count: number): GatewayDocument {
  const others = Array.from({ length: count - 1 }, (_, index) => ({
    ...bareRoute,
    name: `other-${index}`,
    match: { path: `/api/v${index % 10}/things-${index}/:id/parts` },
  }));
  return { routes: [...others, bareRoute] };
}

export const gatewayParts = underLoad({
  name: "gateway-parts",
  sentence: "What does each thing that the gateway can do for a request add to it?",
  subject: "one route, nothing on",
  load: { connections: 64, path: "/item", status: 200, bodyBytes: replyBytes },
  targets: [{ row: "10 000 routes", comparedTo: "10 routes", atMost: 1.3 }],
  prepare: async (lab) => {
    const { port: originPort } = await lab.companion(await nginxOrigin(lab, await findPeer("nginx")));
    const off = { PLINTH_GATEWAY_ACCESS_LOG: "false" };
    const row = (name: string, document?: GatewayDocument, lines?: readonly string[]) => ({
      name,
      role: "plinth" as const,
      start: () => startPlinth(lab, { originPort, ...(document && { document }) }),
      ...(lines && { load: { lines } }),
    });
    return [
      row("one route, nothing on"),
      row("a token seen before", guarded, tokenLines(64)),
      row("a token never seen", guarded, tokenLines(40_000)),
      row("a limit in the process", limited),
      { name: "a limit in Redis", role: "plinth", start: () => startWithRedis(lab, originPort) },
      { name: "an access log", role: "plinth", start: () => startPlinth(lab, { originPort, env: {} }) },
      row("10 routes", manyRoutes(10)),
      row("10 000 routes", manyRoutes(10_000)),
      { name: "a new document each second", role: "plinth", start: () => startReloading(lab, originPort, off) },
    ];
  },
});

async function startWithRedis(lab: Lab, originPort: number): Promise<Running> {
  const redis = await startRedis();
  const env = { PLINTH_GATEWAY_ACCESS_LOG: "false", PLINTH_REDIS_URL: redis.url };
  const gateway = await startPlinth(lab, { originPort, document: limited, env });
  const stop = async (): Promise<void> => {
    await gateway.stop();
    await redis.stop();
  };
  return { ...gateway, stop };
}

/** A document of a hundred routes of which one changes each second. */
async function startReloading(lab: Lab, originPort: number, env: Readonly<Record<string, string>>): Promise<Running> {
  const document = manyRoutes(100);
  const gateway = await startPlinth(lab, { originPort, document, env });
  const done = new AbortController();
  const change = async (): Promise<void> => {
    for (let round = 1; !done.signal.aborted; round += 1) {
      await elapse(1_000, undefined, { signal: done.signal }).catch(() => undefined);
      const [first = bareRoute, ...rest] = document.routes;
      const next = { routes: [{ ...first, timeoutMs: 10_000 + round }, ...rest] };
      await writeFile(gateway.document, documentText(next, originPort));
    }
  };
  const changing = change();
  const stop = async (): Promise<void> => {
    done.abort();
    await changing;
    await gateway.stop();
  };
  return { ...gateway, stop };
}
