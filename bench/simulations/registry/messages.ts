// What the simulation and the process of its watchers say to each other.
import { z } from "zod";

/** What the watchers are told at the start. */
export const orders = z.object({
  address: z.string(),
  services: z.int(),
  watchers: z.int(),
  /** Services that each of them watches. */
  watched: z.int(),
});

export type Orders = z.output<typeof orders>;

/** A change as one watcher saw it: the instance, the number of its change, and when, in milliseconds since the epoch. */
const sighting = z.tuple([z.string(), z.int(), z.number()]);

/** What the watchers tell: that they know all, or what they have seen since they were asked last. */
export const news = z.discriminatedUnion("type", [
  z.object({ type: z.literal("knows") }),
  z.object({
    type: z.literal("report"),
    sightings: z.array(sighting),
    /** Answers of the agent to watches. */
    answers: z.int(),
    /** Failed ones. */
    failures: z.int(),
    cpuMs: z.number(),
    rssBytes: z.number(),
    heapBytes: z.number(),
  }),
]);

export type News = z.output<typeof news>;
export type Report = Extract<News, { type: "report" }>;

export const serviceName = (number: number): string => `service-${number}`;

/** The services that a watcher watches: spread, so that each service has as many watchers as any other. */
export function watchedBy(
  watcher: number,
  { services, watched }: Pick<Orders, "services" | "watched">,
): readonly string[] {
  return Array.from({ length: Math.min(watched, services) }, (_, at) =>
    serviceName((watcher * watched + at) % services),
  );
}

/** The tag that carries the number of a change. */
export const changeTag = (change: number): string => `change-${change}`;

export function changeOf(tags: readonly string[]): number {
  return Number(/^change-(\d+)$/.exec(tags[0] ?? "")?.[1] ?? 0);
}

export const epochMs = (): number => performance.timeOrigin + performance.now();
