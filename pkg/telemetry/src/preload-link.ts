import type { SpanSink } from "@plinth/kernel";
import { preloadMark } from "./foreign-sdk.ts";

/** What the preload leaves for the apps of the process to find: where they export to is where other libraries' spans go. */
export class PreloadLink {
  readonly sinks = new Set<SpanSink>();
}

/** Has spans of other libraries go where `sink` sends its own, if the preload is there; else nothing is touched. */
export function offerToPreload(sink: SpanSink): void {
  sinksOf(globalThis)?.add(sink);
}

/** No longer. */
export function takeFromPreload(sink: SpanSink): void {
  sinksOf(globalThis)?.delete(sink);
}

/** By its shape: the preload may be of another copy of this package. */
function sinksOf(host: object): Set<unknown> | undefined {
  const link: unknown = Reflect.get(host, preloadMark);
  const sinks: unknown = typeof link === "object" && link !== null && "sinks" in link ? link.sinks : undefined;
  return sinks instanceof Set ? sinks : undefined;
}
