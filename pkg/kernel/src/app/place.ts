import { fileURLToPath } from "node:url";
import type { ErasedDefinition } from "./provider.ts";

/** File and line of the call that `origin` was made in: for a definition, that of `provider`. */
export function placeOf({ origin }: Pick<ErasedDefinition, "origin">): string {
  const stack = typeof origin.stack === "string" ? origin.stack : ""; // no text where stacks are prepared otherwise
  const line = stack.split("\n").find((frame) => /:\d+:\d+\)?$/.test(frame)) ?? "";
  const match = /(?:\(|at )(?:async )?([^()]*?):(\d+):\d+\)?$/.exec(line.trim());
  if (!match) return "unknown place";
  const [, file = "", row] = match;
  return `${file.startsWith("file:") ? fileURLToPath(file) : file}:${row}`;
}
