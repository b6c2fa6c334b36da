import type { Clock } from "../clock.ts";
import { fileStateAt } from "./read-text.ts";
import { watchConfig } from "./watch.ts";

/** How {@link watchFiles} looks at files. */
export interface WatchFilesOptions {
  readonly clock: Clock;
  /** How often the files are looked at, in milliseconds, from 1. A change is told of at the second look that finds the same. Default 1_000. */
  readonly pollMs?: number;
  /** Called when the content of one of them is another, once for one content. What it throws is an uncaught exception. */
  readonly onChange: () => void;
  /** Ends the watch. */
  readonly signal: AbortSignal;
}

/**
 * Looks at files of up to 1 MiB by their paths until the signal aborts: files written in place, renamed over, or behind a
 * symbolic link that is swapped, as those of a mounted Secret. Keeps no process alive.
 *
 * @param paths - What is there now counts as known; a file may be absent.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` for `pollMs`.
 */
export function watchFiles(paths: readonly string[], options: WatchFilesOptions): void {
  const files = new Map(paths.map((path) => [path, fileStateAt(path)]));
  watchConfig({ files: () => files, sources: [] }, options);
}
