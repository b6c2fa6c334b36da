import { z } from "zod";
import { defineSettings } from "../config/settings.ts";

const limit = (description: string): z.ZodNumber => z.number().positive().max(3_600_000).meta({ description });

/** Limits of start and stop, in milliseconds. */
export const lifecycleSettings = defineSettings(
  "lifecycle",
  z.strictObject({
    hookMs: limit("Limit of one create, start, join, leave or stop hook, in ms.").default(10_000),
    startMs: limit("Limit of the whole start, in ms.").default(60_000),
    stopMs: limit("Limit of the whole stop, and of the rollback of a failed start, in ms.").default(25_000),
    drainMs: limit(
      "Part of the stop that leaving, announcing and draining may take, in ms; at most 60 % of stopMs, so that time is left.",
    ).default(15_000),
    announceDelayMs: z.number().min(0).max(600_000).default(1_000).meta({
      description:
        "How long to keep serving after /ready has turned 503 and the registry was left, in ms; leaving and this take at most half of drainMs.",
    }),
  }),
);

/** All in milliseconds; see {@link lifecycleSettings}. */
export interface Limits {
  readonly hookMs: number;
  readonly startMs: number;
  readonly stopMs: number;
  readonly drainMs: number;
  readonly announceDelayMs: number;
}
