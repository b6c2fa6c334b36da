import type { GatewayState } from "../contract.ts";
import type { Generation } from "../server/generation.ts";

/** What a gateway goes by, as it is now. */
export function describeGeneration(
  { document, pools }: Pick<Generation, "document" | "pools">,
  plugins: GatewayState["plugins"],
  workers?: GatewayState["workers"],
): GatewayState {
  return {
    document,
    workers,
    plugins: plugins.map(({ name, stage, order }) => ({ name, stage, order })),
    services: [...pools].map(([service, pool]) => ({
      service,
      instances: pool.seats.map(({ member, inFlight, latencyMs, ejected, ejectedFor }) => {
        const { instanceId: id, authority: address, weight, zone } = member;
        const breakers = pool.trippedBreakers
          .filter(({ instance }) => instance === member.id)
          .map(({ operation: route, state, retryAfterMs }) => ({ route, state, retryAfterMs }));
        return { id, address, weight, zone, inFlight, latencyMs, ejected, ejectedFor, breakers };
      }),
      isPanicking: pool.isPanicking,
    })),
  };
}
