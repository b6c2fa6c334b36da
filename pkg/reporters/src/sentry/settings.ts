import { defineSettings, secretString, type ValueOf } from "@plinth/kernel";
import { z } from "zod";
import { dsnForm, isDsn } from "./dsn.ts";
import { sentryDefaults } from "./options.ts";

/** Which project of Sentry hears of an app's errors, if any. */
export const sentrySettings = defineSettings(
  "sentry",
  z.strictObject({
    dsn: secretString("As Sentry shows it among the keys of a project. Absent: nothing is sent.")
      .refine((dsn) => isDsn(dsn.reveal()), dsnForm)
      .optional(),
    environment: z.string().min(1).optional().meta({
      description: "Such as `staging`. Default: `production`, which is Sentry's own.",
    }),
    release: z
      .string()
      .min(1)
      .optional()
      .meta({ description: "Default: name and version of the app, as `notes@1.2.3`." }),
    serverName: z.string().min(1).optional().meta({ description: "This instance. Default: the app's instance id." }),
    sampleRatio: z.number().min(0).max(1).default(sentryDefaults.sampleRatio).meta({
      description: "Share of reports that is sent; fatal ones always are.",
    }),
    timeoutMs: z.number().min(1).max(60_000).default(sentryDefaults.timeoutMs).meta({
      description: "Limit of one request, from connecting to the end of the reply, in ms.",
    }),
  }),
);

export type SentrySettings = ValueOf<typeof sentrySettings>;
