import { messageOf } from "@plinth/kernel";
import { z } from "zod";
import { frozenInstance, isHost, isInstanceId, isPort } from "../instance.ts";
import type { Instance } from "../registry.ts";

/** What is known of one service, and since when it is. */
export interface SnapshotService {
  readonly instances: readonly Instance[];
  /** When the registry last confirmed it, in milliseconds since the Unix epoch. */
  readonly confirmedAt: number;
}

export type SnapshotServices = ReadonlyMap<string, SnapshotService>;

const format = "plinth-registry-snapshot";
const version = 1;

const port = z.number().refine(isPort).optional();
const instanceSchema = z.object({
  service: z.string(),
  id: z.string().min(1).max(512),
  host: z.string().refine(isHost),
  ports: z.object({ http: port, grpc: port }),
  version: z.string().optional(),
  zone: z.string().optional(),
  weight: z.int().min(1).max(65_535),
  tags: z.array(z.string()),
  metadata: z.record(z.string(), z.string()),
  identity: z.string().refine(isInstanceId).optional(),
  status: z.enum(["passing", "warning"]),
});

const documentSchema = z.object({
  format: z.literal(format),
  version: z.literal(version),
  source: z.string(),
  services: z.record(z.string(), z.object({ confirmedAt: z.number().min(0), instances: z.array(z.unknown()) })),
});

/** Text of a snapshot of what `source` has told. */
export function writeSnapshot(source: string, services: SnapshotServices): string {
  return JSON.stringify({ format, version, source, services: Object.fromEntries(services) });
}

/**
 * The services in a snapshot's text; an instance that makes no sense is left out alone.
 * @returns Text that says what is wrong when the whole cannot be used.
 */
export function readSnapshot(text: string, source: string): SnapshotServices | string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    return `it is no JSON: ${messageOf(error)}`;
  }
  const read = documentSchema.safeParse(parsed);
  if (!read.success) {
    const [issue] = read.error.issues;
    return `it is no snapshot that can be read here: ${issue?.path.join(".") || "document"}: ${issue?.message ?? ""}`;
  }
  if (read.data.source !== source) {
    return `it is of another registry, ${JSON.stringify(read.data.source).slice(0, 200)}, and this one is ${JSON.stringify(source)}`;
  }
  const services = new Map<string, SnapshotService>();
  for (const [service, { confirmedAt, instances }] of Object.entries(read.data.services)) {
    const known = instances.flatMap((given) => toKnown(service, given));
    if (known.length > 0) services.set(service, { confirmedAt, instances: known });
  }
  return services;
}

function toKnown(service: string, given: unknown): readonly Instance[] {
  const read = instanceSchema.safeParse(given);
  if (!read.success || read.data.service !== service) return [];
  const { ports, version: own, zone, identity, ...rest } = read.data;
  const { http, grpc } = ports;
  if (http === undefined && grpc === undefined) return [];
  const known = { ...(http === undefined ? {} : { http }), ...(grpc === undefined ? {} : { grpc }) };
  return [frozenInstance({ ...rest, ports: known, version: own, zone, identity })];
}
