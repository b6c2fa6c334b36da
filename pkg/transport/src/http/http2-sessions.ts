import { constants, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { Clock, Scheduled } from "@plinth/kernel";
import { calm, FloodBudget, type FloodKind } from "../flood-budget.ts";
import { afterDrainGrace, drainGraceMs } from "./drain-grace.ts";
import { Http2Stalls } from "./http2-stalls.ts";

/** A connection of HTTP/2 as its requests see it. */
export interface Http2Connection {
  readonly session: ServerHttp2Session;
  /** What node gives in its place is a proxy. */
  readonly socket: Socket;
  /** By the monotonic clock. */
  readonly beganMs: number;
  /** Streams that are open. */
  open: number;
  /** When the last of them was closed, or the connection opened, by the monotonic clock. */
  idleSinceMs: number;
  /** Whether the next reply takes a GOAWAY with it. */
  isLeaving: boolean;
  readonly budget: FloodBudget;
}

/** By session. */
export const http2Connections = new WeakMap<object, Http2Connection>();

export interface Http2SessionsOptions {
  /** How long a connection may be open without a request, in milliseconds. */
  readonly headersTimeoutMs: number;
  /** How long after its last request, in milliseconds. */
  readonly keepAliveTimeoutMs: number;
  /** How long bytes of a reply may wait for its caller to open the window, in milliseconds; 0 for ever. */
  readonly idleTimeoutMs: number;
  readonly clock: Clock;
  /** A connection is ended since it takes more than its budget. */
  readonly onFlood: (kind: FloodKind) => void;
}

/**
 * The open connections of an HTTP/2 server: ended when they are idle, when they take more than their budget (GOAWAY with
 * ENHANCE_YOUR_CALM, and all work for them is cancelled), and when the server drains.
 */
export class Http2Sessions {
  readonly #options: Http2SessionsOptions;
  readonly #connections = new Map<Socket, Http2Connection>();
  readonly #stalls: Http2Stalls;
  #isDraining = false;

  constructor(options: Http2SessionsOptions) {
    this.#options = options;
    this.#stalls = new Http2Stalls(options);
  }

  get size(): number {
    return this.#connections.size;
  }

  has(socket: Socket): boolean {
    return this.#connections.has(socket);
  }

  begin(session: ServerHttp2Session, socket: Socket): Http2Connection {
    const { clock } = this.#options;
    const beganMs = clock.monotonicMs();
    const budget = new FloodBudget(clock);
    const connection = { session, socket, beganMs, open: 0, idleSinceMs: beganMs, isLeaving: false, budget };
    http2Connections.set(session, connection);
    this.#connections.set(socket, connection);
    socket.once("close", () => this.#connections.delete(socket));
    this.#endWhenIdle(connection);
    session.on("stream", (stream) => this.#stalls.watch(stream, socket));
    this.#endFloods(connection);
    if (this.#isDraining) this.#leaveSoon(connection);
    return connection;
  }

  /**
   * The next reply on each connection takes a GOAWAY with it, ahead of its end: who asks one thing at a time has it before it asks
   * again. Who asks more at once may have sent what is refused for it, and finds that new connections are served; those stay until
   * the drain, since callers send again what was refused once, and not what is refused time and again.
   */
  announceDrain(): void {
    for (const connection of this.#connections.values()) connection.isLeaving = true;
  }

  /**
   * Tells every caller by GOAWAY to send its next requests elsewhere, and closes each connection when its last stream has
   * ended. What is on its way by then is not served, and its caller can tell: its number is above the one in the GOAWAY, so
   * that it is safe to send it again. Node has no GOAWAY that still takes them (RFC 9113, 6.8). Connections that are idle since
   * a moment ago have a moment for one more request, whose reply takes the GOAWAY with it. Those that begin about now are told
   * a moment later, as what comes on them may have been refused on another: it may be sent again once (RFC 9113, 8.7).
   */
  drain(): void {
    this.#isDraining = true;
    const agoMs = this.#options.clock.monotonicMs() - drainGraceMs;
    for (const connection of this.#connections.values())
      if (connection.beganMs > agoMs) this.#leaveSoon(connection);
      else this.#leave(connection, agoMs);
  }

  /** Breaks every connection off. */
  cut(): void {
    for (const socket of this.#connections.keys()) socket.destroy();
  }

  #leaveSoon(connection: Http2Connection): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#after(connection, () => this.#leave(connection, nowMs));
  }

  /** @param agoMs - What is idle since then or longer has had its moment. */
  #leave(connection: Http2Connection, agoMs: number): void {
    if (connection.open > 0 || connection.idleSinceMs <= agoMs) {
      endConnection(connection);
      return;
    }
    connection.isLeaving = true;
    this.#after(connection, () => endConnection(connection));
  }

  #after({ session }: Http2Connection, task: () => void): void {
    const grace = afterDrainGrace(this.#options.clock, task);
    session.once("close", () => grace.cancel());
  }

  /** Counted from its last stream: what else it sends, as PING, does not keep it open. */
  #endWhenIdle(connection: Http2Connection): void {
    const { clock, headersTimeoutMs, keepAliveTimeoutMs } = this.#options;
    const { session } = connection;
    const within = (ms: number): Scheduled => clock.schedule(ms, () => session.close(), { keepAlive: false });
    let idle: Scheduled | undefined = within(headersTimeoutMs);
    session.once("close", () => idle?.cancel());
    session.on("stream", (stream) => {
      connection.open++;
      idle?.cancel();
      idle = undefined;
      stream.once("close", () => {
        if (--connection.open > 0 || session.destroyed) return;
        connection.idleSinceMs = clock.monotonicMs();
        idle = within(keepAliveTimeoutMs);
      });
    });
  }

  #endFloods({ session, budget }: Http2Connection): void {
    const { onFlood } = this.#options;
    const spend = (kind: FloodKind): void => {
      if (budget.spend(kind) || session.destroyed) return;
      onFlood(kind);
      calm(session, kind);
    };
    session.on("stream", (stream: ServerHttp2Stream) => {
      stream.once("close", () => {
        if (stream.rstCode !== constants.NGHTTP2_NO_ERROR) spend("reset");
      });
    });
    session.on("ping", () => spend("ping"));
    session.on("remoteSettings", () => spend("settings"));
  }
}

/** Tells the caller by GOAWAY to send its next requests elsewhere; the connection is closed when its last stream has ended. */
export function endConnection(connection: Http2Connection): void {
  connection.isLeaving = false;
  const { session } = connection;
  if (!session.closed && !session.destroyed) session.close();
}

/** Lets the caller know that the rest of its body is not wanted. RFC 9113, 8.1. */
export function stopUpload(stream: ServerHttp2Stream): void {
  if (!stream.closed) stream.close(constants.NGHTTP2_NO_ERROR);
}

/** Settings of node's server that keep one connection within bounds. */
export function http2ServerOptions({
  maxConcurrentStreams,
  maxHeaderBytes,
  maxHeaderLines,
}: Readonly<Record<"maxConcurrentStreams" | "maxHeaderBytes" | "maxHeaderLines", number>>) {
  return {
    settings: {
      maxConcurrentStreams,
      maxHeaderListSize: maxHeaderBytes,
      enableConnectProtocol: false,
      enablePush: false,
    },
    maxHeaderListPairs: maxHeaderLines + 28, // the pseudo-headers, and some to be refused by us
    maxSessionMemory: 10,
    maxSessionInvalidFrames: 100,
    maxSessionRejectedStreams: 100,
    maxOutstandingPings: 10,
    maxSettings: 32,
    maxDeflateDynamicTableSize: 4_096,
    strictFieldWhitespaceValidation: true,
  };
}
