import { z } from "zod";
import { defineSettings } from "../config/settings.ts";
import { checkDefaults } from "./scheduled-check.ts";

export const healthSettings = defineSettings(
  "health",
  z.strictObject({
    intervalMs: z.number().min(10).max(3_600_000).default(checkDefaults.intervalMs).meta({
      description:
        "How long after a run of a check the next one begins, in ms, where the check does not say it itself.",
    }),
    timeoutMs: z.number().min(1).max(600_000).default(checkDefaults.timeoutMs).meta({
      description: "After how long a run of a check has failed, in ms, where the check does not say it itself.",
    }),
    failuresToFlip: z.int().min(1).max(1_000).default(checkDefaults.failuresToFlip).meta({
      description:
        "Failures in a row that turn a passing check into a failing one, where the check does not say it itself.",
    }),
    successesToFlip: z.int().min(1).max(1_000).default(checkDefaults.successesToFlip).meta({
      description:
        "Successes in a row that turn a failing check into a passing one, where the check does not say it itself.",
    }),
    maxStallMs: z.number().min(0).max(600_000).default(10_000).meta({
      description: "Longest stall of the event loop before /healthz answers 503, in ms; 0 never does.",
    }),
    stallMemoryMs: z.number().min(0).max(600_000).default(10_000).meta({
      description:
        "How long after such a stall /healthz still answers 503, in ms: long enough for the next probe to see it, too short for one stall alone to fail several.",
    }),
    maxLoopDelayMs: z.number().min(1).max(600_000).default(1_000).meta({
      description:
        "Delay of the event loop, at p99 between two runs of the check `event-loop`, above which it fails, in ms.",
    }),
    maxHeapRatio: z.number().gt(0).max(1).default(0.9).meta({
      description: "Used heap over V8's limit (`--max-old-space-size`) above which the check `heap` fails.",
    }),
  }),
);
