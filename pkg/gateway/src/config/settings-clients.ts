import { networks } from "@plinth/transport";
import { z } from "zod";

const rate = (description: string): z.ZodDefault<z.ZodInt> =>
  z.int().min(0).max(1_000_000_000).default(240).meta({ description });

/** What one client may hold, and how slow it may be. */
export const clientSettings = {
  maxConnections: z.int().min(1).max(1_000_000).default(10_000).meta({
    description:
      "Connections of clients open at once in one process, those included whose TLS handshake goes on and those of WebSockets; further ones are closed at once, and counted. The process needs as many open files, and those for its services.",
  }),
  maxConnectionsPerAddress: z.int().min(0).max(1_000_000).default(1_000).meta({
    description:
      "Of these from one address, or from one /64 network of IPv6; further ones are closed at once, and counted. By the address that a PROXY header names, where one comes. 0 for any number: many clients may share one address.",
  }),
  uncappedAddresses: networks.default(["loopback", "unix"]).meta({
    description:
      "Whom maxConnectionsPerAddress leaves alone, besides `trustedProxies` and `proxyProtocol.from`: addresses, CIDR ranges, `loopback`, `private`, `unix`.",
  }),
  minBodyRateBytesPerS: rate(
    "Requests whose body comes more slowly than this get 408, in bytes a second, unless they are calls of gRPC; a body that is not fetched, as its service is slow, is not held against its client. 0 takes any.",
  ),
  minReplyRateBytesPerS: rate(
    "Replies whose client takes them more slowly than this are broken off, in bytes a second, with the connection where that is HTTP/1: each piece of up to 64 KiB that waits has so long, and the grace. 0 takes any.",
  ),
  minRateGraceMs: z.int().min(1_000).max(600_000).default(5_000).meta({
    description: "How long a body or a reply may stand still before its rate counts, in ms, seen once a second.",
  }),
};
