import type { IncomingMessage } from "node:http";
import type { Health, Secret } from "@plinth/kernel";
import { instanceHeader, misdirected } from "../instance.ts";
import type { OpsReply } from "./handler.ts";
import { asksForDetails } from "./verbose.ts";

export interface ProbeOptions {
  readonly health: Health;
  /** This instance: who asks whether another is ready is told that it is not here. Absent: nobody is told so. */
  readonly instanceId?: string | undefined;
  /** Of the app; in verbose answers. */
  readonly version?: string | undefined;
  /** Lets callers from elsewhere have verbose answers. Absent: callers on this machine alone. */
  readonly token?: Secret | undefined;
}

/** `/healthz`: alive means that this code runs, and that the event loop has not just stood still; it never looks outside the process. */
export function healthz(request: IncomingMessage, { health, version, token }: ProbeOptions): OpsReply {
  const { alive, ...stall } = health.liveness();
  const verdict = alive ? { status: "pass" } : { status: "fail", output: "event loop stalled" };
  if (!asksForDetails(request, token)) return reply(alive, verdict);
  const { phase, uptimeMs, stalls } = health.details();
  return reply(alive, { ...verdict, version, phase, uptimeMs, ...stall, stalls });
}

/** `/ready`: the app's state and its checks. */
export async function ready(
  request: IncomingMessage,
  { health, instanceId, version, token }: ProbeOptions,
): Promise<OpsReply> {
  const named = request.headers[instanceHeader];
  if (instanceId !== undefined && named !== undefined && named !== instanceId) throw misdirected();
  const isVerbose = asksForDetails(request, token);
  const { ready: isReady, status, state, checks } = await health.readiness();
  if (!isVerbose) return reply(isReady, { status, state, checks });
  const { phase, since, uptimeMs, checks: details } = health.details();
  return reply(isReady, { status, state, version, phase, since, uptimeMs, checks: details });
}

function reply(isWell: boolean, body: object): OpsReply {
  return { status: isWell ? 200 : 503, headers, body: JSON.stringify(body) };
}

const headers = Object.freeze({ "content-type": "application/health+json" });
