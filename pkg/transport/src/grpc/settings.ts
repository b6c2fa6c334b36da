import { defineSettings, type ValueOf } from "@plinth/kernel";
import { z } from "zod";

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
    accessLog: z.boolean().default(true).meta({ description: "Write one line for each call." }),
  }),
);

export type GrpcSettings = ValueOf<typeof grpcSettings>;
