import { z } from "zod";

/** HTTP/2 from clients. */
export const gatewayHttp2Schema = z
  .strictObject({
    tls: z.boolean().default(true).meta({
      description: "Offer HTTP/2 by ALPN beside HTTP/1.1 on the port with TLS.",
    }),
    cleartext: z.boolean().default(false).meta({
      description:
        "On a port without TLS take connections that begin as HTTP/2 (prior knowledge) beside those of HTTP/1.1. `Upgrade: h2c` is never taken.",
    }),
    maxConcurrentStreams: z.int().min(1).max(1_000).default(100).meta({
      description: "Most requests at one time on one connection of HTTP/2.",
    }),
  })
  .meta({ description: "HTTP/2 from clients." });
