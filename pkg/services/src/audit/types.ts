import type { CallOptions } from "../calls.ts";
import type { EventId } from "../ids.ts";
import type { Page, PageRequest } from "../pages.ts";

/** Somebody or something: `{ type: "user", id: "1" }`. */
export interface AuditReference {
  /** 1 to 64 of `a–z 0–9 _`, a letter first. */
  readonly type: string;
  /** As all ids: 1 to 128 of `A–Z a–z 0–9 . _ : ~ @ | -`. */
  readonly id: string;
}

/** How something ended: it was done; it was not allowed; it was allowed, and failed. */
export type AuditOutcome = "success" | "denied" | "failure";

/** Where something was done. Each of at most 256 characters. */
export interface AuditSource {
  readonly service?: string | undefined;
  readonly address?: string | undefined;
  readonly requestId?: string | undefined;
  readonly traceId?: string | undefined;
}

export interface AuditEvent {
  /** Given by whoever records it, before it is first sent. */
  readonly eventId: EventId;
  /** By the clock of whoever did it; at most 5 minutes ahead of the service's. */
  readonly occurredAt: Date;
  readonly actor: AuditReference;
  /** 1 to 128 of `a–z 0–9 _ . -`, such as `notes.delete`. */
  readonly action: string;
  readonly target?: AuditReference | undefined;
  readonly outcome: AuditOutcome;
  readonly source?: AuditSource | undefined;
  /** At most 64, keys of 1 to 64 characters, values of at most 2048. Nothing secret: it cannot be deleted. */
  readonly attributes: Readonly<Record<string, string>>;
}

/** An event in its place. */
export interface AuditEntry {
  /** From 1, without gaps. */
  readonly sequence: number;
  readonly recordedAt: Date;
  readonly event: AuditEvent;
  /** 64 hexadecimal digits; zeros for the first entry. */
  readonly previousHash: string;
  /** 64 hexadecimal digits, see `auditEntryHash`. */
  readonly hash: string;
}

/** That an event is kept. */
export interface AuditReceipt {
  readonly eventId: EventId;
  readonly sequence: number;
  readonly recordedAt: Date;
  readonly hash: string;
}

/** What became of one event of a batch: an error says that it is not kept, and will not be however often it is sent. */
export type AuditResult =
  | { readonly receipt: AuditReceipt; readonly error?: undefined }
  | { readonly receipt?: undefined; readonly error: { readonly code: string; readonly message: string } };

/** What is absent fits all. */
export interface AuditFilter {
  readonly actor?: AuditReference | undefined;
  readonly target?: AuditReference | undefined;
  /** With `*` at its end, all that begins so: `notes.*`. */
  readonly action?: string | undefined;
  readonly outcome?: AuditOutcome | undefined;
  readonly occurredFrom?: Date | undefined;
  readonly occurredBefore?: Date | undefined;
}

export interface AuditQuery extends AuditFilter {
  /** Those after this sequence. Default 0: from the first. */
  readonly afterSequence?: number | undefined;
  /** Default false: in the order of the chain. */
  readonly newestFirst?: boolean | undefined;
}

export interface TailQuery extends AuditFilter {
  /** Those after this sequence; 0: all. Absent: only those that are added from now on. */
  readonly afterSequence?: number | undefined;
  /** How often something comes when there is no entry, in milliseconds from 1_000 to 60_000. Default 15_000. */
  readonly heartbeatMs?: number | undefined;
}

/** An entry; or how far the stream has come, where nothing fits: a reader that is cut off may go on after it. */
export type TailItem =
  | { readonly kind: "entry"; readonly entry: AuditEntry }
  | { readonly kind: "heartbeat"; readonly sequence: number };

/** The end of the chain: keep it elsewhere, to hold the chain to it. */
export interface AuditHead {
  /** 0 where there is no entry. */
  readonly sequence: number;
  readonly hash: string;
  readonly readAt: Date;
}

/**
 * Keeps what was done, for good: `plinth.audit.v1`, whose comments say who may call what. Errors have the codes of {@link auditErrors}.
 * Whoever must not wait for it, or fail with it, records by `createAuditRecorder`.
 */
export interface AuditClient {
  /** Resolves once the event is kept; safe to repeat. @throws `ERR_AUDIT_EVENT_CONFLICT`, `ERR_AUDIT_EVENT_INVALID`. */
  record(event: AuditEvent, options?: CallOptions): Promise<AuditReceipt>;
  /** 1 to 500 events, each by itself; the results are in their order. Safe to repeat. */
  recordBatch(events: readonly AuditEvent[], options?: CallOptions): Promise<readonly AuditResult[]>;
  /** @throws `ERR_AUDIT_ENTRY_NOT_FOUND`. */
  getEntry(eventId: EventId, options?: CallOptions): Promise<AuditEntry>;
  /** All that fit, page by page. @throws `ERR_PAGE_TOKEN`. */
  query(query?: AuditQuery & PageRequest, options?: CallOptions): AsyncIterable<AuditEntry>;
  /** At most 500 on a page. @throws `ERR_PAGE_TOKEN`. */
  queryPage(query?: AuditQuery & PageRequest, options?: CallOptions): Promise<Page<AuditEntry>>;
  /** Without end, until its signal aborts or its reader stops. @throws `ERR_AUDIT_TOO_SLOW`. */
  tail(query?: TailQuery, options?: CallOptions): AsyncIterable<TailItem>;
  getHead(options?: CallOptions): Promise<AuditHead>;
}
