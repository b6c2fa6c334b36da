import { defineSettings, type ValueOf } from "@plinth/kernel";
import { z } from "zod";
import { accessLogFields } from "../access-log.ts";
import { authModes } from "../auth.ts";
import { peerSettings } from "../client-address.ts";
import { listenSettings } from "../listen-settings.ts";
import { tlsSettings } from "../tls/settings.ts";

const longestMs = 2 ** 31 - 1;

export const grpcSettings = defineSettings(
  "grpc",
  z.strictObject({
    host: z
      .string()
      .min(1)
      .default("127.0.0.1")
      .meta({ description: "Address that the gRPC server binds; 0.0.0.0 for all." }),
    port: z
      .number()
      .int()
      .min(0)
      .max(65_535)
      .default(50_051)
      .meta({ description: "Port of the gRPC server; 0 takes a free one." }),
    ...listenSettings,
    tls: tlsSettings.optional().meta({ description: "Certificates of the server. Absent: it speaks in the clear." }),
    deadlineMs: z
      .number()
      .positive()
      .max(3_600_000)
      .default(10_000)
      .meta({ description: "Longest time for one unary call, in ms; callers may ask for less." }),
    maxMessageBytes: z
      .number()
      .int()
      .min(1)
      .default(4_194_304)
      .meta({ description: "Largest message received, in bytes." }),
    maxReplyBytes: z.int().min(1).default(4_194_304).meta({
      description: "Largest message sent, in bytes. Most clients take no more than the default.",
    }),
    maxConcurrentStreams: z
      .number()
      .int()
      .min(1)
      .default(100)
      .meta({ description: "Calls at once on one connection." }),
    maxLoopDelayMs: z.int().min(0).max(3_600_000).default(1_000).meta({
      description:
        "Calls are answered with UNAVAILABLE while the event loop runs later than this, in ms; 0 never refuses one for that.",
    }),
    maxConcurrentCalls: z.int().min(0).max(1_000_000).default(10_000).meta({
      description:
        "Calls, streams among them, are answered with UNAVAILABLE while so many are being served already; 0 never refuses one for that.",
    }),
    idleTimeoutMs: z.int().min(0).max(longestMs).default(600_000).meta({
      description:
        "A call is ended when its caller has read no reply that waits, or sent no message that is waited for, for so long, in ms; 0 never ends one.",
    }),
    prefaceTimeoutMs: z.int().min(1).max(longestMs).default(10_000).meta({
      description: "Time for a new connection to begin to speak HTTP/2, in ms.",
    }),
    keepaliveMs: z.int().min(0).max(longestMs).default(60_000).meta({
      description: "How often each connection is pinged to see whether its other end is there, in ms; 0 never.",
    }),
    keepaliveTimeoutMs: z.int().min(1).max(longestMs).default(20_000).meta({
      description: "A connection whose other end does not answer a ping for so long is cut off, in ms.",
    }),
    minPingIntervalMs: z.int().min(0).max(longestMs).default(10_000).meta({
      description:
        "Pings of a client that come closer together, in ms, three times without calls going on between them, end its connection with ENHANCE_YOUR_CALM; 0 allows any.",
    }),
    pingWithoutCalls: z.boolean().default(true).meta({
      description: "Whether clients may ping while no call is open; if not, at most once in two hours.",
    }),
    maxConnectionAgeMs: z.int().min(0).max(longestMs).default(0).meta({
      description:
        "After so long, in ms and give or take a tenth, a client is asked to open another connection, so that new instances get their share; 0 never.",
    }),
    maxConnectionAgeGraceMs: z.int().min(0).max(longestMs).default(30_000).meta({
      description: "Time for the calls of a connection that has become too old to end, in ms; then it is cut off.",
    }),
    maxConnectionIdleMs: z.int().min(0).max(longestMs).default(900_000).meta({
      description: "A connection without calls is closed after so long, in ms; 0 never closes one.",
    }),
    reflection: z.boolean().default(false).meta({
      description:
        "Tell callers the contracts of all services, for tools such as grpcurl. Off, since it shows everything to everybody who can connect.",
    }),
    auth: z.enum(authModes).default("required").meta({
      description:
        "Whether callers must say who they are, on methods that say nothing of it: `required`, `optional` or `none`. Without an authenticator nobody is asked.",
    }),
    ...accessLogFields,
    ...peerSettings,
  }),
);

export type GrpcSettings = ValueOf<typeof grpcSettings>;
