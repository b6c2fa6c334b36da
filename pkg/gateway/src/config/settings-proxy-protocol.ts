import { networks } from "@plinth/transport";
import { z } from "zod";

/** Settings about load balancers that say in the PROXY protocol who connects to them. */
export const proxyProtocolSchema = z.strictObject({
  from: networks.min(1).meta({
    description:
      "Load balancers that begin every connection with a PROXY header, version 1 or 2: addresses, CIDR ranges, `loopback`, `private`, `unix`. One of theirs without is closed; anybody else's is an ordinary connection, on which such a header is no HTTP.",
  }),
  headerTimeoutMs: z.int().min(1).max(60_000).default(3_000).meta({
    description: "In which the whole header must have come, in ms.",
  }),
});

export type ProxyProtocolSettings = z.output<typeof proxyProtocolSchema>;
