import { type Clock, type Metrics, runInContext } from "@plinth/kernel";
import { z } from "zod";
import type { Answers } from "./answers.ts";
import type { HttpExchange, ServedRequest } from "./exchange.ts";
import { HttpRefusal } from "./refusal.ts";

/** The least that a request body must bring, in bytes a second; 0 for any. As Kestrel has it. */
export const slowBodySettings = {
  minBodyBytesPerSecond: z.int().min(0).max(1_000_000_000).default(240).meta({
    description:
      "Requests are answered with 408 whose body comes more slowly than this, in bytes a second, 5 s after its beginning; one that has come faster may stand still for as long as it is ahead, up to 20 s. 0 takes any.",
  }),
};

declare module "fastify" {
  interface FastifyContextConfig {
    /** In the place of the setting, for this route: a whole number, 0 for one whose callers send when they have something. */
    readonly minBodyBytesPerSecond?: number;
  }
}

export interface SlowBodiesOptions {
  readonly settings: { readonly minBodyBytesPerSecond: number };
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly inFlight: Iterable<HttpExchange>;
  readonly answers: Answers;
}

/** How often bodies are looked at, in milliseconds. */
const turnMs = 1_000;
/** How long a body may take to come into its own, in milliseconds: a connection of a phone that wakes up takes seconds. */
const graceMs = 5_000;
/** Who has sent faster than it must may stand still for as long as it is ahead, but for no longer than this, in milliseconds. */
const longestRestMs = 20_000;

/** What is known of a body that was not there yet when it was last looked at. */
interface Watch {
  /** Received by then. */
  bytes: number;
  /** How much longer it may bring nothing, in milliseconds. */
  leftMs: number;
}

/**
 * Ends requests whose body comes more slowly than it may, whose handler waits for it, and whose caller could send: one timer
 * for all of them, which looks at those alone that are not whole yet. Most requests are whole when it looks, and cost nothing.
 *
 * A turn counts as a second also where the event loop has stood still for longer: what came meanwhile is not read yet.
 */
export class SlowBodies {
  readonly #options: SlowBodiesOptions;
  readonly #count: () => void;
  #watched = new Map<HttpExchange, Watch>();
  #timer: { cancel(): void } | undefined;

  constructor(options: SlowBodiesOptions) {
    this.#options = options;
    const slow = options.metrics.counter({
      name: "http_server_slow_bodies_total",
      help: "Requests ended because their body came more slowly than `minBodyBytesPerSecond`.",
    });
    this.#count = () => slow.inc({});
  }

  /** Looks at them from now on. Safe to call twice. */
  start(): void {
    this.#timer ??= this.#wait();
  }

  /** No timer is left. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #wait(): { cancel(): void } {
    return this.#options.clock.schedule(turnMs, () => this.#look(), { keepAlive: false });
  }

  #look(): void {
    const { inFlight, answers, settings } = this.#options;
    this.#timer = this.#wait();
    const before = this.#watched;
    this.#watched = new Map();
    const slow: [exchange: HttpExchange, least: number][] = [];
    for (const exchange of inFlight) {
      const bytes = awaitedOf(exchange);
      if (bytes === undefined) continue;
      const least = exchange.reply?.request.routeOptions.config.minBodyBytesPerSecond ?? settings.minBodyBytesPerSecond;
      if (least === 0) continue;
      const watch = before.get(exchange) ?? { bytes, leftMs: graceMs };
      const earnedMs = ((bytes - watch.bytes) * 1e3) / least;
      const leftMs = Math.min(watch.leftMs + earnedMs, longestRestMs) - turnMs;
      if (leftMs > 0) this.#watched.set(exchange, { bytes, leftMs });
      else slow.push([exchange, least]);
    }
    // to answer one is to take it from those in flight
    for (const [exchange, least] of slow) {
      this.#count();
      runInContext(exchange, () => refuse(exchange, answers, least));
    }
  }
}

function refuse(exchange: HttpExchange, answers: Answers, least: number): void {
  const message = `the request body came more slowly than ${least} bytes a second`;
  const refusal = new HttpRefusal({ code: "ERR_REQUEST_TIMEOUT", httpStatus: 408, message });
  const { reply, request, response } = exchange;
  exchange.abort(refusal);
  try {
    // in the form of the route's callers, where there is a route that has not begun to answer
    if (reply && !reply.sent && !reply.request.is404) answers.fail(refusal, reply.request, reply);
    else answers.answer(exchange, { error: refusal, httpStatus: 408 });
  } catch (thrown) {
    answers.recover(thrown, request, response, { error: refusal, httpStatus: 408 });
  }
}

/** What has come of a body whose rest is its caller's to send, in bytes; undefined where there is none, or nobody takes what came. */
function awaitedOf({ request, response, closeCode, onDrain, isOver }: HttpExchange): number | undefined {
  if (request.complete || request.readableLength > 0 || request.upgradeHead !== undefined) return undefined;
  if (isOver || response.writableEnded || closeCode !== undefined || onDrain !== undefined) return undefined;
  return isOfHttp2(request) ? request.awaitedBytes : request.socket.bytesRead;
}

/** Not by its class: what has HTTP/2 is loaded where it is spoken. */
function isOfHttp2(request: ServedRequest): request is ServedRequest & { readonly awaitedBytes: number | undefined } {
  return "awaitedBytes" in request;
}
