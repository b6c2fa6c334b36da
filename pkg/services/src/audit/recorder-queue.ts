import type { AuditEvent } from "./types.ts";

/** An event that waits. */
export interface Waiting {
  readonly event: AuditEvent;
  readonly bytes: number;
  readonly sinceMs: number;
  /** Told once what became of it: nothing where it is kept. */
  readonly done: (error?: Error) => void;
}

/** What waits, first come, first served, under two limits. */
export class RecorderQueue {
  readonly #limits: { readonly maxQueue: number; readonly maxQueueBytes: number };
  #items: Waiting[] = [];
  #bytes = 0;

  constructor(limits: { readonly maxQueue: number; readonly maxQueueBytes: number }) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#items.length;
  }

  hasRoom(bytes: number): boolean {
    return this.#items.length < this.#limits.maxQueue && this.#bytes + bytes <= this.#limits.maxQueueBytes;
  }

  push(item: Waiting): void {
    this.#items.push(item);
    this.#bytes += item.bytes;
  }

  /** The first ones, which stay: up to `max`, and about a mebibyte. */
  first(max: number): readonly Waiting[] {
    const batch: Waiting[] = [];
    let bytes = 0;
    for (const item of this.#items.slice(0, max)) {
      bytes += item.bytes;
      if (batch.length > 0 && bytes > 1_048_576) break;
      batch.push(item);
    }
    return batch;
  }

  /** Takes the first ones out. */
  drop(count: number): readonly Waiting[] {
    const dropped = this.#items.splice(0, count);
    for (const { bytes } of dropped) this.#bytes -= bytes;
    return dropped;
  }

  /** How many of the first ones wait since this time or longer. */
  olderThan(ms: number): number {
    const young = this.#items.findIndex(({ sinceMs }) => sinceMs > ms);
    return young < 0 ? this.#items.length : young;
  }
}

/** About what an event takes in memory. */
export function sizeOf({ attributes, source = {}, action, actor, target }: AuditEvent): number {
  let size =
    400 + action.length + actor.type.length + actor.id.length + (target ? target.type.length + target.id.length : 0);
  for (const key in attributes) size += key.length + (attributes[key]?.length ?? 0) + 16;
  for (const value of Object.values(source)) size += String(value).length;
  return size;
}
