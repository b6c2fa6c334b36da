import { constants, PerformanceObserver } from "node:perf_hooks";
import { getHeapSpaceStatistics, getHeapStatistics } from "node:v8";
import type { Clock, Logger, Scheduled } from "@plinth/kernel";

const sampleMs = 100;
/** What a collection has found counts for so long: without requests there may be none for a while that would tell of what has gone. */
const findingMs = 2_000;
/** Collections are looked at only from this share of the threshold on. */
const nearShare = 0.8;

/** The heap of this process, as V8 tells of it. */
export interface Heap {
  /** In use, garbage included, as a share of what it may have. */
  usedRatio(): number;
  /** Calls `listener` after each collection of the whole heap until it is told to stop. */
  onCollected(listener: () => void): () => void;
}

/** How full the heap is of what is still needed: what is found in use right after the newest collection of all of it. */
export class HeapUse {
  readonly #heap: Heap;
  readonly #clock: Clock;
  readonly #log: Logger | undefined;
  readonly #maxRatio: number;
  #timer: Scheduled | undefined;
  #stopListening: (() => void) | undefined;
  #found = 0;
  #foundAtMs = 0;
  #isFull = false;

  /** @param maxRatio - From where on it counts as full, for the log; above 0. */
  constructor(
    maxRatio: number,
    clock: Clock,
    { heap = ownHeap, log }: { readonly heap?: Heap | undefined; readonly log?: Logger | undefined } = {},
  ) {
    this.#maxRatio = maxRatio;
    this.#clock = clock;
    this.#heap = heap;
    this.#log = log;
  }

  /** 0 as long as it is far from full. */
  get ratio(): number {
    return this.#found;
  }

  /** Safe to call twice. */
  start(): void {
    this.#timer ??= this.#later();
  }

  /** Safe to call twice. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#found = 0;
    this.#stopListening?.();
    this.#stopListening = undefined;
  }

  #later(): Scheduled {
    return this.#clock.schedule(sampleMs, () => this.#sample(), { keepAlive: false });
  }

  #sample(): void {
    if (this.#heap.usedRatio() >= this.#maxRatio * nearShare) {
      this.#stopListening ??= this.#heap.onCollected(() => this.#take(this.#heap.usedRatio()));
      if (this.#clock.monotonicMs() - this.#foundAtMs >= findingMs) this.#found = 0;
    } else if (this.#stopListening) {
      this.#stopListening();
      this.#stopListening = undefined;
      this.#take(0);
    }
    this.#timer = this.#later();
  }

  #take(found: number): void {
    this.#found = found;
    this.#foundAtMs = this.#clock.monotonicMs();
    const isFull = found >= this.#maxRatio;
    if (isFull === this.#isFull) return;
    this.#isFull = isFull;
    if (!isFull) this.#log?.info("the heap has room again");
    else {
      const what = "the heap is nearly full; requests are refused, those of less important routes first";
      this.#log?.warn(what, { used_ratio: Math.round(found * 1e3) / 1e3, limit_ratio: this.#maxRatio });
    }
  }
}

const mebibyte = 2 ** 20;
/** What V8 counts for new objects in its limit, unless told otherwise: three times 32 MiB. */
const youngBytes = 96 * mebibyte;

/**
 * What objects that have survived may take, in bytes: where that is used up V8 ends the process, however much is free for new ones.
 *
 * @param limitBytes - Of the whole heap, as V8 has it.
 * @param flags - That Node was started with.
 */
export function oldLimitBytes(limitBytes: number, flags: string): number {
  const [, said] = [...flags.matchAll(/--max[-_]old[-_]space[-_]size[= ](\d+)/g)].at(-1) ?? [];
  const known = Number(said ?? 0) * mebibyte;
  return known > 0 && known <= limitBytes ? known : limitBytes - Math.min(youngBytes, limitBytes / 4);
}

const flags = [process.env["NODE_OPTIONS"] ?? "", ...process.execArgv].join(" ");

const ownHeap: Heap = {
  usedRatio() {
    let used = 0;
    for (const { space_name: name, space_used_size: bytes } of getHeapSpaceStatistics())
      if (!name.startsWith("new_")) used += bytes;
    return used / oldLimitBytes(getHeapStatistics().heap_size_limit, flags);
  },
  onCollected(listener) {
    const observer = new PerformanceObserver((list) => {
      if (list.getEntries().some(isMajor)) listener();
    });
    observer.observe({ entryTypes: ["gc"] });
    return () => observer.disconnect();
  },
};

function isMajor(entry: object): boolean {
  if (!("detail" in entry) || typeof entry.detail !== "object" || entry.detail === null) return false;
  return "kind" in entry.detail && entry.detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR;
}
