import { relative } from "node:path";
import { fileURLToPath } from "node:url";

/** Where something was made: a stack whose text is put together only when somebody asks. */
export interface Origin {
  readonly stack?: string | undefined;
}

const depth = 50;

/** The stack of whoever called `above`. */
export function captureOrigin(above: (...args: never[]) => unknown): Origin {
  const origin: { stack?: string } = {};
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = depth;
  Error.captureStackTrace(origin, above);
  Error.stackTraceLimit = stackTraceLimit;
  return origin;
}

/** Files of an origin, nearest first: `node:net`, `/home/ada/notes/src/main.ts`, each with its line. */
export function framesOf({ stack }: Origin): string[] {
  const lines = typeof stack === "string" ? stack.split("\n") : []; // no text where stacks are prepared otherwise
  return lines.flatMap((line) => {
    const [, file = "", row = ""] = /(?:\(|at )(?:async )?([^()]*?):(\d+):\d+\)?$/.exec(line.trim()) ?? [];
    if (file === "") return [];
    return [`${file.startsWith("file:") ? fileURLToPath(file) : file}:${row}`];
  });
}

export function isOfNode(frame: string): boolean {
  return frame.startsWith("node:");
}

/** The nearest file of the project, else of a package that it uses; relative to the current folder. */
export function placeOf(origin: Origin): string | undefined {
  const frames = framesOf(origin).filter((frame) => !isOfNode(frame));
  const nearest = frames.find((frame) => !/[/\\]node_modules[/\\]/.test(frame)) ?? frames[0];
  if (nearest === undefined) return undefined;
  const short = relative(process.cwd(), nearest);
  return short.startsWith("..") ? nearest : short;
}
