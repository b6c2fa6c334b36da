import { defineSettings, secretString, z } from "@plinth/kernel";

const text = (description: string): z.ZodOptional<z.ZodString> => z.string().min(1).optional().meta({ description });

/** The Redis that shares counts between processes, and how it is asked. */
export const redisSettings = defineSettings(
  "redis",
  z.strictObject({
    url: secretString(
      "`redis://host:port/database`, or `rediss://` for TLS; of a Cluster several, separated by commas. Default: nothing is shared.",
    ).optional(),
    cluster: z.boolean().default(false).meta({ description: "Whether it is a Redis Cluster." }),
    username: text("Default: that of `url`."),
    password: secretString("Default: that of `url`.").optional(),
    passwordFile: text(
      "File that holds the password, instead of `password`; read for each connection, so that a replaced one is used.",
    ),
    tls: z
      .strictObject({
        caFile: text("Authorities to trust instead of Node's own, in PEM."),
        certFile: text("Certificate to show to the server, in PEM."),
        keyFile: text("The key of `certFile`, in PEM."),
        serverName: text("The name that the server's certificate must have. Default: the host of `url`."),
      })
      .optional()
      .meta({ description: "For `rediss://`." }),
    connectTimeoutMs: z
      .int()
      .min(10)
      .max(60_000)
      .default(1_000)
      .meta({ description: "Time to open a connection, in ms; the start waits for it no longer either." }),
    deadlineMs: z
      .int()
      .min(1)
      .max(10_000)
      .default(30)
      .meta({ description: "How long a decision waits for its answer, in ms; then it is made without it." }),
    keyPrefix: z
      .string()
      .regex(/^[\w.:-]{1,64}$/, "expected letters, digits and any of _ . : -, at most 64")
      .default("plinth")
      .meta({ description: "What all keys begin with; those who share counts have the same." }),
  }),
);
