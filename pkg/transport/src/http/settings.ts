import { defineSettings, type ValueOf } from "@plinth/kernel";
import { z } from "zod";
import { accessLogFields } from "../access-log.ts";
import { layerSettings } from "./layer-settings.ts";
import { listenSettings } from "../listen-settings.ts";
import { tlsSettings } from "../tls/settings.ts";

/** A time limit as node takes it: whole milliseconds, up to an hour. */
const limitMs = z.int().min(1).max(3_600_000);

/** The settings of one HTTP server in a section of its own; its port is moved by `PLINTH_<SECTION>_PORT`. */
export const httpSettingsIn = <const Section extends string>(section: Section, port: number) =>
  defineSettings(
    section,
    z
      .strictObject({
        host: z
          .string()
          .min(1)
          .default("127.0.0.1")
          .meta({ description: "Address that the HTTP server binds; 0.0.0.0 for all." }),
        port: z
          .int()
          .min(0)
          .max(65_535)
          .default(port)
          .meta({ description: "Port of the HTTP server; 0 takes a free one." }),
        deadlineMs: limitMs
          .default(10_000)
          .meta({ description: "Longest time for one request, in ms; callers may ask for less." }),
        maxBodyBytes: z.int().min(1).default(1_048_576).meta({ description: "Largest request body, in bytes." }),
        headersTimeoutMs: limitMs
          .default(10_000)
          .meta({ description: "Time for the request head to arrive, in ms; looked at once a second." }),
        requestTimeoutMs: limitMs
          .default(30_000)
          .meta({ description: "Time for the whole request to arrive, in ms; looked at once a second." }),
        keepAliveTimeoutMs: limitMs
          .default(72_000)
          .meta({ description: "How long an idle connection is kept, in ms; longer than the callers keep theirs." }),
        idleTimeoutMs: z.int().min(0).max(3_600_000).default(60_000).meta({
          description:
            "How long a connection may stand still while a reply waits to be read, in ms, before it is broken off; 0 never does.",
        }),
        maxLoopDelayMs: z.int().min(0).max(3_600_000).default(1_000).meta({
          description:
            "Requests are answered with 503 while the event loop runs later than this, in ms; 0 never refuses one for that.",
        }),
        openapiPath: z
          .string()
          .regex(/^(?:\/[A-Za-z0-9._~-]+)+$/, "expected a path such as /openapi.json")
          .optional()
          .meta({ description: "Where the OpenAPI document of the routes is served; absent, nowhere." }),
        http2: z.boolean().default(false).meta({
          description:
            "Whether HTTP/2 is spoken besides HTTP/1.1 on the same port: with TLS by ALPN, without it to callers who know beforehand (h2c).",
        }),
        maxConcurrentStreams: z
          .int()
          .min(1)
          .max(10_000)
          .default(100)
          .meta({ description: "Requests at once on one connection of HTTP/2." }),
        ...listenSettings,
        tls: tlsSettings.optional().meta({ description: "Serves with TLS, by this certificate; absent, without." }),
        ...layerSettings,
        ...accessLogFields,
      })
      .refine(({ headersTimeoutMs, requestTimeoutMs }) => headersTimeoutMs <= requestTimeoutMs, {
        path: ["headersTimeoutMs"],
        error: "expected at most requestTimeoutMs, of which it is a part",
      }),
  );

export const httpSettings = httpSettingsIn("http", 3_000);

export type HttpSettings = ValueOf<typeof httpSettings>;
