import { networks } from "@plinth/transport";
import { z } from "zod";

/** Settings about who stands before the gateway. */
export const proxySettings = {
  trustedProxies: networks.default([]).meta({
    description:
      "Proxies whose forwarding headers are believed: addresses, CIDR ranges, `loopback`, `private`, `unix`. Of anybody else they are deleted. None: nobody's.",
  }),
  forwardedBy: z.enum(["x-forwarded-for", "forwarded"]).default("x-forwarded-for").meta({
    description:
      "The header that these proxies write: `x-forwarded-for` with x-forwarded-proto and -host, or `forwarded` (RFC 7239). The other one is ignored.",
  }),
  proxyHops: z.int().min(1).max(32).optional().meta({
    description:
      "How many proxies stand before the gateway: the client is so many entries from the right. Default: entries are walked past as long as they are trusted.",
  }),
};
