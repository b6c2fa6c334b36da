// Question: does the gateway keep anything of the requests that it has served?
//
// Plinth:  the gateway with everything on: tokens, a limit, metrics, spans, access log.
// Shape:   64 connections, GET, a 79-byte reply, for a warm-up of some 200 000 requests, and then until a million and more have been served.
// Target:  its resident memory at the end is at most 1.15 times that after the warm-up.
import { readFile } from "node:fs/promises";
import { runLoad } from "../harness/under-load.ts";
import type { Lab } from "../harness/lab.ts";
import type { Question, Reading } from "../harness/question.ts";
import { startEverything, tokenLines } from "../subjects/gateway/everything-on.ts";
import { nginxOrigin } from "../subjects/gateway/nginx.ts";
import { findPeer } from "../subjects/peer-binary.ts";
import { replyBytes } from "../subjects/reply.ts";

const warmRequests = 200_000;
const countedRequests = 1_000_000;
const windowMs = 5_000;

export const gatewayMemory: Question = {
  name: "gateway-memory",
  sentence: "Does the gateway keep anything of the requests that it has served?",
  subject: "plinth",
  figures: [
    { key: "growth", title: "memory, end by begin", digits: 2, compared: "memory, end by begin" },
    { key: "beforeMiB", title: "MiB after the warm-up", digits: 0 },
    { key: "afterMiB", title: "MiB at the end", digits: 0 },
    { key: "requests", title: "requests", digits: 0 },
  ],
  effort: { rounds: 1 },
  shape: { connections: 64, warmRequests, countedRequests },
  describe: ({ rounds }) => `64 connections, ${countedRequests} requests after ${warmRequests}; ${rounds} round.`,
  targets: [{ row: "plinth", figure: "growth", atMost: 1.15 }],
  prepare: async (lab) => {
    const { port } = await lab.companion(await nginxOrigin(lab, await findPeer("nginx")));
    return [{ name: "plinth", role: "plinth", measure: () => measure(lab, port) }];
  },
};

async function measure(lab: Lab, originPort: number): Promise<Reading> {
  const gateway = await startEverything(lab, originPort);
  const load = { connections: 64, path: "/item", status: 200, bodyBytes: replyBytes, lines: tokenLines(64) };
  const serve = async (atLeast: number): Promise<number> => {
    let served = 0;
    while (served < atLeast) {
      const plan = { load, port: gateway.port, serverPid: gateway.pid, warmupMs: 0, windowMs };
      served += (await runLoad(lab, plan)).requests;
    }
    return served;
  };
  await serve(warmRequests);
  const beforeMiB = await residentMiB(gateway.pid);
  const requests = await serve(countedRequests);
  const afterMiB = await residentMiB(gateway.pid);
  await gateway.stop();
  return { growth: afterMiB / beforeMiB, beforeMiB, afterMiB, requests };
}

async function residentMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1_024;
}
