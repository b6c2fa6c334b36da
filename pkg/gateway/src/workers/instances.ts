import type { Clock, PrimaryLink, Scheduled, WorkersTeam } from "@plinth/kernel";
import { z } from "zod";
import { channels } from "./team.ts";

/** Who has not answered by then is left out, in milliseconds. */
const waitMs = 1_000;

const amount = z.number().min(0);
const seen = z.object({
  id: z.string(),
  address: z.string(),
  weight: amount,
  zone: z.string().optional(),
  inFlight: amount,
  latencyMs: amount.optional(),
  ejected: z.boolean(),
  ejectedFor: z.string().optional(),
  breakers: z
    .array(z.object({ route: z.string(), state: z.enum(["open", "recovering", "closed"]), retryAfterMs: amount }))
    .readonly(),
});
const services = z
  .array(z.object({ service: z.string(), isPanicking: z.boolean(), instances: z.array(seen).readonly() }))
  .readonly();

const id = z.int().min(1);
const pid = z.int().min(1);
/** To the primary: what do all know; this is what I know, for the process that asked, which looks at it. */
const fromWorker = z.union([
  z.strictObject({ type: z.literal("ask"), id }),
  z.strictObject({ type: z.literal("tell"), id, pid, services: z.unknown() }),
]);
/** To a worker: the process asks what you know; so much have been asked; this is what one knows. */
const fromPrimary = z.union([
  z.strictObject({ type: z.literal("ask"), id, pid }),
  z.strictObject({ type: z.literal("asked"), id, workers: z.array(z.int().min(1)) }),
  z.strictObject({ type: z.literal("told"), id, worker: z.int().min(1), services }),
]);

export type SeenInstance = z.infer<typeof seen>;
export type SeenServices = z.infer<typeof services>;

/** What workers know of the instances of services. */
export interface TeamInstances {
  /** By number of the worker. */
  readonly told: ReadonlyMap<number, SeenServices>;
  /** Workers that have not told in time. */
  readonly missing: readonly number[];
}

interface Asking {
  readonly id: number;
  readonly told: Map<number, SeenServices>;
  workers: readonly number[] | undefined;
  readonly limit: Scheduled;
  readonly promise: Promise<TeamInstances>;
  readonly end: () => void;
}

/** Tells what this worker knows of its instances, and asks what all do. */
export class InstancesLink {
  readonly #link: PrimaryLink;
  readonly #clock: Clock;
  readonly #own: () => SeenServices;
  readonly #endListening: () => void;
  #asking: Asking | undefined;
  #lastId = 0;

  constructor(link: PrimaryLink, clock: Clock, own: () => SeenServices) {
    this.#link = link;
    this.#clock = clock;
    this.#own = own;
    this.#endListening = link.listen(channels.instances, {
      onMessage: (data) => this.#receive(data),
      onGone: () => this.#asking?.end(),
    });
  }

  /** What all know now, as far as they answer within a second; whoever asks meanwhile gets the same. */
  ask(): Promise<TeamInstances> {
    return (this.#asking ?? this.#begin()).promise;
  }

  close(): void {
    this.#endListening();
    this.#asking?.end();
  }

  #begin(): Asking {
    const { promise, resolve } = Promise.withResolvers<TeamInstances>();
    const own = this.#link.worker;
    const asking: Asking = {
      id: ++this.#lastId,
      told: new Map([[own, this.#own()]]),
      workers: undefined,
      promise,
      limit: this.#clock.schedule(waitMs, () => asking.end()),
      end: () => {
        asking.limit.cancel();
        this.#asking = undefined;
        const { told, workers = [] } = asking;
        resolve({ told, missing: workers.filter((worker) => !told.has(worker)) });
      },
    };
    this.#asking = asking;
    this.#link.send(channels.instances, { type: "ask", id: asking.id });
    if (!this.#link.isOpen) asking.end();
    return asking;
  }

  #receive(data: unknown): void {
    const message = fromPrimary.safeParse(data).data;
    if (message?.type === "ask") {
      const { id: asked, pid: who } = message;
      this.#link.send(channels.instances, { type: "tell", id: asked, pid: who, services: this.#own() });
    }
    const asking = this.#asking;
    if (!asking || message?.id !== asking.id) return;
    if (message.type === "asked") asking.workers = message.workers;
    if (message.type === "told") asking.told.set(message.worker, message.services);
    if (asking.workers?.every((worker) => asking.told.has(worker))) asking.end();
  }
}

/** Hands questions and answers on between workers, in the primary. Returns how to end it. */
export function passInstances(team: WorkersTeam): () => void {
  return team.listen(channels.instances, {
    onMessage: (member, data) => {
      const message = fromWorker.safeParse(data).data;
      if (message?.type === "ask") {
        const others = team.members.filter((other) => other.pid !== member.pid);
        const workers = others.map(({ worker }) => worker);
        member.send(channels.instances, { type: "asked", id: message.id, workers });
        for (const other of others) other.send(channels.instances, { type: "ask", id: message.id, pid: member.pid });
      }
      if (message?.type !== "tell") return;
      const who = team.members.find((other) => other.pid === message.pid);
      who?.send(channels.instances, {
        type: "told",
        id: message.id,
        worker: member.worker,
        services: message.services,
      });
    },
  });
}

/** What one worker knows of an instance. */
type Part = Pick<SeenInstance, "inFlight" | "latencyMs" | "ejected" | "ejectedFor"> & { readonly worker: number };

/** An instance as all workers together see it. */
interface Together extends Omit<SeenInstance, "breakers"> {
  readonly breakers: readonly (SeenInstance["breakers"][number] & { readonly worker: number })[];
  readonly workers: readonly Part[];
}

/**
 * Sums up what workers told: requests under way are added, latencies are their mean, an instance is `ejected` where one worker or more
 * leaves it out, a service panics where one worker does.
 */
export function addUp(told: TeamInstances["told"]): {
  readonly service: string;
  readonly isPanicking: boolean;
  readonly instances: readonly Together[];
}[] {
  const all = [...told].toSorted(([one], [other]) => one - other);
  const flat = all.flatMap(([worker, known]) => known.map((each) => ({ worker, ...each })));
  return [...Map.groupBy(flat, ({ service }) => service)].map(([service, parts]) => {
    const instances = parts.flatMap(({ worker, instances: those }) => those.map((each) => ({ worker, ...each })));
    return {
      service,
      isPanicking: parts.some(({ isPanicking }) => isPanicking),
      instances: [...Map.groupBy(instances, (each) => `${each.id}@${each.address}`).values()].flatMap(together),
    };
  });
}

function together(parts: readonly (SeenInstance & { readonly worker: number })[]): Together[] {
  const [first] = parts;
  if (!first) return [];
  const { id: name, address, weight, zone } = first;
  const latencies = parts.flatMap(({ latencyMs }) => latencyMs ?? []);
  const sum = (values: readonly number[]): number => values.reduce((total, each) => total + each, 0);
  return [
    {
      id: name,
      address,
      weight,
      zone,
      inFlight: sum(parts.map(({ inFlight }) => inFlight)),
      latencyMs: latencies.length === 0 ? undefined : sum(latencies) / latencies.length,
      ejected: parts.some(({ ejected }) => ejected),
      ejectedFor: parts.find(({ ejectedFor }) => ejectedFor !== undefined)?.ejectedFor,
      breakers: parts.flatMap(({ worker, breakers }) => breakers.map((each) => ({ worker, ...each }))),
      workers: parts.map(({ worker, inFlight, latencyMs, ejected, ejectedFor }) => ({
        worker,
        inFlight,
        latencyMs,
        ejected,
        ejectedFor,
      })),
    },
  ];
}
