import type { Health } from "@plinth/kernel";
import type { OpsReply } from "./handler.ts";

/** `/healthz`: alive means that this code runs; it never looks outside the process. */
export function healthz(): OpsReply {
  return { status: 200, headers, body: JSON.stringify({ status: "pass" }) };
}

/** `/ready`: the app's state and its checks. */
export async function ready(health: Health): Promise<OpsReply> {
  const { ready: isReady, status, state, checks } = await health.readiness();
  return { status: isReady ? 200 : 503, headers, body: JSON.stringify({ status, state, checks }) };
}

const headers = Object.freeze({ "content-type": "application/health+json" });
