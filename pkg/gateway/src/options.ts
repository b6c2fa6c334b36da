import { defineSettings, type ValueOf } from "@plinth/kernel";
import { z } from "zod";
import { compressionSettings } from "./config/schema-compression.ts";
import { proxyProtocolSchema } from "./config/settings-proxy-protocol.ts";
import { proxySettings } from "./config/settings-proxies.ts";
import { gatewayHttp2Schema } from "./config/settings-http2.ts";
import { clientSettings } from "./config/settings-clients.ts";
import { gatewayTlsSchema } from "./config/settings-tls.ts";
import { workersSchema } from "./config/schema-workers.ts";
import { schemaFaults } from "./config/faults.ts";
import { GatewayConfigError } from "./errors.ts";

const ms = (description: string): z.ZodInt => z.int().min(1).max(86_400_000).meta({ description });

const upstreamSchema = z.strictObject({
  connectTimeoutMs: ms("Time to connect to an instance, in ms.").default(2_000),
  headersTimeoutMs: ms("Time until an instance sends the head of its reply, in ms.").default(15_000),
  bodyGapMs: ms("Longest pause within the body of a reply, in ms.").default(30_000),
  maxConnections: z.int().min(1).max(65_535).default(1_024).meta({
    description:
      "Connections to one instance, which are requests at one time as well; several workers have them together, each its part, at least one.",
  }),
});

const schema = z
  .strictObject({
    host: z
      .string()
      .min(1)
      .default("127.0.0.1")
      .meta({ description: "Address that the gateway binds; 0.0.0.0 for all." }),
    port: z
      .int()
      .min(0)
      .max(65_535)
      .default(8_080)
      .meta({ description: "Port of the gateway's traffic; 0 takes a free one." }),
    routes: z.string().min(1).optional().meta({
      description:
        "The gateway's document, routes and what they share: a YAML file, or `consul:` and a key of Consul's store. What changes there is taken over.",
    }),
    jwksUrls: z.record(z.string(), z.string()).default({}).meta({
      description: "URLs of key sets by provider name; each takes the place of the document's `jwt.NAME.jwks`.",
    }),
    jwksSnapshots: z.string().min(1).optional().meta({
      description:
        "Folder where the last good key set of each provider with a URL is kept, for a start while its issuer is down. Default: none is.",
    }),
    revocations: z.string().min(1).optional().meta({
      description:
        "YAML or JSON file of tokens that are refused though they are valid; what changes there is taken over. Default: none.",
    }),
    revocationPollMs: z.int().min(20).max(60_000).default(250).meta({
      description: "How often the gateways that have `redis.url` ask there for what others have revoked, in ms.",
    }),
    headersTimeoutMs: ms("Time for a request's head to arrive, in ms.").default(10_000),
    requestTimeoutMs: ms(
      "Time for a whole request to arrive, in ms; at least headersTimeoutMs. Not for calls of gRPC and for routes with `timeoutMs: 0`: there it may go on for as long as it moves.",
    ).default(120_000),
    keepAliveTimeoutMs: ms("How long a client's connection is kept without a request, in ms.").default(65_000),
    idleTimeoutMs: ms(
      "How long a client's connection may stand still within a request or reply, in ms; longer than all upstream limits.",
    ).default(60_000),
    ...clientSettings,
    maxHeaderBytes: z
      .int()
      .min(1_024)
      .max(262_144)
      .default(16_384)
      .meta({ description: "Largest request head, in bytes." }),
    maxHeaderLines: z.int().min(1).max(1_000).default(80).meta({
      description:
        "Most header lines of a request; one with more gets 431. Services get up to 15 more of the gateway's own, besides those of the document's header rules and claims, and many take 100 in all.",
    }),
    accessLog: z.boolean().default(true).meta({ description: "Write one line for each request, at level info." }),
    zone: z.string().min(1).max(512).optional().meta({
      description:
        "The zone that this process runs in, for services whose `balancing` has `spillOver`. Default: it is in none.",
    }),
    preferZone: z
      .strictObject({
        zone: z.string().min(1).meta({ description: "Instances of this zone get the traffic, those of others none." }),
        atLeast: z.int().min(1).optional().meta({ description: "As long as it has so many of a service. Default 1." }),
        atLeastRatio: z
          .number()
          .min(0)
          .max(1)
          .optional()
          .meta({ description: "And as long as those are such a share of the service's. Default 0." }),
      })
      .optional()
      .meta({ description: "The zone to stay in. Default: none is preferred." }),
    tls: gatewayTlsSchema.optional(),
    http2: gatewayHttp2Schema.prefault({}),
    ...proxySettings,
    proxyProtocol: proxyProtocolSchema.optional(),
    ...compressionSettings,
    maxLoopDelayMs: z.int().min(0).max(3_600_000).default(1_000).meta({
      description:
        "From which delay of the event loop on requests are refused, in ms: of routes of `low` importance at half of it, of `high` at twice, of `critical` never. 0: never.",
    }),
    maxHeapRatio: z.number().min(0).max(0.99).default(0.9).meta({
      description:
        "From which share of the heap on, of what V8 may use and is still needed after a collection, requests are refused: of routes of `low` importance when half as much more is free, of `high` when half as much is, of `critical` never. 0: never.",
    }),
    workers: workersSchema.optional(),
    upstream: upstreamSchema.prefault({}),
  })
  .refine(({ headersTimeoutMs, requestTimeoutMs }) => requestTimeoutMs >= headersTimeoutMs, {
    path: ["requestTimeoutMs"],
    message: "expected at least headersTimeoutMs",
  });

/** Settings of the process; what is routed where stands in the document that `gateway.routes` names. */
export const gatewaySettings = defineSettings("gateway", schema);

export type GatewaySettings = ValueOf<typeof gatewaySettings>;

/** Settings as they may be given in code. */
export type GatewaySettingsInput = z.input<typeof schema>;

/**
 * Settings given in code, with the defaults for those left out.
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` with every fault.
 */
export function toGatewaySettings(given: GatewaySettingsInput = {}): GatewaySettings {
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  const places = { name: "settings", places: new Map<string, string>() };
  throw new GatewayConfigError(schemaFaults(result.error, given, schema, places));
}
