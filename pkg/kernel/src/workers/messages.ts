import { z } from "zod";

/**
 * What workers and their primary tell each other over the channel between them. A main may send messages of its own there:
 * whatever does not say that it is one of these, in this version, is passed over.
 */
export const protocol = "plinth.workers/1";

/** More than this of one worker's metrics is refused, in characters of JSON: some 100_000 series. */
export const maxSnapshotLength = 16 * 1024 * 1024;
/** Of a text that tells what went wrong so much is handed on. */
export const maxToldLength = 2_000;
/** An address with its port, or the path of a socket. */
const maxPlaceLength = 4_200;

const name = z.string().min(1).max(200);
const id = z.int().min(0);
const text = z.string().max(maxSnapshotLength);

const fromPrimary = z.discriminatedUnion("type", [
  /** Stop in order. */
  z.object({ type: z.literal("stop") }),
  /** End at once. */
  z.object({ type: z.literal("exit"), code: z.int().min(0).max(255) }),
  /** Read the config anew. */
  z.object({ type: z.literal("reload") }),
  /** Tell the metrics of an app. */
  z.object({ type: z.literal("collect"), app: name, round: id }),
  /** The answer to `scrape`; without a body when there is none to be had. */
  z.object({ type: z.literal("scraped"), id, contentType: z.string().optional(), body: z.string().optional() }),
  /** The answer to `unlisten`: the server may close. */
  z.object({ type: z.literal("unlistened"), id }),
  /** Of what runs in the primary to a part of an app. */
  z.object({ type: z.literal("talk"), channel: name, data: z.unknown() }),
]);

const fromWorker = z.discriminatedUnion("type", [
  /** Everything is up. */
  z.object({ type: z.literal("ready") }),
  /** The apps have ended; the process will. */
  z.object({ type: z.literal("ended"), code: z.int().min(0).max(255), told: z.string().max(maxToldLength) }),
  /** An app of the worker has metrics, and may take so long to stop, in milliseconds. */
  z.object({ type: z.literal("app"), app: name, stopMs: z.number().min(0).max(86_400_000) }),
  /** The metrics of an app, as JSON; without it, they cannot be told. Without a round they are the last ones. */
  z.object({ type: z.literal("snapshot"), app: name, round: id.optional(), text: text.optional() }),
  /** Asks for the metrics of all workers. */
  z.object({ type: z.literal("scrape"), id, app: name, format: z.enum(["prometheus", "openmetrics"]) }),
  /** A server is about to close; where it listens. */
  z.object({ type: z.literal("unlisten"), id, at: z.string().min(1).max(maxPlaceLength) }),
  /** Of a part of an app to what runs in the primary. */
  z.object({ type: z.literal("talk"), channel: name, data: z.unknown() }),
]);

export type PrimaryMessage = z.infer<typeof fromPrimary>;
export type WorkerMessage = z.infer<typeof fromWorker>;

/** What a worker was sent by its primary; undefined when it is something else. */
export function toPrimaryMessage(message: unknown): PrimaryMessage | undefined {
  return isOurs(message) ? fromPrimary.safeParse(message).data : undefined;
}

/** What the primary was sent by a worker; undefined when it is something else. */
export function toWorkerMessage(message: unknown): WorkerMessage | undefined {
  return isOurs(message) ? fromWorker.safeParse(message).data : undefined;
}

/** As it goes over the channel. */
export function enveloped<Message extends PrimaryMessage | WorkerMessage>(message: Message): Message & object {
  return { protocol, ...message };
}

function isOurs(message: unknown): boolean {
  return typeof message === "object" && message !== null && "protocol" in message && message.protocol === protocol;
}
