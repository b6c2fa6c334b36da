import { z } from "zod";

const ratio = (description: string): z.ZodNumber => z.number().min(0).max(1).meta({ description });
const count = z.union([z.int().min(1).max(10_000), z.literal("never")]);

/** When instances are kept out for what the requests sent to them met. */
export const ejectionSchema = z
  .strictObject({
    localFailures: count.default(3).meta({
      description: "An instance is out after so many requests in a row that it did not answer; `never`: it is not.",
    }),
    failures: count.default(5).meta({
      description: "And after so many replies in a row with one of `failingStatuses`; `never`: it is not.",
    }),
    failingStatuses: z
      .array(z.int().min(500).max(599))
      .min(1)
      .default([502, 503, 504])
      .meta({ description: "Replies that speak against an instance." }),
    countSlow: z.boolean().default(false).meta({
      description:
        "Whether a reply that broke off, or whose head did not come in time, counts as no answer. It may be the request's own doing, which would then eject one instance after another.",
    }),
    ejectMs: z.int().min(1).max(3_600_000).default(5_000).meta({
      description: "How long the first time, in ms; doubles each time, and falls by one for each quiet 10 s.",
    }),
    maxEjectMs: z.int().min(1).max(86_400_000).default(300_000).meta({ description: "Never for longer, in ms." }),
    maxEjectedRatio: ratio(
      "Share of the instances that may be out for this, 0 to 1; one always may, and one never is.",
    ).default(0.5),
    panicRatio: ratio(
      "Where a smaller share than this is left, of all that are out for this or for their probes, all get requests again: 0 to 1. 0: never; with all out there is `no_instance`.",
    ).default(0.5),
    successRate: z.boolean().default(true).meta({
      description: "Whether one is ejected whose share of successes is far below that of at least four others.",
    }),
  })
  .refine(({ ejectMs, maxEjectMs }) => maxEjectMs >= ejectMs, {
    path: ["maxEjectMs"],
    message: "expected at least `ejectMs`",
  })
  .optional()
  .meta({
    description:
      "When an instance gets no requests for a while because of what those before met. Default: every default.",
  });

export type EjectionConfig = NonNullable<z.output<typeof ejectionSchema>>;
