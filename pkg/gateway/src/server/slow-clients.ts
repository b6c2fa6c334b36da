import type { Socket } from "node:net";
import type { Clock, Metrics, Scheduled } from "@plinth/kernel";
import type { GatewaySettings } from "../options.ts";
import type { Connections } from "./connections.ts";

/** A body on its way from a client. The last two fields belong to {@link SlowClients}. */
export interface Upload {
  /** That have come. */
  readonly bytes: number;
  /** The rest is its client's to send. */
  readonly isAwaited: boolean;
  /** It must come as fast as all do; else only its pauses count. */
  readonly hasRate: boolean;
  /** How long it may pause where it has no rate to keep to, in milliseconds. */
  readonly longestRestMs: number;
  /** Called once, and it is not watched any more. */
  tooSlow(): void;
  /** At the last look. */
  seenBytes: number;
  /** How much longer it may bring nothing, in milliseconds. */
  leftMs: number;
}

/** A reply on a stream of HTTP/2. */
export interface UntakenReply {
  /** Called once, and it is not watched any more. */
  tooSlow(): void;
}

/** A reply that its client takes bit by bit. */
interface Reading {
  readonly taken: number;
  readonly leftMs: number;
}

export interface SlowClientsOptions {
  readonly settings: Pick<GatewaySettings, "minBodyRateBytesPerS" | "minReplyRateBytesPerS" | "minRateGraceMs">;
  readonly connections: Connections;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

/** How often they are looked at, in milliseconds. A look counts as so long also where it comes late: what came meanwhile is not read yet. */
const turnMs = 1_000;
/** Who has sent faster than it must may stand still for as long as it is ahead, but for no longer than this, in milliseconds. */
const longestRestMs = 20_000;

/**
 * Ends what a client makes last by sending or taking a few bytes now and then, which no limit on standing still ends: one timer
 * for all of them.
 */
export class SlowClients {
  readonly #options: SlowClientsOptions;
  readonly #ended;
  readonly #uploads = new Set<Upload>();
  /** How much longer each may wait to be taken, in milliseconds. */
  readonly #untaken = new Map<UntakenReply, number>();
  #readings = new Map<Socket, Reading>();
  #timer: Scheduled | undefined;

  constructor(options: SlowClientsOptions) {
    this.#options = options;
    this.#ended = options.metrics.counter({
      name: "gateway_slow_clients_total",
      help: "Requests ended since their client was slower than it may be: at sending the body, below `minBodyRateBytesPerS`, or at taking the reply, below `minReplyRateBytesPerS`.",
      labels: ["at"],
    });
  }

  /** Safe to call twice. */
  start(): void {
    this.#timer ??= this.#wait();
  }

  /** No timer is left. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  began(upload: Upload): void {
    const { minBodyRateBytesPerS, minRateGraceMs } = this.#options.settings;
    upload.leftMs = upload.hasRate && minBodyRateBytesPerS > 0 ? minRateGraceMs : upload.longestRestMs;
    this.#uploads.add(upload);
  }

  /** Safe when it has not begun. */
  ended(upload: Upload): void {
    this.#uploads.delete(upload);
  }

  /** So much of a reply waits for its client. Until it is {@link taken}, more that waits has no more time. */
  waits(reply: UntakenReply, bytes: number): void {
    const { minReplyRateBytesPerS, minRateGraceMs } = this.#options.settings;
    if (minReplyRateBytesPerS === 0 || this.#untaken.has(reply)) return;
    this.#untaken.set(reply, minRateGraceMs + (bytes * 1e3) / minReplyRateBytesPerS);
  }

  /** Safe when nothing waits. */
  taken(reply: UntakenReply): void {
    this.#untaken.delete(reply);
  }

  #wait(): Scheduled {
    return this.#options.clock.schedule(turnMs, () => this.#look(), { keepAlive: false });
  }

  #look(): void {
    this.#timer = this.#wait();
    const { minBodyRateBytesPerS, minReplyRateBytesPerS } = this.#options.settings;
    this.#lookAtUploads(minBodyRateBytesPerS);
    if (minReplyRateBytesPerS > 0) this.#lookAtReadings(minReplyRateBytesPerS);
    this.#lookAtUntaken();
  }

  #lookAtUploads(least: number): void {
    for (const upload of this.#uploads) {
      const { bytes } = upload;
      const came = bytes - upload.seenBytes;
      upload.seenBytes = bytes;
      if (!upload.hasRate || least === 0) {
        if (came > 0 || !upload.isAwaited) upload.leftMs = upload.longestRestMs;
      } else {
        const longestMs = Math.max(longestRestMs, this.#options.settings.minRateGraceMs);
        upload.leftMs = Math.min(upload.leftMs + (came * 1e3) / least, longestMs);
      }
      if (!upload.isAwaited) continue;
      upload.leftMs -= turnMs;
      if (upload.leftMs > 0) continue;
      this.#uploads.delete(upload);
      this.#ended.inc({ at: "body" });
      upload.tooSlow();
    }
  }

  #lookAtUntaken(): void {
    for (const [reply, leftMs] of this.#untaken) {
      this.#untaken.set(reply, leftMs - turnMs);
      if (leftMs > turnMs) continue;
      this.#untaken.delete(reply);
      this.#ended.inc({ at: "reply" });
      reply.tooSlow();
    }
  }

  #lookAtReadings(least: number): void {
    const { connections, settings } = this.#options;
    const before = this.#readings;
    this.#readings = new Map();
    for (const socket of connections.sockets) {
      const waiting = socket.writableLength;
      if (waiting === 0 || socket.destroyed) continue;
      const exchange = connections.current(socket);
      if (exchange?.upgrade) continue; // which has limits of its own
      const taken = socket.bytesWritten - waiting;
      const known = before.get(socket);
      const allMs = settings.minRateGraceMs + (waiting * 1e3) / least;
      const leftMs = (known?.taken === taken ? known.leftMs : allMs) - turnMs;
      if (leftMs > 0) {
        this.#readings.set(socket, { taken, leftMs });
        continue;
      }
      this.#ended.inc({ at: "reply" });
      if (exchange?.response.headersSent === true) exchange.refuse("reply_untaken");
      else socket.destroy();
    }
  }
}
