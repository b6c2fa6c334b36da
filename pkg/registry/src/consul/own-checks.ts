import type { Readiness } from "../registry.ts";
import type { CheckDefinition } from "./client.ts";

/** The texts are fixed: a changed one would be written through the whole cluster and wake all watches. */
export const aliveText = "heartbeats arrive";
export const readinessTexts: Readonly<Record<Readiness, string>> = Object.freeze({
  passing: "ready",
  warning: "degraded",
  critical: "not ready",
});
export const maintenanceText = "in maintenance";

export interface OwnCheckOptions {
  readonly ttlMs: number;
  readonly deregisterAfterMs: number;
  /** The check that the agent makes itself, if any. */
  readonly probe: CheckDefinition | undefined;
}

/**
 * Two TTL checks, since they mean two things. `alive` ends with the process, and Consul removes the entry some time later.
 * `ready` says whether it should get traffic: an app may be unready for an hour without losing its entry.
 */
export function ownChecks(
  id: string,
  readiness: Readiness,
  { ttlMs, deregisterAfterMs, probe }: OwnCheckOptions,
): CheckDefinition[] {
  return [
    {
      CheckID: ownCheckId(id, "alive"),
      Name: "heartbeat of the process",
      TTL: `${ttlMs}ms`,
      Status: "passing",
      DeregisterCriticalServiceAfter: `${deregisterAfterMs}ms`,
    },
    { CheckID: ownCheckId(id, "ready"), Name: "readiness as the process says", TTL: `${ttlMs}ms`, Status: readiness },
    ...(probe ? [probe] : []),
  ];
}

export function ownCheckId(id: string, what: "alive" | "ready"): string {
  return `${id}:${what}`;
}
