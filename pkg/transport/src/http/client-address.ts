import { ClientAddresses } from "../client-address.ts";
import type { StageMaker } from "./stages.ts";

declare module "fastify" {
  interface FastifyRequest {
    /**
     * Address of the caller, without port, as the trusted proxies of `http.trustedProxies` tell it; else that of the connection's
     * other end. Fastify's own `ip` is always the latter.
     */
    readonly clientAddress: string;
  }
}

/** The layer `client-address`. Without trusted proxies the caller is who is at the other end, and nothing is to be done. */
export const clientAddressStage: StageMaker = ({ settings }) => {
  if (settings.trustedProxies.length === 0) return undefined;
  const addresses = new ClientAddresses(settings);
  return (exchange) => {
    exchange.forwarded = addresses.originOf(exchange.peer, (name) => exchange.header(name));
    exchange.clientAddress = exchange.forwarded.address;
    return undefined;
  };
};
