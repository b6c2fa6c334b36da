import { constants } from "node:http2";
import type { Clock } from "@plinth/kernel";

export interface Http2StallsOptions {
  /** How long bytes of a reply may wait on a stream, in milliseconds; 0 for ever. */
  readonly idleTimeoutMs: number;
  readonly clock: Clock;
}

/** What is looked at of a stream of node:http2. */
export interface WatchedStream {
  readonly writableLength: number;
  readonly destroyed: boolean;
  on(event: "drain", listener: () => void): unknown;
  once(event: "close", listener: () => void): unknown;
  close(code: number): void;
}

/** And of its connection's socket. */
export interface WatchedSocket {
  readonly bytesWritten: number;
}

/** What is known of a stream since something of its reply was last known to have gone. */
interface Watch {
  readonly socket: WatchedSocket;
  waiting: number;
  sinceMs: number;
  /** That its connection had sent by then. */
  sentBefore: number;
  listens: boolean;
}

/**
 * A connection that has sent as much since, in bytes, is at work for other streams, and this one may be waiting for its turn. A
 * thousand resets are less.
 */
const busyBytes = 16_384;
/** It waits for so many times as long then. */
const busyTimes = 5;
/** How often it is looked for them, in parts of their time. */
const looksEach = 4;

/**
 * Resets streams on which bytes of the reply wait and none goes out: their callers hold their windows shut.
 *
 * Node's own timeout of a stream is put off by whatever its connection sends, the reset of another stream included: of a hundred
 * windows held shut on one connection it would end one after the other, and none as long as one stream is read.
 */
export class Http2Stalls {
  readonly #options: Http2StallsOptions;
  readonly #watched = new Map<WatchedStream, Watch>();
  #isWaiting = false;

  constructor(options: Http2StallsOptions) {
    this.#options = options;
  }

  watch(stream: WatchedStream, socket: WatchedSocket): void {
    if (this.#options.idleTimeoutMs === 0 || stream.destroyed) return;
    this.#watched.set(stream, { socket, waiting: 0, sinceMs: 0, sentBefore: 0, listens: false });
    stream.once("close", () => this.#watched.delete(stream));
    if (!this.#isWaiting) this.#wait();
  }

  #wait(): void {
    const { clock, idleTimeoutMs } = this.#options;
    this.#isWaiting = true;
    clock.schedule(Math.ceil(idleTimeoutMs / looksEach), () => this.#look(), { keepAlive: false });
  }

  #look(): void {
    this.#isWaiting = false;
    const nowMs = this.#options.clock.monotonicMs();
    for (const [stream, watch] of this.#watched) {
      const waiting = stream.writableLength;
      if (waiting === 0 || waiting !== watch.waiting) {
        watch.waiting = waiting;
        watch.sinceMs = nowMs;
        watch.sentBefore = watch.socket.bytesWritten;
        if (waiting > 0) listen(stream, watch);
      } else if (this.#isStalled(watch, nowMs)) stream.close(constants.NGHTTP2_CANCEL);
    }
    if (this.#watched.size > 0) this.#wait();
  }

  #isStalled({ socket, sinceMs, sentBefore }: Watch, nowMs: number): boolean {
    const { idleTimeoutMs } = this.#options;
    const elapsedMs = nowMs - sinceMs;
    if (elapsedMs < idleTimeoutMs) return false;
    const isBusy = socket.bytesWritten - sentBefore >= busyBytes;
    return !isBusy || elapsedMs >= busyTimes * idleTimeoutMs;
  }
}

/** As much may wait again at the next look though all of it has gone. */
function listen(stream: WatchedStream, watch: Watch): void {
  if (watch.listens) return;
  watch.listens = true;
  stream.on("drain", () => (watch.waiting = 0));
}
