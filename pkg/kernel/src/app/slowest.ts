import type { AppEvent } from "./events.ts";

const maxNamed = 5;
/** What took less is not why a start took long. */
const leastMs = 1;

/** `; what else took time: "cache" 1200 ms, "mail" 40 ms`: of a start, what is up, the slowest first. Empty where nothing was slow. */
export function slowestOf(history: readonly AppEvent[]): string {
  const tookMs = new Map<string, number>();
  for (const event of history) {
    if (event.type !== "hook" || (event.hook !== "create" && event.hook !== "start")) continue;
    if (event.step === "done") tookMs.set(event.id, (tookMs.get(event.id) ?? 0) + event.tookMs);
    else if (event.step === "failed") tookMs.delete(event.id);
  }
  const slowest = [...tookMs].filter(([, ms]) => ms >= leastMs).toSorted(([, a], [, b]) => b - a);
  if (slowest.length === 0) return "";
  const named = slowest.slice(0, maxNamed).map(([id, ms]) => `"${id}" ${Math.round(ms)} ms`);
  return `; what else took time: ${named.join(", ")}`;
}
