import { z } from "zod";

export const hedgingSchema = z
  .strictObject({
    afterMs: z.int().min(1).max(86_400_000).optional().meta({
      description:
        "How long the head of the reply is waited for before another instance is asked as well, in ms. Default: longer than 95 of 100 of the route's latest replies took, once there were 50 in half a minute.",
    }),
    max: z.int().min(1).max(3).default(1).meta({
      description: "How many more are asked at most, each after the same time again.",
    }),
  })
  .optional()
  .meta({
    description:
      "Whether a request of an idempotent method (GET, HEAD, OPTIONS, PUT, DELETE) that takes long is sent to another instance beside the first. The first good reply is the client's, and the others are broken off. Hedges and retries together are at most a fifth of the service's requests. A body is sent again only when it has come whole, with no more than 64 KiB. Default: none is.",
  });

export type HedgingConfig = NonNullable<z.output<typeof hedgingSchema>>;

const idempotent: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/** What is wrong with the `hedging` of a route; undefined when nothing is. */
export function hedgingProblem(
  hedging: HedgingConfig | undefined,
  methods: readonly string[] | undefined,
): string | undefined {
  if (!hedging || !methods || methods.some((method) => idempotent.has(method))) return undefined;
  return "the route takes no method whose requests may be sent twice";
}
