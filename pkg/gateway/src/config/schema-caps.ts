import { z } from "zod";

/** How much the instances of a service are given at one time. */
export const capsSchema = z
  .strictObject({
    maxConnections: z.int().min(1).max(65_535).optional().meta({
      description:
        "Connections to one instance, which are requests at one time as well; several workers have them together, each its part, at least one. Default: `gateway.upstream.maxConnections`.",
    }),
    maxPending: z.int().min(0).max(65_535).default(0).meta({
      description: "So many requests for each instance wait while all connections to all of them are in use.",
    }),
    maxWaitMs: z.int().min(1).max(60_000).default(1_000).meta({ description: "None of them waits longer, in ms." }),
  })
  .optional()
  .meta({
    description:
      "Requests at one time to the instances of a service. Beyond that, and beyond what may wait, the answer is `instances_busy`. Default: `gateway.upstream.maxConnections` each, and nothing waits.",
  });
