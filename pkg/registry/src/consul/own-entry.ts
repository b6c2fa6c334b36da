import { z } from "zod";
import { RegistryError } from "../errors.ts";
import { responseError, type ServiceDefinition } from "./client.ts";

/** What is read of `GET /v1/agent/service/:id`; the agent leaves out, or gives as null, what is empty. */
const agentService = z.object({
  Service: z.string(),
  Address: z.string().nullish(),
  Port: z.number().nullish(),
  Tags: z.array(z.string()).nullish(),
  Meta: z.record(z.string(), z.string()).nullish(),
  Weights: z.object({ Passing: z.number(), Warning: z.number() }).nullish(),
});

/**
 * Makes sure that what the agent has is what was registered: another process that came with the same id may have put its own there,
 * under checks that ours keeps alive.
 *
 * @throws {@link RegistryError} `ERR_REGISTRY_OVERWRITTEN`, naming what differs; `ERR_REGISTRY_RESPONSE`.
 */
export function requireOwn(definition: ServiceDefinition, answered: unknown): void {
  const read = agentService.safeParse(answered);
  if (!read.success) {
    const [issue] = read.error.issues;
    throw responseError(definition.ID, `${issue?.path.join(".") || "it"}: ${issue?.message ?? "not a service"}`);
  }
  const { Service: name, Address: address, Port: port, Tags: tags, Meta: meta, Weights: weights } = read.data;
  const pairs: Readonly<Record<string, readonly [own: unknown, found: unknown]>> = {
    service: [definition.Name, name],
    address: [definition.Address, address ?? ""],
    port: [definition.Port, port ?? 0],
    tags: [definition.Tags, tags ?? []],
    metadata: [sorted(definition.Meta), sorted(meta ?? {})],
    weights: [sorted(definition.Weights), sorted(weights ?? definition.Weights)],
  };
  const differing = Object.keys(pairs).filter((field) => {
    const [own, found] = pairs[field] ?? [];
    return JSON.stringify(own) !== JSON.stringify(found);
  });
  if (differing.length === 0) return;
  throw new RegistryError(
    "ERR_REGISTRY_OVERWRITTEN",
    "already_exists",
    `the agent has another entry under ${definition.ID}, with other ${differing.join(", ")}; ` +
      "does a second process have the same id? give each start of a process an id of its own",
  );
}

function sorted(record: Readonly<Record<string, unknown>>): readonly (readonly [string, unknown])[] {
  return Object.entries(record).toSorted(([a], [b]) => (a < b ? -1 : 1));
}
