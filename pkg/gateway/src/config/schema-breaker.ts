import { z } from "zod";

const ms = (description: string): z.ZodInt => z.int().min(10).max(3_600_000).meta({ description });

/** When nothing of a route is sent to an instance for a while. */
export const breakerSchema = z
  .strictObject({
    errorRatio: z.number().gt(0).max(1).default(0.5).meta({
      description: "Share of requests that must fail within the window, above 0 to 1.",
    }),
    minRequests: z.int().min(1).max(1_000_000).default(20).meta({
      description: "Fewer requests than this within the window say nothing.",
    }),
    windowMs: ms("How long a request counts, in ms.").default(10_000),
    openMs: ms("How long nothing goes through the first time, in ms; doubles each time that recovery fails.").default(
      2_000,
    ),
    maxOpenMs: ms("It is never shut for longer, in ms; at least `openMs`.").default(60_000),
    recoveryMs: z.int().min(0).max(3_600_000).default(10_000).meta({
      description: "How long it takes from the first request through to all of them, in ms.",
    }),
  })
  .refine(({ openMs, maxOpenMs }) => maxOpenMs >= openMs, {
    path: ["maxOpenMs"],
    message: "expected at least `openMs`",
  })
  .optional()
  .meta({
    description:
      "A breaker for each instance and route: where too many requests fail, others are asked, and `breaker_open` is the answer when none is left. Default: none.",
  });
