import { tlsSettings } from "@plinth/transport";
import { z } from "zod";

const { certFile, keyFile, minVersion, handshakeTimeoutMs, expiryWarningDays } = tlsSettings.shape;

/** TLS on the gateway's traffic port. */
export const gatewayTlsSchema = z
  .strictObject({
    certificates: z.array(z.strictObject({ certFile, keyFile })).min(1).max(1_000).meta({
      description:
        "Certificates, chosen by the name that a client asks for: an exact one before a wildcard. The first is for names that none has, and for clients that name none.",
    }),
    minVersion,
    handshakeTimeoutMs,
    expiryWarningDays,
    hstsMaxAgeSeconds: z.int().min(0).max(63_072_000).default(0).meta({
      description:
        "Tells browsers for so long, in seconds, to come by TLS alone (Strict-Transport-Security), unless a service says so itself. 0: not.",
    }),
  })
  .meta({ description: "TLS on the gateway's port. Absent: none." });

export type GatewayTlsSettings = z.output<typeof gatewayTlsSchema>;

/** Value of Strict-Transport-Security; undefined to say nothing. */
export function hstsOf({ hstsMaxAgeSeconds }: GatewayTlsSettings): string | undefined {
  return hstsMaxAgeSeconds === 0 ? undefined : `max-age=${hstsMaxAgeSeconds}`;
}
