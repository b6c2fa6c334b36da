import type { Clock, ErrorBus, Metrics } from "@plinth/kernel";
import type { AuditClient, AuditEvent, AuditSource } from "./types.ts";
import type { SpillFile } from "./spill-file.ts";

/** An event as its place in the code knows it; the recorder adds the rest. */
export type NewAuditEvent = Omit<AuditEvent, "eventId" | "occurredAt" | "attributes"> &
  Partial<Pick<AuditEvent, "eventId" | "occurredAt" | "attributes">>;

/**
 * Why an event was lost: there was no room for it; it could not be delivered for too long; the service refused it; the recorder had been
 * closed, or was before it could be delivered; the spill could not be written, or read.
 */
export type AuditLoss = "full" | "expired" | "refused" | "closed" | "spill_failed" | "spill_damaged";

export const auditLosses = ["full", "expired", "refused", "closed", "spill_failed", "spill_damaged"] as const;

export interface AuditRecorderOptions {
  /** What keeps the events. */
  readonly client: Pick<AuditClient, "recordBatch">;
  /** Said of every event that says nothing else: the name of the service, say. Request and trace ids are those of the current context. */
  readonly source?: AuditSource;
  /**
   * `background`: `record` resolves at once and never rejects. `confirmed`: it resolves when the event is kept, by the service or in the
   * spill, and rejects when it is not. Default `background`.
   */
  readonly delivery?: "background" | "confirmed";
  /** How long a caller waits for a confirmation, in milliseconds from 1. Default 2_000. */
  readonly confirmMs?: number;
  /** Events that wait at most, from 1. Default 10_000. */
  readonly maxQueue?: number;
  /** What they may take at most, in bytes, about, from 1_024. Default 16_777_216. */
  readonly maxQueueBytes?: number;
  /** Events in one call at most, from 1 to 500. Default 100. */
  readonly maxBatch?: number;
  /** How long an event waits for others, in milliseconds from 0. Default 200; `confirmed` does not wait. */
  readonly lingerMs?: number;
  /** Limit of one call, in milliseconds from 1. Default 5_000. */
  readonly timeoutMs?: number;
  /** How long an event is tried for, in milliseconds from 0; then it is spilled, or lost. Default 600_000. */
  readonly retryMs?: number;
  /** The longest wait between two tries, in milliseconds from 1. Default 10_000; the first is 100 at most. */
  readonly maxRetryDelayMs?: number;
  /** Where events go that find no room, or are left at the end. Default: nowhere. */
  readonly spill?: AuditSpillOptions | undefined;
  /** Told of losses, as `ERR_AUDIT_LOST`. Absent: the metrics alone are. */
  readonly errors?: Pick<ErrorBus, "report"> | undefined;
  /** Has `audit_recorder_…`. Absent: nothing is counted but in {@link AuditRecorder.stats}. */
  readonly metrics?: Metrics | undefined;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Source of jitter in [0, 1). Default `Math.random`. */
  readonly random?: () => number;
  /** Names an event: 8 to 128 characters, random. Default: a UUID. */
  readonly newEventId?: () => string;
}

export interface AuditSpillOptions {
  /** A file of this process alone, in a folder that is there. It is made, or what it holds is sent first. */
  readonly path: string;
  /** No event is written past this size, in bytes from 1_024. Default 67_108_864. */
  readonly maxBytes?: number;
  /** Default: the file system's. */
  readonly open?: (path: string) => Promise<SpillFile>;
}

/** Records what was done, apart from whoever does it. */
export interface AuditRecorder {
  /**
   * Never throws. By default it resolves at once and never rejects; with `confirmed` delivery it rejects when the event is not kept:
   * @throws {@link AuditError} `ERR_AUDIT_RECORDER_FULL`, `ERR_AUDIT_RECORDER_CLOSED`, `ERR_AUDIT_LOST` for one that was refused;
   *   `ERR_AUDIT_UNCONFIRMED` when nobody knows yet: it may still be kept.
   */
  record(event: NewAuditEvent): Promise<void>;
  /** Resolves when nothing waits any more, neither in memory nor in the spill, or the signal aborts. */
  flush(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
  stats(): AuditRecorderStats;
  /**
   * Takes no more events, and sends what waits until the signal aborts; what is left goes to the spill, or is lost. Safe to call twice.
   * @param options.signal - Default: sends nothing more.
   */
  close(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}

export interface AuditRecorderStats {
  /** Kept by the service. */
  readonly kept: number;
  /** By their reasons. */
  readonly lost: Readonly<Record<AuditLoss, number>>;
  /** In memory. */
  readonly waiting: number;
  /** In the spill, in bytes. */
  readonly spilledBytes: number;
}

export const auditRecorderDefaults = Object.freeze({
  delivery: "background",
  confirmMs: 2_000,
  maxQueue: 10_000,
  maxQueueBytes: 16_777_216,
  maxBatch: 100,
  lingerMs: 200,
  timeoutMs: 5_000,
  retryMs: 600_000,
  maxRetryDelayMs: 10_000,
});

export const spillMaxBytes = 67_108_864;
