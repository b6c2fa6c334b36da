import { defineSettings, type ValueOf } from "@plinth/kernel";
import { z } from "zod";

/** The settings of one HTTP server in a section of its own; its port is moved by `PLINTH_<SECTION>_PORT`. */
export const httpSettingsIn = <const Section extends string>(section: Section, port: number) =>
  defineSettings(
    section,
    z.strictObject({
      host: z
        .string()
        .min(1)
        .default("127.0.0.1")
        .meta({ description: "Address that the HTTP server binds; 0.0.0.0 for all." }),
      port: z
        .number()
        .int()
        .min(0)
        .max(65_535)
        .default(port)
        .meta({ description: "Port of the HTTP server; 0 takes a free one." }),
      deadlineMs: z
        .number()
        .positive()
        .max(3_600_000)
        .default(10_000)
        .meta({ description: "Longest time for one request, in ms; callers may ask for less." }),
      maxBodyBytes: z.number().int().min(0).default(1_048_576).meta({ description: "Largest request body, in bytes." }),
      headersTimeoutMs: z
        .number()
        .positive()
        .default(10_000)
        .meta({ description: "Time for the request head to arrive, in ms." }),
      requestTimeoutMs: z
        .number()
        .positive()
        .default(30_000)
        .meta({ description: "Time for the whole request to arrive, in ms." }),
      keepAliveTimeoutMs: z
        .number()
        .positive()
        .default(72_000)
        .meta({ description: "How long an idle connection is kept, in ms; longer than the callers keep theirs." }),
      accessLog: z.boolean().default(true).meta({ description: "Write one line for each request." }),
    }),
  );

export const httpSettings = httpSettingsIn("http", 3_000);

export type HttpSettings = ValueOf<typeof httpSettings>;
