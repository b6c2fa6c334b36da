import { pino } from "pino";
import { messageOf } from "../errors/app-error.ts";
import type { LogDestination } from "./pino.ts";

/** What waits for a standard output that does not take it, in bytes; more is lost, and counted. */
const maxWaitingBytes = 64 * 1024 * 1024;

/** Lines are handed over together, when so many characters wait or so much time has passed: a system call for each would cost more than the line. */
const batchLength = 16_384;
const batchMs = 20;

let shared: LogDestination | undefined;

/** One buffer for standard output, whatever number of apps write to it: their lines never mix. Written in the background. */
export function standardOutput(): LogDestination {
  shared ??= background(1);
  return shared;
}

function background(descriptor: number): LogDestination {
  const stream = pino.destination({ dest: descriptor, sync: false, maxLength: maxWaitingBytes });
  let isWriting = false;
  let lost = 0;
  let waiting: ((error?: Error) => void)[] = [];
  const settle = (error?: Error): void => {
    isWriting = false;
    const told = waiting;
    waiting = [];
    for (const done of told) done(error);
  };
  const tell = (text: string): void => void process.stderr.write(`${text}\n`);
  /** A reader that has gone wants no lines: that is no fault of the app, and nothing is said of it. */
  const complain = (error: unknown): boolean => {
    if (error instanceof Error && "code" in error && error.code === "EPIPE") return false;
    tell(`log lines cannot be written to standard output: ${messageOf(error)}`);
    return true;
  };
  stream.on("drop", () => void lost++);
  stream.on("drain", () => {
    if (lost > 0) tell(`standard output was too slow: ${lost} batches of log lines are lost`);
    lost = 0;
    settle();
  });
  stream.on("error", (error: Error) => {
    settle(complain(error) ? error : undefined);
  });
  let batch = "";
  // Keeps the process alive for its few milliseconds, so that a process that just ends loses nothing.
  let timer: NodeJS.Timeout | undefined;
  const hand = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (batch === "") return;
    const lines = batch;
    batch = "";
    isWriting = true;
    stream.write(lines);
  };
  const flushSync = (): void => {
    hand();
    try {
      stream.flushSync();
    } catch (error) {
      complain(error);
    }
  };
  // A process that exits runs no timer any more. One listener for the life of the process, as there is one standard output.
  process.on("exit", flushSync);
  return {
    write(line) {
      batch += line;
      if (batch.length >= batchLength) hand();
      else timer ??= setTimeout(hand, batchMs);
    },
    flush(done) {
      hand();
      if (isWriting) waiting.push(done);
      else done();
    },
    flushSync,
  };
}
