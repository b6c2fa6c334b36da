import { z } from "zod";

/** Settings of whatever listens beside its host and port: the same on every wire. */
export const listenSettings = {
  socketPath: z.string().min(1).max(100).optional().meta({
    description: "Unix domain socket to listen on, in the place of host and port; up to 100 bytes.",
  }),
  socketMode: z
    .string()
    .regex(/^0?[0-7]{3}$/, "expected three octal digits, such as 660")
    .default("660")
    .meta({ description: "Permissions of the Unix domain socket, in octal." }),
  reusePort: z.boolean().default(false).meta({
    description: "Whether several processes may listen on the port, each with a share of the connections.",
  }),
  maxConnections: z.int().min(1).max(1_000_000).default(10_000).meta({
    description: "Connections open at once; further ones are closed at once, and counted.",
  }),
};
