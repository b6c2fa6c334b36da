import { z } from "zod";

/** After what a request may be sent again. */
const cause = z.union([z.enum(["reset", "timeout"]), z.literal([429, 502, 503, 504])]);

export const retriesSchema = z
  .strictObject({
    attempts: z
      .int()
      .min(2)
      .max(5)
      .default(2)
      .meta({ description: "How often it is sent at most, the first time included, while the route's time lasts." }),
    on: z.array(cause).min(1).default(["reset", "timeout", 503]).meta({
      description:
        "After what: `reset` is a connection that broke before the reply's head, `timeout` a head that did not come, a number that status of the instance's reply.",
    }),
    perTryTimeoutMs: z.int().min(1).max(86_400_000).optional().meta({
      description:
        "How long the head of a reply may take before another instance is asked, in ms. Default: as long as `gateway.upstream.headersTimeoutMs`.",
    }),
  })
  .optional()
  .meta({
    description:
      "Whether requests of idempotent methods (GET, HEAD, OPTIONS, PUT, DELETE) are sent again to another instance, at most a fifth of the service's requests. Default: only where nothing has reached an instance.",
  });

export type RetriesConfig = NonNullable<z.output<typeof retriesSchema>>;
