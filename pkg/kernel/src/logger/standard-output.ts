import { pino } from "pino";
import { messageOf } from "../errors/app-error.ts";
import type { LogDestination } from "./pino.ts";

/** What waits for a standard output that does not take it, in bytes; lines above it are lost, and counted. */
const maxWaitingBytes = 64 * 1024 * 1024;

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
  stream.on("drop", () => void lost++);
  stream.on("drain", () => {
    if (lost > 0) tell(`standard output was too slow: ${lost} log lines are lost`);
    lost = 0;
    settle();
  });
  stream.on("error", (error: Error & { code?: string }) => {
    // a reader that has gone wants no lines: that is no fault of the app
    if (error.code !== "EPIPE") tell(`log lines cannot be written to standard output: ${messageOf(error)}`);
    settle(error.code === "EPIPE" ? undefined : error);
  });
  return {
    write(line) {
      isWriting = true;
      stream.write(line);
    },
    flush(done) {
      if (isWriting) waiting.push(done);
      else done();
    },
    flushSync: () => stream.flushSync(),
  };
}
