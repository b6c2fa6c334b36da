import { AppError } from "../errors/app-error.ts";
import type { LogDestination } from "./pino.ts";

export interface BackgroundWriterOptions {
  /** Writes some of the bytes now and tells how many. Throws `EAGAIN` when none can be taken at the moment. */
  readonly write: (bytes: Uint8Array) => number;
  /** Told in one line what has gone wrong with the output. */
  readonly complain: (what: string) => void;
  /** What may wait for an output that does not take it, in bytes; more is lost, and counted. Default 64 MiB. */
  readonly maxWaitingBytes?: number;
  /** How long {@link BackgroundWriter.flushSync} waits for an output that takes nothing, in milliseconds. Default 2_000. */
  readonly maxStallMs?: number;
  /** How long it waits at most for one that takes a little at a time. Default 10_000. */
  readonly maxBlockMs?: number;
}

/** Lines are handed over together, when so many characters wait or so much time has passed: a system call for each would cost more than the line. */
const batchLength = 16_384;
const batchMs = 20;
/** A full pipe is tried again after the first of these, then ever later, while nobody reads. */
const minRetryMs = 1;
const maxRetryMs = 20;
/** How often one that blocks the process asks again. */
const pollMs = 5;

interface Chunk {
  bytes: Uint8Array;
  readonly lines: number;
}

/**
 * Writes lines to an output that may be slow, in order, without holding up the process. What waits keeps the process alive,
 * so that one that just ends loses nothing.
 */
export class BackgroundWriter implements LogDestination {
  readonly #options: Required<BackgroundWriterOptions>;
  #batch = "";
  #batchLines = 0;
  readonly #chunks: Chunk[] = [];
  #waitingBytes = 0;
  #lostLines = 0;
  /** Counts of bytes since the beginning. */
  #handed = 0;
  #settled = 0;
  #flushes: { readonly upTo: number; readonly done: (error?: Error) => void }[] = [];
  #timer: NodeJS.Timeout | undefined;
  #retryMs = minRetryMs;
  #isFailing = false;
  #isStuck = false;
  #isClosed = false;

  constructor(options: BackgroundWriterOptions) {
    this.#options = { maxWaitingBytes: 64 * 1024 * 1024, maxStallMs: 2_000, maxBlockMs: 10_000, ...options };
  }

  write(line: string): void {
    this.#batch += line;
    this.#batchLines++;
    if (this.#isClosed) this.close();
    else if (this.#batch.length >= batchLength) this.#hand();
    else this.#timer ??= setTimeout(() => this.#hand(), batchMs);
  }

  flush(done: (error?: Error) => void): void {
    this.#enqueue();
    if (this.#settled >= this.#handed) return done();
    this.#flushes.push({ upTo: this.#handed, done });
    this.#hand();
  }

  /** Waits for an output that takes nothing only once: until it takes something again, the next call does not. */
  flushSync(): void {
    const { maxStallMs, maxBlockMs } = this.#options;
    const startedAtMs = performance.now();
    let movedAtMs = startedAtMs;
    this.#enqueue();
    while (this.#chunks.length > 0) {
      const hasMoved = this.#writeSome();
      const nowMs = performance.now();
      if (hasMoved) movedAtMs = nowMs;
      this.#isStuck = nowMs - movedAtMs >= (this.#isStuck ? 0 : maxStallMs) || nowMs - startedAtMs >= maxBlockMs;
      if (this.#isStuck) break;
      if (!hasMoved) Atomics.wait(sleeper, 0, 0, pollMs);
    }
    this.#schedule();
  }

  /** The process ends: lines are from now on written at once, and those that cannot be are counted and given up. */
  close(): void {
    this.#isClosed = true;
    this.flushSync();
    for (const { lines } of this.#chunks.splice(0)) this.#lostLines += lines;
    this.#waitingBytes = 0;
    this.#tellLost();
    this.#schedule();
  }

  #hand(): void {
    this.#enqueue();
    while (this.#chunks.length > 0 && this.#writeSome());
    this.#schedule();
  }

  #enqueue(): void {
    if (this.#batch === "") return;
    const bytes = Buffer.from(this.#batch);
    const lines = this.#batchLines;
    this.#batch = "";
    this.#batchLines = 0;
    if (this.#waitingBytes + bytes.length > this.#options.maxWaitingBytes) {
      this.#lostLines += lines;
      return;
    }
    this.#chunks.push({ bytes, lines });
    this.#waitingBytes += bytes.length;
    this.#handed += bytes.length;
  }

  /** False when the output takes nothing at the moment. */
  #writeSome(): boolean {
    const chunk = this.#chunks[0];
    if (chunk === undefined) return false;
    try {
      const count = this.#options.write(chunk.bytes);
      chunk.bytes = chunk.bytes.subarray(count);
      this.#settle(count);
      this.#isFailing = this.#isStuck = false;
      this.#retryMs = minRetryMs;
    } catch (error) {
      if (codeOf(error) === "EAGAIN") return false;
      this.#settle(chunk.bytes.length, error);
      chunk.bytes = chunk.bytes.subarray(chunk.bytes.length);
    }
    if (chunk.bytes.length === 0) this.#chunks.shift();
    if (this.#chunks.length === 0) this.#tellLost();
    return true;
  }

  /** So many bytes are written, or never will be. A reader that has gone wants none: that is no fault, and nothing is said. */
  #settle(bytes: number, error?: unknown): void {
    this.#settled += bytes;
    this.#waitingBytes -= bytes;
    const failure = error === undefined || codeOf(error) === "EPIPE" ? undefined : AppError.from(error);
    if (failure !== undefined && !this.#isFailing) {
      this.#isFailing = true;
      this.#options.complain(`log lines cannot be written to standard output: ${failure.message}`);
    }
    // a flush that waits for any bytes waits for these, which are the next
    const over = this.#flushes.filter(({ upTo }) => failure !== undefined || upTo <= this.#settled);
    if (over.length === 0) return;
    this.#flushes = this.#flushes.filter((each) => !over.includes(each));
    for (const { done } of over) done(failure);
  }

  #tellLost(): void {
    if (this.#lostLines === 0) return;
    this.#options.complain(`standard output was too slow; log lines lost: ${this.#lostLines}`);
    this.#lostLines = 0;
  }

  /** Tries again later what waits. */
  #schedule(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#chunks.length === 0) return;
    this.#timer = setTimeout(() => this.#hand(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, maxRetryMs);
  }
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
