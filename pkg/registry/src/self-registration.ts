import type { AppInfo, ErrorBus, Health, Logger } from "@plinth/kernel";
import { advertisedHost, type Endpoint, listensEverywhere, portsOf } from "./endpoints.ts";
import type { Registration, Registry } from "./registry.ts";
import { addressTowards } from "./route.ts";

export interface SelfRegistrationOptions {
  readonly registry: Registry;
  readonly endpoints: readonly Endpoint[];
  readonly info: AppInfo;
  readonly health: Health;
  readonly log: Logger;
  readonly errors: ErrorBus;
  /** Host of the registry's agent, if it has one. */
  readonly agentHost?: string | undefined;
  readonly settings: {
    readonly advertiseHost?: string | undefined;
    readonly zone?: string | undefined;
    readonly tags: readonly string[];
    readonly weight: number;
    readonly ttlMs: number;
  };
}

/** Registers this app once it is up, and takes it out first when it stops. */
export class SelfRegistration {
  readonly #options: SelfRegistrationOptions;
  #left: Promise<void> | undefined;

  constructor(options: SelfRegistrationOptions) {
    this.#options = options;
  }

  /** This app's own registration, once it has one. */
  registration: Registration | undefined;

  async join({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const { registry, endpoints: all, info, health, log, settings, agentHost } = this.#options;
    for (const { protocol, unusable } of all)
      if (unusable !== undefined) log.warn("endpoint not registered", { protocol, why: unusable });
    const endpoints = all.filter(({ unusable }) => unusable === undefined);
    const [first] = endpoints;
    if (!first) {
      log.debug("no endpoints, so not registered");
      return;
    }
    const { advertiseHost, zone, tags, weight, ttlMs } = settings;
    const { maxStallMs = 0 } = health.liveness();
    if (ttlMs < shortestTtlMs(maxStallMs))
      log.warn("heartbeats can stop for longer than registry.ttlMs while the app counts as alive", {
        ttlMs,
        maxStallMs,
      });
    const asksRoute = agentHost !== undefined && listensEverywhere(endpoints, advertiseHost);
    const towardsAgent = asksRoute ? await addressTowards(agentHost, signal) : undefined;
    const instance = {
      service: info.name,
      id: info.instanceId,
      identity: endpoints.every(({ checksIdentity }) => checksIdentity === true) ? info.instanceId : undefined,
      host: advertisedHost(endpoints, advertiseHost, { towardsAgent }),
      ports: portsOf(endpoints),
      version: info.version,
      zone,
      tags,
      weight,
    };
    this.registration = await registry.register(instance, {
      signal,
      readiness: async () => {
        const { ready, state } = await health.readiness();
        if (!ready) return "critical";
        return state === "degraded" ? "warning" : "passing";
      },
      onReadiness: (onChange) => health.onState(onChange),
      readyPath: endpoints.find(({ protocol, readyPath }) => protocol === "http" && readyPath !== undefined)?.readyPath,
      tls: endpoints.filter(({ tls }) => tls === true).map(({ protocol }) => protocol),
    });
    const { state, error } = this.registration;
    if (state === "pending")
      log.warn("not registered yet; trying again in the background", { instance: info.instanceId, error });
  }

  /** Never fails: an entry that cannot be taken out now ends when its heartbeats stop, and the app has more to stop. */
  leave({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    return (this.#left ??= this.#leave(signal));
  }

  async #leave(signal: AbortSignal): Promise<void> {
    const { errors } = this.#options;
    const registration = this.registration;
    if (!registration) return; // one whose join failed or was cancelled has been taken back by the registry
    const attributes = { instance: registration.instance.id };
    try {
      await registration.deregister({ signal });
    } catch (error) {
      errors.report(error, { origin: "lifecycle", severity: "warning", attributes });
    }
  }
}

/** A stall as long as liveness allows, and the longest pause between two heartbeats before it, must fit in. */
function shortestTtlMs(maxStallMs: number): number {
  const longestPause = 1.1 / 4; // of the TTL: four beats in it, each with a tenth of jitter
  return maxStallMs / (1 - longestPause);
}
