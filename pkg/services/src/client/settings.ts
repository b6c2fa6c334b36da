import { defineSettings, type SettingsToken } from "@plinth/kernel";
import { z } from "zod";
import type { ClientDefinition } from "./definition.ts";
import { plinthClients } from "./plinth-clients.ts";

const file = (description: string) => z.string().min(1).optional().meta({ description });

const serviceSettings = z
  .strictObject({
    transport: z.enum(["grpc", "http"]).default("grpc").meta({ description: "What carries its calls." }),
    service: z
      .string()
      .min(1)
      .optional()
      .meta({ description: "Name that it is registered by. Default: that of its client." }),
    addresses: z.array(z.string().min(1)).min(1).optional().meta({
      description: "Its instances as `host:port`, in the place of the registry's.",
    }),
    url: z
      .url({ protocol: /^https?$/ })
      .optional()
      .meta({
        description: "Its one address as `http(s)://host:port`, in the place of the registry's.",
      }),
    timeoutMs: z.int().min(1).max(3_600_000).default(2_000).meta({
      description: "Longest time for a call with one reply, all its attempts together, in ms.",
    }),
    attemptTimeoutMs: z.int().min(1).max(3_600_000).optional().meta({
      description: "Longest time for one attempt of an idempotent call, in ms. Default: what is left of the call's.",
    }),
    maxAttempts: z.int().min(1).max(10).default(3).meta({ description: "Attempts of each call, the first included." }),
    retryRatio: z.number().min(0).max(1).default(0.2).meta({ description: "Retries and hedges by calls, at most." }),
    hedging: z.boolean().default(false).meta({
      description: "Sends slow calls of idempotent methods to a second instance.",
    }),
    breaker: z.boolean().default(true).meta({
      description: "Whether a method that fails too often at an instance is not called there for a while.",
    }),
    policy: z.enum(["p2c-ewma", "round-robin", "consistent-hash"]).default("p2c-ewma").meta({
      description: "How the instance for a call is chosen.",
    }),
    subsetSize: z
      .int()
      .min(1)
      .optional()
      .meta({ description: "Calls go to so many of its instances. Default: to all." }),
    maxInFlight: z.int().min(1).max(1_000_000).default(1_024).meta({ description: "Calls under way at one time." }),
    maxQueue: z
      .int()
      .min(0)
      .max(1_000_000)
      .default(1_024)
      .meta({ description: "Calls that wait for a place at most." }),
    gzipFromBytes: z.int().min(1).optional().meta({
      description: "Messages sent that have at least so many bytes are compressed by gzip. Default: none.",
    }),
    tls: z
      .strictObject({
        caFile: file("PEM file of the authorities that sign its certificates. Default: Node's."),
        certFile: file("PEM file of this client's certificate, where it is asked for one."),
        keyFile: file("PEM file of that certificate's private key."),
        serverName: file(
          "The name that its certificate is of. Default: the service's, found by a registry; else its host.",
        ),
      })
      .optional()
      .meta({ description: "Encrypts its connections. Default: they are not, but for a URL of `https`." }),
  })
  .refine(({ addresses, url }) => addresses === undefined || url === undefined, {
    path: ["url"],
    error: "expected one of addresses and url, not both",
  });

/** How one service is called. */
export type ServiceSettings = z.infer<typeof serviceSettings>;

/** How services are called, by the names of their clients. */
export type ServicesSettings = Readonly<Record<string, ServiceSettings>>;

/** The section of an app that also has clients of its own. */
export function servicesSettingsOf(
  definitions: readonly ClientDefinition[],
): SettingsToken<ServicesSettings, "services"> {
  const names = [...plinthClients, ...definitions].map(({ name }) => name);
  const shape = Object.fromEntries(names.map((name) => [name, serviceSettings.prefault({})]));
  return defineSettings("services", z.strictObject(shape), { reloadable: "all" });
}

/** How an app calls Auth, Identity, Authz and Audit. */
export const servicesSettings = servicesSettingsOf([]);
