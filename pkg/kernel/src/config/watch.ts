import { stat } from "node:fs/promises";
import type { Clock } from "../clock.ts";
import { requireNumber } from "../errors/option-error.ts";
import { Listeners } from "../listeners.ts";
import { type FileState, fileStateAt, stampOf, stampOfFailure } from "./read-text.ts";
import type { ConfigSource } from "./source.ts";

export interface WatchOptions {
  readonly clock: Clock;
  /** How often the files are looked at, in milliseconds, from 1. A change is told of at the second look that finds the same. Default 1_000. */
  readonly pollMs?: number;
  /** Called when something has changed since it was read or last told of, once for one content. What it throws is an uncaught exception. */
  readonly onChange: () => void;
  /**
   * Called with the name of each source that cannot be watched: its `watch` threw or rejected, and its signal aborts. Files and
   * the other sources are watched all the same. What it throws is an uncaught exception; so is the error itself without it.
   */
  readonly onFailure?: ((source: string, error: unknown) => void) | undefined;
  /** Ends the watch. */
  readonly signal?: AbortSignal | undefined;
}

export interface Watched {
  /** Files with what was found when they were last read; asked at each look, since a reload may have read others. */
  readonly files: () => ReadonlyMap<string, FileState>;
  readonly sources: readonly ConfigSource[];
}

/**
 * Looks at files, and has each source watched, until the signal aborts. Keeps no process alive.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` for `pollMs`.
 */
export function watchConfig(
  { files, sources }: Watched,
  { clock, pollMs = 1_000, onChange, onFailure = rethrow, signal }: WatchOptions,
): void {
  requireNumber("pollMs", pollMs, { min: 1 });
  const ended = signal ?? new AbortController().signal;
  if (ended.aborted) return;
  const changes = new Listeners<undefined>();
  changes.add(onChange);
  const tell = (): void => changes.tell(undefined);
  const failures = new Listeners<SourceFailure>();
  failures.add(({ source, error }) => onFailure(source, error));
  for (const source of sources) watchSource(source, { tell, fail: (failure) => failures.tell(failure), ended });
  // a source, or who hears of its failure, may have ended the watch
  if (ended.aborted) return;
  const poll = new Poll(files);
  const next = (): void => {
    const look = async (): Promise<void> => {
      ended.removeEventListener("abort", cancel);
      const isChanged = await poll.look();
      if (ended.aborted) return;
      next();
      if (isChanged) tell();
    };
    const scheduled = clock.schedule(pollMs, () => void look(), { keepAlive: false });
    const cancel = (): void => scheduled.cancel();
    ended.addEventListener("abort", cancel, { once: true });
  };
  next();
}

interface SourceFailure {
  readonly source: string;
  readonly error: unknown;
}

interface SourceWatch {
  readonly tell: () => void;
  readonly fail: (failure: SourceFailure) => void;
  readonly ended: AbortSignal;
}

/** Watches one source apart from the others: what it has begun is taken back when it fails, and it is not heard any more. */
function watchSource(source: ConfigSource, { tell, fail, ended }: SourceWatch): void {
  const own = new AbortController();
  const signal = AbortSignal.any([ended, own.signal]);
  const onFailure = (error: unknown): void => {
    if (signal.aborted) return; // it was told to end
    own.abort(error);
    fail({ source: source.name, error });
  };
  const onChange = (): void => {
    if (!signal.aborted) tell();
  };
  try {
    // an asynchronous function is one that returns nothing, as far as its type goes
    const watching: unknown = source.watch?.(onChange, { signal });
    Promise.resolve(watching).catch(onFailure);
  } catch (error) {
    onFailure(error);
  }
}

function rethrow(_: string, error: unknown): void {
  throw error;
}

class Poll {
  readonly #files: () => ReadonlyMap<string, FileState>;
  /** What was found when a change was last seen, by path, and what had been read by then. */
  readonly #seen = new Map<string, { readonly found: FileState; readonly read: FileState }>();
  /** Found at the last look, and not yet believed: the file may be half written, or about to be back. */
  readonly #unsettled = new Map<string, string>();

  constructor(files: () => ReadonlyMap<string, FileState>) {
    this.#files = files;
  }

  /** Whether a file has another content than when it was read or told of; never rejects. */
  async look(): Promise<boolean> {
    const changes = await Promise.all([...this.#files()].map(([path, read]) => this.#isChanged(path, read)));
    return changes.includes(true);
  }

  async #isChanged(path: string, read: FileState): Promise<boolean> {
    const stamp = await stampAt(path);
    const seen = this.#seen.get(path);
    const known = seen?.read === read ? seen.found : read;
    const isSettled = this.#unsettled.get(path) === stamp;
    this.#unsettled.delete(path);
    if (stamp === known.stamp) return false;
    if (!isSettled) {
      this.#unsettled.set(path, stamp);
      return false;
    }
    const { hash } = fileStateAt(path);
    this.#seen.set(path, { found: { stamp, hash }, read });
    return hash !== known.hash;
  }
}

async function stampAt(path: string): Promise<string> {
  try {
    return stampOf(await stat(path, { bigint: true }));
  } catch (error) {
    return stampOfFailure(error);
  }
}
