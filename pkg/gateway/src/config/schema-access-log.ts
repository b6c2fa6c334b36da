import { z } from "zod";

/** What a line of the access log may hold. None of them has a query, a token or a header that may carry one. */
export const accessLogFields = [
  "method",
  "path",
  "route",
  "status",
  "reason",
  "auth",
  "limit",
  "shadow_limit",
  "upstream",
  "instance",
  "attempts",
  "duration_ms",
  "bytes",
  "bytes_received",
  "client",
  "template",
  "host",
  "scheme",
  "protocol",
  "user_agent",
  "upstream_ms",
] as const;

export type AccessLogField = (typeof accessLogFields)[number];

/** Those of a document that chooses none, in order. */
const usualFields: readonly AccessLogField[] = accessLogFields.slice(0, accessLogFields.indexOf("client") + 1);

/** Which requests have a line in the access log, and what stands in it. */
export const accessLogSchema = z
  .strictObject({
    fields: z
      .array(z.enum(accessLogFields))
      .min(1)
      .refine((fields) => new Set(fields).size === fields.length, "expected each field once")
      .default([...usualFields])
      .meta({
        description:
          "What a line holds beside time, level, message, request id and trace id; what a request has not is left out. Texts of clients have at most 256 characters. Beside the usual ones: `template` (the pattern that matched), `host`, `scheme`, `protocol`, `user_agent`, `upstream_ms` (from the last try to the head of its reply).",
      }),
    sample: z.number().min(0).max(1).default(1).meta({
      description:
        "Share of requests that have a line, of those that are left by `slowOnlyMs`; chosen by the trace id.",
    }),
    slowOnlyMs: z.int().min(0).max(86_400_000).default(0).meta({
      description: "Only requests that took at least so long have a line, in ms. 0: all.",
    }),
    errorsFrom: z.int().min(400).max(500).default(500).meta({
      description: "From this status on a request always has a line, whatever `sample` and `slowOnlyMs` say.",
    }),
  })
  .optional()
  .meta({
    description:
      "Which requests have a line in the access log, and what stands in it. Default: all of them, with the usual fields. The setting `gateway.accessLog` turns it off.",
  });

export type AccessLogConfig = NonNullable<z.output<typeof accessLogSchema>>;
