import type { GatewayState } from "../contract.ts";
import type { Generation } from "../server/generation.ts";

/** What a gateway goes by, as it is now. */
export function describeGeneration({ document, pools }: Pick<Generation, "document" | "pools">): GatewayState {
  return {
    document,
    services: [...pools].map(([service, pool]) => ({
      service,
      instances: pool.seats.map(({ member, inFlight, latencyMs, ejected, ejectedFor }) => {
        const { instanceId: id, weight } = member;
        return { id, weight, inFlight, latencyMs, ejected, ejectedFor };
      }),
    })),
  };
}
