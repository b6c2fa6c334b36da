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

/** Lines are handed over together, when so many bytes wait or so much time has passed: a system call for each would cost more than the line. */
const batchBytes = 32_768;
/** Where lines wait for that. A line becomes bytes at once, while its parts are at hand: a thousand parts later each has to be fetched again. */
const roomBytes = 2 * batchBytes;
/** What a character, as JavaScript counts them, takes at most in UTF-8. */
const maxCharacterBytes = 3;
const batchMs = 20;
/** A full pipe is tried again after the first of these, then ever later, while nobody reads. */
const minRetryMs = 1;
const maxRetryMs = 20;
/** How often one that blocks the process asks again. */
const pollMs = 5;

const newline = 0x0a;
const lineEnd = Uint8Array.of(newline);

interface Chunk {
  bytes: Uint8Array;
  readonly lines: number;
  /** Whether some of it is written, so that `bytes` may begin in the middle of a line. */
  isBegun: boolean;
}

/**
 * Writes lines to an output that may be slow, in order, without holding up the process. What waits keeps the process alive,
 * so that one that just ends loses nothing.
 */
export class BackgroundWriter implements LogDestination {
  readonly #options: Required<BackgroundWriterOptions>;
  readonly #room = Buffer.allocUnsafeSlow(roomBytes);
  #batchBytes = 0;
  #batchLines = 0;
  readonly #chunks: Chunk[] = [];
  #waitingBytes = 0;
  #linesLost = 0;
  /** Of these, those that nobody has been told of. */
  #untold = 0;
  /** Counts of bytes since the beginning. */
  #handed = 0;
  #settled = 0;
  #flushes: { readonly upTo: number; readonly done: (error?: Error) => void }[] = [];
  #timer: NodeJS.Timeout | undefined;
  #retryMs = minRetryMs;
  #isFailing = false;
  /** Since it was last told what is lost. */
  #hasFailed = false;
  /** A line was given up with a part of it written. */
  #isTorn = false;
  #isStuck = false;
  #isClosed = false;

  constructor(options: BackgroundWriterOptions) {
    this.#options = { maxWaitingBytes: 64 * 1024 * 1024, maxStallMs: 2_000, maxBlockMs: 10_000, ...options };
  }

  /** Since the beginning: for want of room, because a write failed, or because the process ended. */
  get linesLost(): number {
    return this.#linesLost;
  }

  write(line: string): void {
    const maxBytes = line.length * maxCharacterBytes;
    if (maxBytes > roomBytes - this.#batchBytes) this.#handFull();
    if (maxBytes > roomBytes) this.#push(Buffer.from(line), 1);
    else {
      this.#batchBytes += this.#room.write(line, this.#batchBytes);
      this.#batchLines++;
    }
    if (this.#isClosed) this.close();
    else if (this.#batchBytes >= batchBytes || maxBytes > roomBytes) this.#handFull();
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
    for (const chunk of this.#chunks.splice(0)) this.#lose(linesLeft(chunk));
    this.#waitingBytes = 0;
    this.#tellLost();
    this.#schedule();
  }

  #hand(): void {
    this.#writeOut();
    this.#schedule();
  }

  /** Leaves the timer to the lines that come next: under load there would be a new one for each batch. */
  #handFull(): void {
    this.#writeOut();
    if (this.#chunks.length > 0) this.#schedule();
  }

  #writeOut(): void {
    this.#enqueue();
    while (this.#chunks.length > 0 && this.#writeSome());
  }

  #enqueue(): void {
    if (this.#batchBytes === 0) return;
    const bytes = this.#room.subarray(0, this.#batchBytes);
    const lines = this.#batchLines;
    this.#batchBytes = 0;
    this.#batchLines = 0;
    this.#push(bytes, lines);
  }

  #push(bytes: Uint8Array, lines: number): void {
    if (this.#waitingBytes + bytes.length > this.#options.maxWaitingBytes) {
      this.#lose(lines);
      return;
    }
    this.#chunks.push({ bytes, lines, isBegun: false });
    this.#waitingBytes += bytes.length;
    this.#handed += bytes.length;
  }

  /** False when the output takes nothing at the moment. */
  #writeSome(): boolean {
    const chunk = this.#chunks[0];
    if (chunk === undefined) return false;
    try {
      if (this.#isTorn) this.#isTorn = this.#options.write(lineEnd) === 0;
      const count = this.#options.write(chunk.bytes);
      chunk.isBegun ||= count > 0;
      chunk.bytes = chunk.bytes.subarray(count);
      this.#settle(count);
      this.#isFailing = this.#isStuck = false;
      this.#retryMs = minRetryMs;
    } catch (error) {
      if (codeOf(error) === "EAGAIN") return false;
      this.#giveUp(chunk, error);
    }
    if (chunk.bytes.length === 0) this.#chunks.shift();
    if (this.#chunks.length === 0 && !this.#isFailing) this.#tellLost();
    return true;
  }

  #giveUp(chunk: Chunk, error: unknown): void {
    const lines = linesLeft(chunk);
    this.#settle(chunk.bytes.length, error);
    this.#isTorn ||= chunk.isBegun;
    chunk.bytes = chunk.bytes.subarray(chunk.bytes.length);
    if (isReaderGone(error)) this.#linesLost += lines;
    else this.#lose(lines);
  }

  /** So many bytes are written, or never will be. */
  #settle(bytes: number, error?: unknown): void {
    this.#settled += bytes;
    this.#waitingBytes -= bytes;
    // as the system says it, for whoever runs the machine
    const failure = error === undefined || isReaderGone(error) ? undefined : toError(error);
    if (failure !== undefined && !this.#isFailing) {
      this.#isFailing = this.#hasFailed = true;
      this.#options.complain(`log lines cannot be written to standard output: ${failure.message}`);
    }
    // a flush that waits for any bytes waits for these, which are the next
    const over = this.#flushes.filter(({ upTo }) => failure !== undefined || upTo <= this.#settled);
    if (over.length === 0) return;
    this.#flushes = this.#flushes.filter((each) => !over.includes(each));
    for (const { done } of over) done(failure);
  }

  #lose(lines: number): void {
    this.#linesLost += lines;
    this.#untold += lines;
  }

  #tellLost(): void {
    if (this.#untold === 0) return;
    const why = this.#isFailing
      ? "standard output could not be written to the end"
      : this.#hasFailed
        ? "log lines can be written to standard output again"
        : "standard output was too slow";
    this.#options.complain(`${why}; log lines lost: ${this.#untold}`);
    this.#untold = 0;
    this.#hasFailed = this.#isFailing;
  }

  /** Tries again later what waits. */
  #schedule(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const last = this.#chunks.at(-1);
    if (last === undefined) return;
    if (last.bytes.buffer === this.#room.buffer) last.bytes = Buffer.from(last.bytes); // the room is for the next lines
    this.#timer = setTimeout(() => this.#hand(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, maxRetryMs);
  }
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Those of which not all is written. A line may be several in the output, as one for people with a stack is. */
function linesLeft({ bytes, lines, isBegun }: Chunk): number {
  return isBegun
    ? Math.min(
        lines,
        bytes.reduce((count, byte) => count + (byte === newline ? 1 : 0), 0),
      )
    : lines;
}

/** It wants no lines: that is no fault, and nothing is said. */
function isReaderGone(error: unknown): boolean {
  return codeOf(error) === "EPIPE";
}

function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : AppError.from(thrown);
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
