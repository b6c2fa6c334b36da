import type { Clock } from "@plinth/kernel";
import type { InstanceFilter, Registry } from "@plinth/registry";
import type { ServiceConfig } from "../config/schema-services.ts";
import type { UpstreamTls } from "./tls.ts";
import type { UpstreamFactory, UpstreamOptions } from "./upstream.ts";

/** Told what probes find. */
export interface PoolEvents {
  probed(service: string, passed: boolean): void;
  /** An instance goes out for its probes, or comes back. */
  healthChanged(service: string, instanceId: string, isOut: boolean): void;
}

export interface ServicePoolOptions {
  readonly service: string;
  /** Instances of this version alone; it stands behind the service's name in metrics and spans. */
  readonly version?: string | undefined;
  /** Default: every default. */
  readonly config?: ServiceConfig | undefined;
  readonly registry: Pick<Registry, "follow">;
  readonly clock: Clock;
  readonly createUpstream: UpstreamFactory;
  readonly upstream: Omit<UpstreamOptions, "authority" | "clock" | "tls">;
  /** Default: no TLS to the instances. Closed with the pool. */
  readonly tls?: UpstreamTls | undefined;
  /** Which instances get requests. Default: all that speak HTTP. */
  readonly filter?: InstanceFilter | undefined;
  /** The zone that this process is in. */
  readonly zone?: string | undefined;
  /** Processes that serve beside each other, which what the instances are given is divided by: a whole number. Default 1. */
  readonly workers?: number | undefined;
  /** Name of this process among those that take other subsets. Default: empty. */
  readonly client?: string | undefined;
  readonly events?: PoolEvents | undefined;
  /** Of the same service, with other settings: what its probes have found out holds on. */
  readonly before?: { readonly failingProbes: readonly string[] } | undefined;
  /** Source of choice in [0, 1). Default `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/** How a try ended, beside that. */
export interface TryReport {
  /** The status of its reply is one of `ServicePool.failingStatuses`. */
  readonly hasFailed: boolean;
  /** Since the pick. */
  readonly elapsedMs: number;
  /** Until the head of the reply, if there was one. */
  readonly latencyMs: number | undefined;
  /** Name of the route. */
  readonly operation: string;
}
