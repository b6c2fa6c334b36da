import { writeSync } from "node:fs";
import { BackgroundWriter } from "./background-writer.ts";
import type { LogDestination } from "./pino.ts";
import { wholeLines } from "./whole-lines.ts";

const descriptor = 1;
const errorDescriptor = 2;

let shared: LogDestination | undefined;

/** One buffer for standard output, whatever number of apps write to it: their lines never mix. Written in the background. */
export function standardOutput(): LogDestination {
  return (shared ??= openStandardOutput());
}

function openStandardOutput(): LogDestination {
  // Asked for once, Node makes a pipe or socket non-blocking: a full one then says so instead of stopping the process.
  void [process.stdout, process.stderr];
  const isShared = process.env.PLINTH_WORKER !== undefined; // with the other workers
  const writer = new BackgroundWriter({
    write: (bytes) => writeSync(descriptor, isShared ? wholeLines(bytes) : bytes),
    complain,
  });
  // Whoever writes to a standard error that is full, or that nobody reads any more, must not end the process by that.
  process.stderr.on("error", () => {});
  // A process that exits runs no timer any more. One listener of each for the life of the process, as there is one standard output.
  process.on("exit", () => writer.close());
  return writer;
}

/** Standard error may be the same full disk or stuck reader; then there is nobody left to tell. */
function complain(what: string): void {
  try {
    writeSync(errorDescriptor, `${what}\n`);
  } catch {
    // what is lost is counted
  }
}
