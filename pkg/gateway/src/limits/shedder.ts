import type { Clock, Logger } from "@plinth/kernel";
import { type LoopDelay, watchLoopDelay } from "@plinth/transport";
import type { Importance } from "../config/schema-limits.ts";
import { type Heap, HeapUse } from "./heap-use.ts";

/** At which share of the threshold requests of a route are refused: the least important first, the critical never. */
const shares: Readonly<Record<Importance, number>> = { low: 0.5, normal: 1, high: 2, critical: Infinity };

/** At which part of the room above the threshold of the heap, which is the end of it at 1, and negative below the threshold. */
const heapShares: Readonly<Record<Importance, number>> = { low: -0.5, normal: 0, high: 0.5, critical: Infinity };

export interface ShedderOptions {
  /** From when on requests of normal importance are refused, in milliseconds; 0: never. */
  readonly maxLoopDelayMs: number;
  /** And from which share of the heap on; 0: never. */
  readonly maxHeapRatio: number;
  readonly clock: Clock;
  /** Default: nobody is told. */
  readonly log?: Logger | undefined;
  /** Default: that of this process. */
  readonly heap?: Heap | undefined;
}

/**
 * Refuses requests of less important routes first while the event loop runs late, since what is done for them would make it later for
 * all; and while the heap is nearly full, since what they hold would end the process for all.
 */
export class Shedder {
  readonly #options: ShedderOptions;
  #delay: LoopDelay | undefined;
  readonly #heap: HeapUse | undefined;

  constructor(options: ShedderOptions) {
    const { maxHeapRatio, clock, log, heap } = options;
    this.#options = options;
    if (maxHeapRatio > 0) this.#heap = new HeapUse(maxHeapRatio, clock, { log, heap });
  }

  start(): void {
    const { maxLoopDelayMs, clock } = this.#options;
    if (maxLoopDelayMs > 0) this.#delay ??= watchLoopDelay({ clock });
    this.#heap?.start();
  }

  refuses(importance: Importance): boolean {
    const { maxLoopDelayMs, maxHeapRatio } = this.#options;
    if (this.#delay !== undefined && this.#delay.nowMs() > maxLoopDelayMs * shares[importance]) return true;
    const used = this.#heap?.ratio ?? 0;
    return used > 0 && used >= maxHeapRatio + (1 - maxHeapRatio) * heapShares[importance];
  }

  /** Safe to call twice. */
  close(): void {
    this.#delay?.close();
    this.#delay = undefined;
    this.#heap?.close();
  }
}
