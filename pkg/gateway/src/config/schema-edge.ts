import { networks } from "@plinth/transport";
import { z } from "zod";

const method = z.enum(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
const headerName = z
  .string()
  .regex(/^[a-z0-9!#$%&'*+.^`|~-]+$/, "expected a header's name in lower case")
  .max(128);

/** Of pages; names below one by `*.`, every one by `*`. */
export const origin = z
  .string()
  .regex(
    /^(?:\*|https?:\/\/(?:\*\.)?[a-z0-9.-]+(?::\d{1,5})?|https?:\/\/\[[\da-f:.]+\](?::\d{1,5})?)$/,
    "expected `*`, or an origin such as https://shop.example or https://*.shop.example, in lower case and without a path",
  );

/** Which pages of other origins may call a route. */
export const corsSchema = z
  .strictObject({
    origins: z.array(origin).min(1).max(256).meta({
      description: "Origins whose pages may read replies; `https://*.shop.example` is all below, `*` every one.",
    }),
    credentials: z
      .boolean()
      .default(false)
      .meta({ description: "Whether cookies and the like may be sent along. Not with the origin `*`." }),
    methods: z.array(method).min(1).optional().meta({ description: "Default: those of `match.methods`." }),
    headers: z
      .array(headerName)
      .max(256)
      .default([])
      .meta({ description: "Headers that such requests may have beside the ones that any page may send." }),
    exposeHeaders: z
      .array(headerName)
      .max(256)
      .default([])
      .meta({ description: "Headers of replies that pages may read beside the ones that any may." }),
    maxAgeMs: z.int().min(0).max(86_400_000).default(600_000).meta({
      description: "How long a browser may remember the answer to its question, in ms, in whole seconds.",
    }),
  })
  .refine(({ credentials, origins }) => !credentials || !origins.includes("*"), {
    path: ["credentials"],
    message: "cannot be true for the origin `*`: name the origins",
  })
  .optional()
  .meta({
    description:
      "Lets pages of other origins call the route. The gateway answers their questions (preflights) itself; what the service says about it is taken out.",
  });

/** Headers that tell browsers to be careful. */
export const securityHeadersSchema = z
  .union([
    z.boolean(),
    z.strictObject({
      frameOptions: z.enum(["DENY", "SAMEORIGIN"]).default("DENY").meta({ description: "Value of X-Frame-Options." }),
      referrerPolicy: z
        .enum(["no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin"])
        .default("strict-origin-when-cross-origin")
        .meta({ description: "Value of Referrer-Policy." }),
      contentSecurityPolicy: z
        .string()
        .regex(/^[ -~]+$/, "expected ASCII without line breaks")
        .max(4_096)
        .optional()
        .meta({ description: "Value of Content-Security-Policy. Default: none is sent." }),
    }),
  ])
  .optional();

/** Who may call, by address. */
export const addressesSchema = z
  .strictObject({
    allow: networks.min(1).optional().meta({ description: "Only these may. Default: all." }),
    deny: networks.min(1).optional().meta({ description: "These may not, be they allowed or not." }),
  })
  .optional();

export type CorsConfig = NonNullable<z.output<typeof corsSchema>>;
export type SecurityHeadersConfig = z.output<typeof securityHeadersSchema>;
export type AddressesConfig = z.output<typeof addressesSchema>;

/** The parts of a document, and of a route, that are about its edge. */
export const documentEdge = {
  addresses: addressesSchema.meta({
    description:
      "Addresses of clients for all routes, as addresses, CIDR ranges, `loopback` or `private`. Asked before any route is looked for.",
  }),
  securityHeaders: securityHeadersSchema.meta({
    description:
      "Whether replies get X-Content-Type-Options, X-Frame-Options and Referrer-Policy where the service sets none; `true` is `{}`. Default: they do not.",
  }),
};

export const routeEdge = {
  addresses: addressesSchema.meta({ description: "Addresses of clients for this route, beside the document's." }),
  cors: corsSchema,
  securityHeaders: securityHeadersSchema.meta({ description: "In place of the document's." }),
};
