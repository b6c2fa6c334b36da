import { z } from "zod";
import { GatewayConfigError, GatewayError } from "../errors.ts";

/** What a worker that cannot take a document says: what went wrong, and the faults where they are some of the document. */
const fault = z.object({
  message: z.string().max(20_000),
  faults: z
    .array(z.object({ key: z.string(), problem: z.string(), source: z.string() }))
    .max(1_000)
    .optional(),
});
const round = z.int().min(0);

export type Fault = z.infer<typeof fault>;

export const changesSchema = z.object({
  any: z.boolean(),
  added: z.array(z.string()),
  removed: z.array(z.string()),
  changed: z.array(z.string()),
});

export const stateSchema = z.object({
  generation: round,
  configured: z.int().min(1),
  wasWhole: z.boolean(),
  workers: z.array(
    z.object({ worker: z.int().min(1), pid: z.int().optional(), generation: round, isReady: z.boolean() }),
  ),
});

const fromWorker = z.discriminatedUnion("type", [
  /** Asks for the document. */
  z.object({ type: z.literal("hello") }),
  /** Goes by a document of this number, and takes part in what comes; where it listens, once it does. */
  z.object({ type: z.literal("joined"), generation: round, host: z.string().optional(), port: z.int().optional() }),
  /** Has built a document, or cannot. */
  z.object({ type: z.literal("prepared"), round, fault: fault.optional() }),
  /** Has not the document of the round that it was to take. */
  z.object({ type: z.literal("behind"), round }),
  /** Its code wants all to take a document. */
  z.object({ type: z.literal("reload"), id: round, document: z.unknown() }),
]);

const fromPrimary = z.discriminatedUnion("type", [
  z.object({ type: z.literal("welcome"), generation: round, configured: z.int().min(1), document: z.unknown() }),
  z.object({ type: z.literal("prepare"), round, generation: round, document: z.unknown() }),
  z.object({ type: z.literal("commit"), round, generation: round }),
  z.object({ type: z.literal("discard"), round }),
  /** To take at once: the others have it. */
  z.object({ type: z.literal("sync"), generation: round, document: z.unknown() }),
  z.object({ type: z.literal("reloaded"), id: round, changes: changesSchema.optional(), fault: fault.optional() }),
  z.object({ type: z.literal("state"), state: stateSchema }),
]);

export type FromWorker = z.infer<typeof fromWorker>;
export type FromPrimary = z.infer<typeof fromPrimary>;

/** What is none of these is passed over: a worker may have gone wrong. */
export const toFromWorker = (data: unknown): FromWorker | undefined => fromWorker.safeParse(data).data;
export const toFromPrimary = (data: unknown): FromPrimary | undefined => fromPrimary.safeParse(data).data;

export function toFault(error: unknown): Fault {
  const message = (error instanceof Error ? error.message : String(error)).slice(0, 20_000);
  if (!(error instanceof GatewayConfigError)) return { message };
  const faults = error.faults.slice(0, 1_000).map(({ key, problem, source }) => ({ key, problem, source }));
  return { message, faults };
}

/** @param who - Who says so, such as `worker 2`. */
export function fromFault({ message, faults }: Fault, who?: string): GatewayError {
  if (faults)
    return new GatewayConfigError(
      who === undefined ? faults : faults.map((each) => ({ ...each, source: `${each.source}, ${who}` })),
    );
  const what = who === undefined ? message : `${who} cannot use the document: ${message}`;
  return new GatewayError("ERR_GATEWAY_WORKERS", "unavailable", what);
}
