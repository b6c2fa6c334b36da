import { defineSettings, secretString } from "@plinth/kernel";
import { z } from "zod";
import { consulDefaults } from "./consul/consul-registry.ts";

const ms = (min: number, max: number, description: string): z.ZodNumber =>
  z.number().min(min).max(max).meta({ description });

/** How this app is registered and finds others. */
export const registrySettings = defineSettings(
  "registry",
  z.strictObject({
    driver: z.enum(["memory", "consul"]).optional().meta({
      description:
        "Where instances are kept. Default: `consul` when `consul.addr` is set, else `memory`: this process alone.",
    }),
    advertiseHost: z.string().min(1).optional().meta({
      description:
        "Host that others reach this app at. Default: the one it listens on, else this machine's first address.",
    }),
    zone: z
      .string()
      .min(1)
      .optional()
      .meta({ description: "Failure domain of this instance, such as an availability zone." }),
    tags: z.array(z.string().min(1)).default([]).meta({ description: "Tags of this instance." }),
    weight: z.int().min(1).max(65_535).default(1).meta({ description: "Share of the traffic relative to its peers." }),
    ttlMs: ms(
      1_000,
      3_600_000,
      "An instance without a heartbeat for so long is taken for dead, in ms; they are sent four times as often.",
    ).default(consulDefaults.ttlMs),
    check: z.enum(["ttl", "http", "tcp"]).default(consulDefaults.check).meta({
      description:
        "`ttl`: heartbeats alone. `http`, `tcp`: the agent also asks /ready, or connects; a killed process is gone after one interval.",
    }),
    checkIntervalMs: ms(100, 3_600_000, "How often the agent looks itself, in ms.").default(
      consulDefaults.checkIntervalMs,
    ),
    deregisterAfterMs: ms(
      60_000,
      86_400_000,
      "Entries without heartbeats are removed after so long, in ms; a minute is Consul's floor.",
    ).default(consulDefaults.deregisterAfterMs),
    emptyConfirmMs: ms(
      0,
      600_000,
      "How long a service must stay empty before its last instances are dropped, in ms; above the time between two heartbeats.",
    ).default(consulDefaults.emptyConfirmMs),
  }),
);

/** The Consul agent, and how it is asked. */
export const consulSettings = defineSettings(
  "consul",
  z.strictObject({
    addr: z.string().min(1).optional().meta({
      description:
        "The local agent, as host:port or http://host:port. Default for the driver `consul`: http://127.0.0.1:8500.",
    }),
    token: secretString("ACL token sent to the agent.").optional(),
    waitMs: ms(
      1_000,
      600_000,
      "How long the agent may hold a quiet watch, in ms; also how long a stalled agent goes unnoticed.",
    ).default(consulDefaults.waitMs),
    requestTimeoutMs: ms(1, 60_000, "Limit of one request, in ms.").default(consulDefaults.requestTimeoutMs),
    maxResponseBytes: z
      .int()
      .min(1)
      .default(consulDefaults.maxResponseBytes)
      .meta({ description: "Larger answers are refused, in bytes." }),
  }),
);
