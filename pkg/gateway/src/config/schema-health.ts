import { z } from "zod";

const ms = (description: string): z.ZodInt => z.int().min(1).max(86_400_000).meta({ description });

/** Whether the gateway asks each instance of a service from time to time how it is. */
export const healthSchema = z
  .strictObject({
    path: z
      .string()
      .regex(/^\/[!-~]*$/, "expected a path that begins with a slash, without spaces")
      .max(1_024)
      .meta({ description: "What is asked for, with GET; a query may be behind it." }),
    host: z
      .string()
      .regex(/^[!-~]{1,255}$/, "expected a host, perhaps with a port")
      .optional()
      .meta({ description: "Host that is asked for. Default: the instance's own address and port." }),
    intervalMs: ms("Time between two probes of an instance, in ms; up to a tenth is added or taken by chance.")
      .min(100)
      .default(10_000),
    unhealthyIntervalMs: ms("The same while it is out for its probes, in ms. Default: `intervalMs`.")
      .min(100)
      .optional(),
    timeoutMs: ms("Time for connection and head of the reply, in ms; less than both intervals.").default(2_000),
    fall: z.int().min(1).max(100).default(3).meta({ description: "So many failures in a row take an instance out." }),
    rise: z.int().min(1).max(100).default(2).meta({
      description: "So many passes in a row bring it back, also one that was ejected for what its requests met.",
    }),
    expectStatus: z
      .array(z.int().min(200).max(599))
      .min(1)
      .optional()
      .meta({ description: "Statuses that pass. Default: any from 200 to 299. A redirect is not followed." }),
  })
  .refine(
    ({ timeoutMs, intervalMs, unhealthyIntervalMs = intervalMs }) =>
      timeoutMs < Math.min(intervalMs, unhealthyIntervalMs),
    {
      path: ["timeoutMs"],
      message: "expected less than `intervalMs` and `unhealthyIntervalMs` (2000 ms unless it is set)",
    },
  )
  .optional()
  .meta({ description: "Active health checks: each instance is asked from time to time. Default: none is." });

export type HealthConfig = NonNullable<z.output<typeof healthSchema>>;
