import { type ClientHttp2Session, connect as connectHttp2, constants, type Settings } from "node:http2";
import { connect, type Socket } from "node:net";
import { connect as connectTls, TLSSocket } from "node:tls";
import type { Scheduled } from "@plinth/kernel";
import type { Deadlines } from "../server/deadlines.ts";
import { Alarm } from "./alarm.ts";
import { type Http2Call, maxReplyHeadBytes, type StreamOwner } from "./http2-call.ts";
import type { FailureKind, UpstreamOptions } from "./upstream.ts";

/** Of a reply's body that may be on its way to one request, in bytes; to all on a connection. */
const windowBytes = 262_144;
const connectionWindowBytes = 4_194_304;
/** Streams at one time, whatever the instance allows; so many wait for a connection that is being opened. */
const maxStreams = 1_000;
const maxWaiting = 100;
const sessionOptions = {
  settings: { enablePush: false, initialWindowSize: windowBytes, maxHeaderListSize: maxReplyHeadBytes },
  /** In megabytes: all streams at their windows, and more. */
  maxSessionMemory: 512,
  /** What clients repeat is the service's to judge. */
  strictSingleValueFields: false,
} as const;
const idleMs = 60_000;
/** A connection with requests under way that has been silent for this long is asked whether anybody is there. */
const silentMs = 10_000;
/** And again after so many such times: servers of gRPC take pings in shorter turns for abuse. */
const looksBetweenPings = 31;
const pongMs = 5_000;

export interface ConnectionEvents {
  /** It takes fewer than wait for it. */
  left(calls: readonly Http2Call[]): void;
  closed(connection: Http2Connection): void;
}

/** One connection of HTTP/2 to an instance. It counts as standing when the instance has sent its SETTINGS: a request is sent to nothing else. */
export class Http2Connection implements StreamOwner {
  readonly session: ClientHttp2Session;
  readonly scheme: "http" | "https";
  readonly authority: string;
  lastStreamId = Infinity;
  isBroken = false;
  error: unknown;
  readonly #options: UpstreamOptions;
  readonly #deadlines: Deadlines;
  readonly #events: ConnectionEvents;
  readonly #socket: Socket;
  readonly #connecting: Scheduled;
  readonly #idle = new Alarm(() => this.close());
  readonly #silence = new Alarm(() => this.#look());
  readonly #pong = new Alarm(() => this.#unanswered());
  #state: "connecting" | "open" | "leaving" | "closed" = "connecting";
  #waiting: Http2Call[] = [];
  /** Streams that the instance takes at one time. */
  #max = 0;
  #active = 0;
  #served = 0;
  #usedAtMs: number;
  #bytesSeen = 0;
  #silentLooks = 0;
  #closesWhenOpen = false;

  constructor(options: UpstreamOptions, deadlines: Deadlines, events: ConnectionEvents) {
    this.#options = options;
    this.#deadlines = deadlines;
    this.#events = events;
    this.authority = options.authority;
    this.scheme = options.tls ? "https" : "http";
    this.#usedAtMs = options.clock.monotonicMs();
    this.#socket = openSocket(options);
    this.session = connectHttp2(`${this.scheme}://${options.authority}`, {
      ...sessionOptions,
      createConnection: () => this.#socket,
    });
    this.session.on("connect", () => this.#connected());
    this.session.on("remoteSettings", (settings: Settings) => this.#heard(settings));
    this.session.on("goaway", (_code: number, lastStreamId: number) => this.#dismissed(lastStreamId));
    this.session.on("error", (error) => this.#failed(error));
    this.session.on("close", () => this.#gone());
    this.#connecting = options.clock.schedule(options.connectTimeoutMs, () => this.#late(), { keepAlive: false });
  }

  /** Whether it takes requests, now or later. */
  get isUsable(): boolean {
    return this.#state === "connecting" || this.#state === "open";
  }

  /** Whether another connection would be of no use: the instance takes no streams at all. */
  get isShut(): boolean {
    return this.#state === "open" && this.#max === 0;
  }

  /** @returns False when it has no room. */
  take(call: Http2Call): boolean {
    if (this.#state === "connecting") {
      if (this.#waiting.length >= maxWaiting || this.#closesWhenOpen) return false;
      this.#waiting.push(call);
      return true;
    }
    if (this.#state !== "open" || this.#active >= this.#max) return false;
    this.#begin(call);
    return true;
  }

  released(): void {
    if (--this.#active > 0 || this.#state === "closed") return;
    this.#silence.stop();
    this.#usedAtMs = this.#options.clock.monotonicMs();
    if (this.#state === "open") this.#idle.set(this.#deadlines.list(idleMs), this.#usedAtMs);
  }

  /** Takes no new request; ends with the last one under way. */
  close(): void {
    if (this.#state === "open") {
      this.#state = "leaving";
      this.#idle.stop();
      this.session.close();
    } else if (this.#state === "connecting") {
      if (this.#waiting.some(({ isAborted }) => !isAborted)) this.#closesWhenOpen = true;
      else this.destroy();
    }
  }

  destroy(): void {
    this.session.destroy();
    this.#socket.destroy();
  }

  #begin(call: Http2Call): void {
    const isReused = this.#served > 0;
    if (!call.start(this, isReused)) return;
    this.#served++;
    if (this.#active++ > 0) return;
    const nowMs = this.#options.clock.monotonicMs();
    this.#idle.stop();
    this.#silentLooks = 0;
    this.#bytesSeen = this.#socket.bytesRead;
    if (isReused && nowMs - this.#usedAtMs >= silentMs) this.#ping();
    this.#silence.set(this.#deadlines.list(silentMs), nowMs);
  }

  #connected(): void {
    const socket = this.#socket;
    if (socket instanceof TLSSocket && socket.alpnProtocol !== "h2") {
      this.#failed(new Error("the instance does not speak HTTP/2 over TLS: it has not agreed to h2"));
      this.destroy();
      return;
    }
    socket.setNoDelay(true);
    this.session.setLocalWindowSize(connectionWindowBytes);
  }

  #heard({ maxConcurrentStreams = maxStreams }: Settings): void {
    this.#max = Math.min(maxConcurrentStreams, maxStreams);
    if (this.#state !== "connecting") return;
    this.#connecting.cancel();
    this.#state = "open";
    const waiting = this.#waiting.splice(0).filter(({ isAborted }) => !isAborted);
    for (const call of waiting.splice(0, this.#max)) this.#begin(call);
    if (waiting.length > 0) this.#events.left(waiting);
    if (this.#closesWhenOpen) this.close();
    else if (this.#active === 0) {
      this.#idle.set(this.#deadlines.list(idleMs), this.#options.clock.monotonicMs());
    }
  }

  /** GOAWAY: nothing new, and what is above the last stream was not looked at. */
  #dismissed(lastStreamId: number): void {
    this.lastStreamId = lastStreamId;
    this.#idle.stop();
    if (this.#state === "connecting") this.#failWaiting("unreachable", new Error("the instance closes connections"));
    if (this.#state !== "closed") this.#state = "leaving";
  }

  #failed(error: Error & { readonly code?: unknown }): void {
    this.error ??= error;
    if (this.#state === "connecting") {
      this.#failWaiting(error.code === "ETIMEDOUT" ? "connect_timeout" : "unreachable", error);
    } else if (error.code === "ERR_HTTP2_ERROR") this.isBroken = true;
  }

  #late(): void {
    const error = new Error(`no HTTP/2 connection within ${this.#options.connectTimeoutMs} ms`);
    this.error ??= error;
    this.#failWaiting("connect_timeout", error);
    this.destroy();
  }

  #failWaiting(kind: FailureKind, cause: unknown): void {
    this.#state = "leaving";
    for (const call of this.#waiting.splice(0)) call.fail({ kind, sent: false, reused: false, cause });
  }

  #gone(): void {
    if (this.#state === "connecting") {
      this.#failWaiting(
        "unreachable",
        this.error ?? new Error("the instance closed the connection, and sent no SETTINGS"),
      );
    }
    this.#state = "closed";
    this.#connecting.cancel();
    for (const alarm of [this.#idle, this.#silence, this.#pong]) alarm.stop();
    this.#socket.destroy();
    this.#events.closed(this);
  }

  #look(): void {
    const { bytesRead } = this.#socket;
    if (bytesRead !== this.#bytesSeen) this.#silentLooks = 0;
    else if (this.#silentLooks++ % looksBetweenPings === 0) this.#ping();
    this.#bytesSeen = bytesRead;
    this.#silence.set(this.#deadlines.list(silentMs), this.#options.clock.monotonicMs());
  }

  #ping(): void {
    if (this.#pong.list || this.session.destroyed) return;
    this.#pong.set(this.#deadlines.list(pongMs), this.#options.clock.monotonicMs());
    this.session.ping(() => this.#pong.stop());
  }

  /** Nobody is there any more, or no way leads there. */
  #unanswered(): void {
    this.error ??= new Error(`nothing came for ${silentMs} ms, and no answer to PING within ${pongMs} ms`);
    this.session.destroy(undefined, constants.NGHTTP2_CANCEL);
    this.#socket.destroy();
  }
}

function openSocket({ authority, tls }: UpstreamOptions): Socket {
  const { hostname, port } = new URL(`http://${authority}`);
  const host = hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
  const to = { host, port: port === "" ? 80 : Number(port) };
  return tls ? connectTls({ ...to, ...tls.optionsFor(host), ALPNProtocols: ["h2"] }) : connect(to);
}
