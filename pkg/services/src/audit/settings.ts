import { defineSettings, type ValueOf } from "@plinth/kernel";
import { z } from "zod";
import { auditRecorderDefaults as defaults, spillMaxBytes } from "./recorder-options.ts";

/** How an app records what is done in it. */
export const auditSettings = defineSettings(
  "audit",
  z.strictObject({
    delivery: z.enum(["background", "confirmed"]).default(defaults.delivery).meta({
      description:
        "Whether what is recorded goes on at once (`background`), or waits until the event is kept and fails when it is not (`confirmed`).",
    }),
    confirmMs: z.int().min(1).max(60_000).default(defaults.confirmMs).meta({
      description: "How long a caller waits for a confirmation, in ms.",
    }),
    maxQueue: z.int().min(1).max(1_000_000).default(defaults.maxQueue).meta({
      description: "Events that wait in memory at most.",
    }),
    maxQueueBytes: z.int().min(1_024).default(defaults.maxQueueBytes).meta({
      description: "What they may take at most, in bytes, about.",
    }),
    maxBatch: z.int().min(1).max(500).default(defaults.maxBatch).meta({
      description: "Most events in one call.",
    }),
    lingerMs: z.int().min(0).max(60_000).default(defaults.lingerMs).meta({
      description: "How long an event waits for others, in ms; with `confirmed` it does not.",
    }),
    timeoutMs: z.int().min(1).max(60_000).default(defaults.timeoutMs).meta({
      description: "Limit of one call, in ms.",
    }),
    retryMs: z.int().min(0).max(86_400_000).default(defaults.retryMs).meta({
      description: "How long an event is tried for, in ms; then it is spilled, or lost.",
    }),
    maxRetryDelayMs: z.int().min(1).max(600_000).default(defaults.maxRetryDelayMs).meta({
      description: "The longest wait between two tries, in ms.",
    }),
    spillPath: z.string().min(1).optional().meta({
      description:
        "A file of this process alone for events that find no room or are left at the end; absent, they are lost.",
    }),
    spillMaxBytes: z.int().min(1_024).default(spillMaxBytes).meta({
      description: "No event is written to that file past this size, in bytes.",
    }),
  }),
);

export type AuditSettings = ValueOf<typeof auditSettings>;
