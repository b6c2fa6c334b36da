import { defineSettings, secretString, type ValueOf } from "@plinth/kernel";
import { z } from "zod";
import { webhookDefaults } from "./options.ts";
import { isBearer, isPostable, tokenForm, urlForm } from "./target.ts";

/** Where an app's errors are posted to, if anywhere. */
export const webhookSettings = defineSettings(
  "webhook",
  z.strictObject({
    url: secretString("Where reports are posted to as JSON, by http or https; it may hold a token. Absent: nowhere.")
      .refine((url) => isPostable(url.reveal()), urlForm)
      .optional(),
    token: secretString("Sent as a bearer token.")
      .refine((token) => isBearer(token.reveal()), tokenForm)
      .optional(),
    timeoutMs: z.number().min(1).max(60_000).default(webhookDefaults.timeoutMs).meta({
      description: "Limit of one request, from connecting to the end of the reply, in ms.",
    }),
    retries: z.int().min(0).max(10).default(webhookDefaults.retries).meta({
      description: "Further tries of a batch after no connection, no answer, 408, 429 or 5xx.",
    }),
    retryRatio: z.number().min(0).max(1).default(webhookDefaults.retryRatio).meta({
      description:
        "Retries for each batch in the long run, so that an outage is not answered with a multiple of the load; some 10 are free.",
    }),
    maxRetryAfterMs: z.number().min(0).max(3_600_000).default(webhookDefaults.maxRetryAfterMs).meta({
      description:
        "A pause that the receiver asks for by Retry-After is kept up to so long, in ms; what is reported meanwhile is lost.",
    }),
    maxBatch: z.int().min(1).max(1_000).default(webhookDefaults.maxBatch).meta({
      description: "Most reports in one request; fewer where `maxBodyBytes` has no room for so many.",
    }),
    maxBodyBytes: z.int().min(4_096).max(16_777_216).default(webhookDefaults.maxBodyBytes).meta({
      description: "Larger bodies are cut, the largest reports first, in bytes.",
    }),
  }),
);

export type WebhookSettings = ValueOf<typeof webhookSettings>;
