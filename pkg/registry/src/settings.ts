import { defineSettings, secretString } from "@plinth/kernel";
import { z } from "zod";
import { consulDefaults } from "./consul/consul-registry.ts";

const ms = (min: number, max: number, description: string): z.ZodNumber =>
  z.number().min(min).max(max).meta({ description });

const text = (description: string): z.ZodOptional<z.ZodString> => z.string().min(1).optional().meta({ description });

const shared = {
  version: text("Their version."),
  zone: text("Their failure domain."),
  weight: z.int().min(1).max(65_535).optional().meta({ description: "Their share of the traffic." }),
  tags: z.array(z.string().min(1)).optional().meta({ description: "Their tags." }),
  metadata: z.record(z.string(), z.string()).optional().meta({ description: "Their metadata." }),
};
const portNumber = z.int().min(1).max(65_535).optional();
const ports = z.strictObject({ http: portNumber, grpc: portNumber }).meta({ description: "Ports by protocol." });
const lookedUp = {
  ...shared,
  refreshMs: ms(1_000, 86_400_000, "Looked up again after so long at the latest, in ms. Default 30_000.").optional(),
  family: z
    .union([z.literal(4), z.literal(6)])
    .optional()
    .meta({ description: "Only addresses of IPv4, or of IPv6." }),
};

/** Where the instances of one service are. */
const staticSource = z.union([
  z.array(
    z.strictObject({
      ...shared,
      host: z.string().min(1).meta({ description: "Name or address." }),
      ports,
      id: text("Default: made of service, host and port."),
    }),
  ),
  z.strictObject({ ...lookedUp, dns: z.string().min(1).meta({ description: "Name of A and AAAA records." }), ports }),
  z.strictObject({
    ...lookedUp,
    srv: z.string().min(1).meta({ description: "Name of SRV records." }),
    protocol: z.enum(["http", "grpc"]).meta({ description: "What their ports speak." }),
  }),
]);

/** How this app is registered and finds others. */
export const registrySettings = defineSettings(
  "registry",
  z.strictObject({
    driver: z.enum(["memory", "consul", "static"]).optional().meta({
      description:
        "Where instances are kept. `static`: in `services`, and nobody is told of this app. Default: `consul` when `consul.addr` is set, else `memory`: this process alone.",
    }),
    services: z.record(z.string().min(1), staticSource).default({}).meta({
      description:
        "For the driver `static`: by service a list of instances, the name of A and AAAA records, or that of SRV records.",
    }),
    snapshotFile: text(
      "File that keeps what is known of services, for a start without the registry; no other user may write it. Default: none is kept.",
    ),
    snapshotMaxAgeMs: ms(1_000, 2_592_000_000, "What is older in that file is not used, in ms.").default(
      consulDefaults.snapshotMaxAgeMs,
    ),
    advertiseHost: z.string().min(1).optional().meta({
      description:
        "Host that others reach this app at: a name or address, or an interface such as `eth0` or a network such as `10.0.0.0/8`, whose first address of this machine it is. Default: the one it listens on, else this machine's address towards the agent, else its first.",
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
    check: z.enum(["ttl", "http", "grpc", "tcp"]).default(consulDefaults.check).meta({
      description:
        "`ttl`: heartbeats alone. `http`, `grpc`, `tcp`: the agent also asks /ready or grpc.health.v1, naming the instance, or connects; a killed process is gone after one interval.",
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
    silentKeepMs: ms(
      0,
      604_800_000,
      "How long the last instances of a service are kept that nothing speaks against but that the agents of their machines are silent, in ms.",
    ).default(consulDefaults.silentKeepMs),
  }),
  { reloadable: ["services"] },
);

/** The Consul agent, and how it is asked. */
export const consulSettings = defineSettings(
  "consul",
  z.strictObject({
    addr: z.string().min(1).optional().meta({
      description:
        "The local agent, as host:port, http://host:port, https://host:port or unix:///path. Default for the driver `consul`: `CONSUL_HTTP_ADDR`, else http://127.0.0.1:8500.",
    }),
    token: secretString("ACL token sent to the agent.").optional(),
    tokenFile: text("File that holds the token, instead of `token`; a replaced one is used at once."),
    httpAuth: secretString("`user:password` for a proxy with Basic authentication in front of the agent.").optional(),
    datacenter: text("Datacenter that is read from. Default: the agent's."),
    namespace: text("Namespace of Consul Enterprise. Default: the token's."),
    partition: text("Admin partition of Consul Enterprise. Default: the agent's."),
    tls: z
      .strictObject({
        caFile: text("Authorities to trust instead of Node's own, in PEM."),
        caPath: text("Folder of such files, which are trusted as well."),
        certFile: text("Certificate to show to the agent, in PEM."),
        keyFile: text("The key of `certFile`, in PEM."),
        serverName: text("The name that the agent's certificate must have. Default: the host of `addr`."),
        verify: z
          .boolean()
          .optional()
          .meta({ description: "Whether the agent's certificate is checked. Default: it is." }),
      })
      .optional(),
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
    maxStaleMs: ms(
      0,
      86_400_000,
      "Answers of a server that has not heard from the leader for longer count as stale, in ms.",
    ).default(consulDefaults.maxStaleMs),
  }),
);
