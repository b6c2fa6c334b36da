import { z } from "zod";
import { accessLogSchema } from "./schema-access-log.ts";
import { authSchema, gatewayTokenProvider } from "./schema-auth.ts";
import { authServicesSchema } from "./schema-auth-services.ts";
import { backendsSchema, stickBySchema } from "./schema-backends.ts";
import { documentCompression, routeCompression } from "./schema-compression.ts";
import { documentEdge, routeEdge } from "./schema-edge.ts";
import { headersSchema } from "./schema-headers.ts";
import { documentPlugins, routePlugins } from "./schema-plugins.ts";
import { hedgingSchema } from "./schema-hedging.ts";
import { retriesSchema } from "./schema-retries.ts";
import { loadFields, rateLimitSchema, routeLimitFields } from "./schema-limits.ts";
import { servicesSchema } from "./schema-services.ts";
import { transcodingSchema } from "./schema-transcoding.ts";
import { matchSchema, prioritySchema, rewriteSchema, trailingSlashSchema } from "./schema-routing.ts";
import { workersSchema } from "./schema-workers.ts";
import { webSocketSchema } from "./schema-websocket.ts";

const name = z
  .string()
  .regex(
    /^[a-z][a-z0-9-]{0,62}$/,
    "expected lower-case letters, digits and hyphens, beginning with a letter, at most 63",
  )
  .meta({ description: "Lower-case letters, digits and hyphens. It stands in logs, metrics and spans." });

const route = z
  .strictObject({
    name,
    match: matchSchema.meta({ description: "Which requests it is for: all that is named must be so." }),
    priority: prioritySchema,
    service: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, "expected a service name: letters, digits and any of . _ -")
      .meta({ description: "Name of the service in the registry." }),
    auth: authSchema.optional().meta({ description: "A valid token is needed." }),
    anonymous: z
      .literal(true)
      .optional()
      .meta({ description: "Anybody may call it. Every route has either this or `auth`." }),
    ...routeLimitFields(name),
    ...loadFields,
    timeoutMs: z.int().min(0).max(86_400_000).default(30_000).meta({
      description: "Longest time from request head to the end of the reply, in ms. 0: no such limit, for streams.",
    }),
    bodyGapMs: z.int().min(1).max(86_400_000).optional().meta({
      description:
        "Longest pause within the body of a reply, in ms, for streams that are silent for long. Default: `gateway.upstream.bodyGapMs`.",
    }),
    maxBodyBytes: z
      .int()
      .min(0)
      .max(Number.MAX_SAFE_INTEGER)
      .default(10_485_760)
      .meta({ description: "Largest request body, in bytes." }),
    retries: retriesSchema,
    hedging: hedgingSchema,
    websocket: webSocketSchema,
    grpc: transcodingSchema,
    backends: backendsSchema,
    stickBy: stickBySchema,
    ...routeEdge,
    compress: routeCompression,
    plugins: routePlugins,
    rewrite: rewriteSchema,
    headers: headersSchema,
  })
  .meta({ description: "Which requests go to which service, and on what terms." });

/** The gateway's document. `gateway.schema.json` is made from it. */
export const gatewayDocument = z.strictObject({
  $schema: z.string().optional().meta({ description: "For editors; not read." }),
  jwt: z.record(name, gatewayTokenProvider).default({}).meta({ description: "Issuers of tokens by name." }),
  authServices: authServicesSchema,
  rateLimits: z.record(name, rateLimitSchema).default({}).meta({ description: "Limits that routes share, by name." }),
  services: servicesSchema,
  trailingSlash: trailingSlashSchema,
  accessLog: accessLogSchema,
  compress: documentCompression,
  plugins: documentPlugins,
  ...documentEdge,
  workers: workersSchema.optional(),
  routes: z.array(route).meta({ description: "Order does not matter: the more exact pattern wins." }),
});

/** What a user writes. */
export type GatewayDocument = z.input<typeof gatewayDocument>;
/** The same with every default filled in. */
export type ParsedDocument = z.output<typeof gatewayDocument>;
export type RouteConfig = ParsedDocument["routes"][number];
