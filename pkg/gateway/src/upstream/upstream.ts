import type { Duplex, Readable } from "node:stream";
import type { Clock } from "@plinth/kernel";
import type { ReplyHeaders } from "../headers/reply.ts";
import type { Deadlines } from "../server/deadlines.ts";
import type { UpstreamTls } from "./tls.ts";

/** A request as it goes to one instance. */
export interface UpstreamRequest {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  /** Name and value by turns, `host` and `content-length` among them. */
  readonly headers: string[];
  /** Null when there is none. Not touched before the connection stands, so that another instance can be tried with it. */
  readonly body: Readable | null;
  /** Longest pause within the reply's body, in milliseconds; undefined for that of all. */
  readonly bodyGapMs?: number | undefined;
  /** Longest wait for the reply's head, in milliseconds; undefined for that of all. */
  readonly headersTimeoutMs?: number | undefined;
  /** The protocol to go on in, where one is asked for. */
  readonly upgrade?: string | undefined;
  /**
   * Asked when the body has ended: fields that go behind it, name and value by turns. They are sent only where the headers have no
   * `content-length`.
   */
  readonly trailers?: (() => readonly string[] | undefined) | undefined;
  /** It goes over a connection that has served nobody: one before has met the end of an idle one. Default false; HTTP/2 does not look at it. */
  readonly isFresh?: boolean;
}

/** How trying an instance failed. */
export type FailureKind =
  /** No connection: refused, unroutable, name unknown. */
  | "unreachable"
  | "connect_timeout"
  /** TLS failed: the instance's certificate is not one that is trusted, or it does not trust ours. */
  | "untrusted"
  /** Another instance than the one meant is at the address, and has refused: nothing was done. */
  | "misdirected"
  /** The instance has said that it did not look at it: RFC 9113, 8.7. */
  | "refused"
  /** Every connection that may be opened is in use. */
  | "busy"
  /** Connected, but no reply head in time. */
  | "timeout"
  /** The connection broke before the reply was complete. */
  | "reset"
  /** No bytes for too long in the middle of the reply. */
  | "stalled"
  /** What came is no valid reply. */
  | "invalid"
  /** The request cannot be written as given: a fault of the gateway. */
  | "unsendable";

export interface UpstreamFailure {
  readonly kind: FailureKind;
  /** Whether any byte of the request may have reached the instance. */
  readonly sent: boolean;
  /** Whether it went over a connection that had served before, which the instance may have closed at just that moment. */
  readonly reused: boolean;
  readonly cause: unknown;
}

/** Told what becomes of a request, in this order: head, data…, then end or failure. Nothing after `UpstreamCall.abort`. */
export interface UpstreamHandlers {
  /** @param status - 200 to 599. */
  onHead(status: number, headers: ReplyHeaders): void;
  /**
   * In place of all others, when `upgrade` was asked for: the instance has answered 101, and what was the connection is the caller's. It ends
   * with the upstream at the latest.
   */
  onUpgrade(headers: ReplyHeaders, socket: Duplex): void;
  /** @returns False to be given no more until `UpstreamCall.resume`. */
  onData(chunk: Buffer): boolean;
  /**
   * The reply is complete: its length was right and nothing was cut off.
   * @param trailers - What came behind its body.
   */
  onEnd(trailers: ReplyHeaders): void;
  onFailure(failure: UpstreamFailure): void;
}

/** A request under way. */
export interface UpstreamCall {
  /** Ends it at once; its connection is closed, since the rest of the reply would still come. */
  abort(): void;
  resume(): void;
}

/** A client for one instance: the seam where another HTTP client can take the place of ours. */
export interface Upstream {
  /** Never throws: what fails is told to the handlers, at the earliest after this has returned. */
  send(request: UpstreamRequest, handlers: UpstreamHandlers): UpstreamCall;
  readonly connections: number;
  /** Takes no new request, closes what is idle, and resolves when what is under way has ended. Safe to call twice. */
  close(): Promise<void>;
  /** Breaks everything off. */
  destroy(): void;
}

export interface UpstreamOptions {
  /** `host:port`, an IPv6 address in brackets. */
  readonly authority: string;
  readonly connectTimeoutMs: number;
  /** Longest wait for the reply's head, in milliseconds. */
  readonly headersTimeoutMs: number;
  /** Longest pause within a reply's body, in milliseconds. */
  readonly bodyGapMs: number;
  readonly maxConnections: number;
  readonly clock: Clock;
  /** Where its times are kept. Default: one of its own. */
  readonly deadlines?: Deadlines | undefined;
  /** Default: no TLS. */
  readonly tls?: UpstreamTls | undefined;
}

export type UpstreamFactory = (options: UpstreamOptions) => Upstream;
