import { z } from "zod";

const path = z.string().min(1);

/** What a listener with TLS is made of; for the settings of a server. */
export const tlsSettings = z
  .strictObject({
    certFile: path.meta({
      description:
        "PEM file of the server's certificate, its intermediates after it. Looked at once a second for another.",
    }),
    keyFile: path.meta({ description: "PEM file of the certificate's private key, not encrypted." }),
    caFile: path.optional().meta({ description: "PEM file of the authorities that sign the certificates of callers." }),
    clientCertificate: z.enum(["off", "request", "require"]).default("off").meta({
      description:
        "Whether callers show a certificate: `request` also serves those without one, and nobody whose one is not signed by caFile.",
    }),
    minVersion: z
      .enum(["TLSv1.2", "TLSv1.3"])
      .default("TLSv1.2")
      .meta({ description: "Oldest version of TLS spoken." }),
    handshakeTimeoutMs: z.int().min(1).max(3_600_000).default(10_000).meta({
      description: "Time for the handshake of a connection, in ms.",
    }),
    expiryWarningDays: z.int().min(0).max(3_650).default(14).meta({
      description: "Days before the end of the certificate from which on the log warns, once a day.",
    }),
  })
  .refine(({ caFile, clientCertificate }) => clientCertificate === "off" || caFile !== undefined, {
    path: ["caFile"],
    error: "expected a file, by which the certificates of callers are judged, with clientCertificate",
  })
  .refine(({ caFile, clientCertificate }) => clientCertificate !== "off" || caFile === undefined, {
    path: ["clientCertificate"],
    error: "expected request or require with caFile, which is read for nothing else",
  });

export type TlsSettings = z.infer<typeof tlsSettings>;
