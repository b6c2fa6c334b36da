import type { BalancerOptions, BalancingPolicy } from "@plinth/resilience";
import type { BalancingConfig } from "../config/schema-balancing.ts";
import type { EjectionConfig } from "../config/schema-ejection.ts";
import type { ServiceConfig } from "../config/schema-services.ts";

const policies: Readonly<Record<BalancingConfig["policy"], BalancingPolicy>> = {
  p2c: "p2c-ewma",
  roundRobin: "round-robin",
  hash: "consistent-hash",
};

/** Replies with which an instance says that it cannot serve, unless the document says otherwise. */
const usualFailingStatuses: ReadonlySet<number> = new Set([502, 503, 504]);

/** @param zone - That the gateway is in. */
export function toBalancerOptions(
  { balancing, ejection }: Pick<ServiceConfig, "balancing" | "ejection">,
  zone: string | undefined,
): BalancerOptions {
  return {
    ...(balancing && {
      policy: policies[balancing.policy],
      hashBound: balancing.hashBound,
      slowStartMs: balancing.slowStartMs,
      ...(balancing.spillOver !== undefined && { zone, spillOver: balancing.spillOver }),
    }),
    ...(ejection && { outliers: toOutlierOptions(ejection) }),
  };
}

export function failingStatusesOf(ejection: EjectionConfig | undefined): ReadonlySet<number> {
  return ejection ? new Set(ejection.failingStatuses) : usualFailingStatuses;
}

function toOutlierOptions(config: EjectionConfig): BalancerOptions["outliers"] {
  const { localFailures, failures, ejectMs, maxEjectMs, maxEjectedRatio, panicRatio, successRate } = config;
  return {
    localFailures: localFailures === "never" ? Infinity : localFailures,
    failures: failures === "never" ? Infinity : failures,
    ejectMs,
    maxEjectMs,
    maxEjectedRatio,
    panicRatio,
    ...(successRate ? {} : { rateMinMembers: Infinity }),
  };
}
