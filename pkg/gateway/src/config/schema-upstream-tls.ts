import { z } from "zod";

const path = z.string().min(1);

/** TLS to the instances of a service. */
export const upstreamTlsSchema = z
  .strictObject({
    caFile: path.optional().meta({
      description: "PEM file of the authorities that sign the instances' certificates. Default: those of Node.",
    }),
    certFile: path.optional().meta({
      description: "PEM file of the gateway's own certificate, for instances that ask for one. Default: none is shown.",
    }),
    keyFile: path.optional().meta({ description: "PEM file of its private key, not encrypted." }),
    serverName: z
      .string()
      .regex(/^[A-Za-z0-9._:-]{1,253}$/, "expected a host name or an address")
      .optional()
      .meta({
        description:
          "The name that the instances' certificates must be of, which they are asked for as well (SNI). Default: the host of each instance's address.",
      }),
    minVersion: z
      .enum(["TLSv1.2", "TLSv1.3"])
      .default("TLSv1.2")
      .meta({ description: "Oldest version of TLS spoken." }),
  })
  .refine(({ certFile, keyFile }) => (certFile === undefined) === (keyFile === undefined), {
    path: ["keyFile"],
    error: "expected certFile and keyFile together, or neither",
  })
  .optional()
  .meta({
    description:
      "TLS to the instances, always verified. Files are looked at once a second for others. `{}` verifies by Node's own authorities. Default: no TLS.",
  });

export type UpstreamTlsConfig = NonNullable<z.output<typeof upstreamTlsSchema>>;
