import { once } from "node:events";
import { PassThrough } from "node:stream";
import { type Clock, type Scheduled, systemClock } from "@plinth/kernel";
import type { FastifyReply } from "fastify";
import { exchangeOf } from "./exchange.ts";

/** One event of a stream. @see https://html.spec.whatwg.org/multipage/server-sent-events.html */
export interface ServerEvent {
  /** May have several lines. */
  readonly data: string;
  /** Of one line. Default: none, which pages know as `message`. */
  readonly event?: string;
  /** Of one line; a page that connects again names the last one in `last-event-id`. Default none. */
  readonly id?: string;
}

export interface EventStreamOptions {
  /** A stream that is silent for so long says that it lives, in milliseconds from 1: proxies end those that do not. Default 15_000. */
  readonly keepAliveMs?: number;
  /** Default the system's. */
  readonly clock?: Clock;
}

/**
 * Replies with events as they come, each sent at once and no faster than they are read (`text/event-stream`). The stream
 * outlives the deadline. It ends, whole, when the events do or when the server begins to drain: the caller connects again,
 * and comes to another instance.
 *
 * @param events - Told by `signal` when nobody wants more. What it throws breaks the reply off, and is reported.
 * @throws RangeError for `keepAliveMs`: a fault of the server, and no error of the caller's.
 * @example
 * app.get("/ticks", (_request, reply) =>
 *   eventStream(reply, async function* (signal) {
 *     for await (const tick of ticks({ signal })) yield { data: String(tick) };
 *   }),
 * );
 */
export function eventStream(
  reply: FastifyReply,
  events: (signal: AbortSignal) => AsyncIterable<ServerEvent>,
  { keepAliveMs = 15_000, clock = systemClock }: EventStreamOptions = {},
): FastifyReply {
  if (!(keepAliveMs >= 1)) throw new RangeError(`keepAliveMs must be 1 or more, not ${keepAliveMs}`);
  const stream = new PassThrough();
  const stop = new AbortController();
  let timer: Scheduled;
  const keepAlive = (): void => {
    if (stream.writableLength === 0) stream.write(":\n\n");
    timer = clock.schedule(keepAliveMs, keepAlive, { keepAlive: false });
  };
  const end = (): void => {
    timer.cancel();
    if (!stream.writableEnded) stream.end();
    stop.abort();
  };
  keepAlive(); // what sends the head
  stream.once("close", end);
  const exchange = exchangeOf(reply.request.raw);
  exchange?.outlive(end);
  void exchange?.over.then(end); // a reply without a body, as to HEAD, never closes what would be in it
  void send(stream, events(stop.signal), stop.signal).then(end, (thrown: unknown) => {
    if (!stop.signal.aborted)
      stream.destroy(thrown instanceof Error ? thrown : new Error("events failed", { cause: thrown }));
  });
  return reply
    .headers({
      "content-type": "text/event-stream",
      "cache-control": "no-store, no-transform",
      "x-accel-buffering": "no",
    })
    .send(stream);
}

async function send(stream: PassThrough, events: AsyncIterable<ServerEvent>, signal: AbortSignal): Promise<void> {
  for await (const event of events) {
    if (signal.aborted) return;
    if (!stream.write(toText(event))) await once(stream, "drain", { signal });
  }
}

function toText({ data, event, id }: ServerEvent): string {
  const lines = data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`);
  return `${field("event", event)}${field("id", id)}${lines.join("")}\n`;
}

function field(name: string, value: string | undefined): string {
  if (value === undefined) return "";
  if (/[\r\n\0]/.test(value))
    throw new TypeError(`${name} of an event has a line break or NUL in it; give it one line`);
  return `${name}: ${value}\n`;
}
