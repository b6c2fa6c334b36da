import { connect, type Socket } from "node:net";
import type { DeadlineList, Deadlines, Expiring } from "../server/deadlines.ts";
import { BodyWriter } from "./http1-body.ts";
import type { Http1Call } from "./http1-call.ts";
import { ReplyReader } from "./http1-reply.ts";
import type { FailureKind, UpstreamOptions } from "./upstream.ts";

/** Idle connections are closed after this, sooner if the instance announces less: below the 5 s of Node's own servers. */
const idleTimeoutMs = 4_000;
/** Of what the instance announces, so much is not used: its end and a request of ours may pass each other. */
const announcedMarginMs = 1_000;
/** The first sign that a peer is gone while a reply pauses for very long. */
const probeAfterMs = 60_000;

/**
 * What sockets are read into, one after another. Whatever is to stay is copied before anybody is told of it: telling may have another
 * socket read.
 */
const readBuffer = Buffer.allocUnsafeSlow(65_536);

/** Whose a connection is. */
export interface ConnectionOwner {
  readonly options: UpstreamOptions & { readonly deadlines: Deadlines };
  /** Its request has ended well, and it can have another. */
  released(connection: Http1Connection): void;
  /** It has no socket any more, or one that is somebody else's from now on. */
  gone(connection: Http1Connection, upgraded?: Socket): void;
}

/** One connection to an instance, with at most one request at a time. */
export class Http1Connection implements Expiring {
  expiresAtMs = 0;
  before: Expiring | undefined;
  after: Expiring | undefined;
  list: DeadlineList | undefined;
  /** When it was last given a request or had its reply, on the monotonic clock. */
  usedAtMs = 0;
  /** How long it may stand idle. */
  lifeMs = idleTimeoutMs;
  /** What the instance last said of that. */
  #keepAlive: string | undefined;
  readonly #owner: ConnectionOwner;
  readonly #socket: Socket;
  readonly #reader = new ReplyReader();
  #call: Http1Call | undefined;
  /** The part of the request that is not written yet. */
  #writer: BodyWriter | undefined;
  #served = 0;
  #isReady = false;
  /** The TCP connection stands, if perhaps not the TLS one. */
  #isConnected = false;
  #isPaused = false;
  #isGone = false;
  #hasUpgraded = false;

  /** @throws What `net.connect` throws for an address that is none. */
  constructor(owner: ConnectionOwner, { host, port }: { readonly host: string; readonly port: number }) {
    this.#owner = owner;
    const { tls } = owner.options;
    const options = {
      host,
      port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: probeAfterMs,
      onread: { buffer: readBuffer, callback: (bytes: number, buffer: Uint8Array) => this.#onBytes(bytes, buffer) },
    };
    this.#socket = tls ? tls.connect(options) : connect(options);
    this.#socket
      .on("connect", this.#onConnect)
      .on("secureConnect", this.#onReady)
      .on("end", this.#onEnd)
      .on("error", this.#onError)
      .on("close", this.#onClose)
      .on("drain", this.#onDrain);
  }

  /** Sends a request, as soon as the connection stands. */
  begin(call: Http1Call, nowMs: number): void {
    this.#call = call;
    call.connection = this;
    this.usedAtMs = nowMs;
    this.list?.remove(this);
    const { deadlines, connectTimeoutMs } = this.#owner.options;
    if (this.#isReady) this.#write(call, nowMs);
    else deadlines.list(connectTimeoutMs).add(this, nowMs);
  }

  /** It stands idle. */
  rest(nowMs: number): void {
    this.usedAtMs = nowMs;
    this.#owner.options.deadlines.list(this.lifeMs + 1).add(this, nowMs);
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#awaitBytes();
    this.#socket.resume();
  }

  /** Nobody wants to know any more what becomes of the request; the rest of the reply would still come. */
  abandon(): void {
    this.#endCall();
    this.destroy();
  }

  destroy(): void {
    this.list?.remove(this);
    this.#leave();
    this.#socket.destroy();
  }

  /** Breaks it off, and the request with it. */
  breakOff(): void {
    this.#fail("reset", new Error("the gateway has closed the connection"));
  }

  /** Its time has passed, in whatever state it is in. */
  expire(): void {
    const call = this.#call;
    if (!call) this.destroy();
    else if (!call.sent) this.#fail("connect_timeout", new Error("the connection did not stand in time"));
    else if (this.#reader.start) this.#fail("stalled", new Error("no bytes for too long within the reply"));
    else if (this.#writer && !this.#socket.writableNeedDrain) this.#awaitHead();
    else this.#fail("timeout", new Error("no head of a reply in time"));
  }

  #write(call: Http1Call, nowMs: number): void {
    const { request, head } = call;
    call.sent = true;
    call.reused = this.#served++ > 0;
    this.#reader.begin(request);
    const { deadlines, headersTimeoutMs } = this.#owner.options;
    deadlines.list(request.headersTimeoutMs ?? headersTimeoutMs).add(this, nowMs);
    if (request.body === null) {
      this.#socket.write(head.text, "latin1");
      return;
    }
    this.#writer = new BodyWriter({
      socket: this.#socket,
      head,
      body: request.body,
      trailers: request.trailers,
      onWritten: () => {
        this.#writer = undefined;
        if (!this.#reader.start) this.#awaitHead();
      },
      onFailed: (error, isOurs) => {
        this.#writer = undefined;
        this.#fail(isOurs ? "unsendable" : "reset", error);
      },
    });
  }

  #awaitHead(): void {
    const { deadlines, headersTimeoutMs, clock } = this.#owner.options;
    this.list?.remove(this);
    deadlines.list(this.#call?.request.headersTimeoutMs ?? headersTimeoutMs).add(this, clock.monotonicMs());
  }

  #awaitBytes(): void {
    const { deadlines, bodyGapMs, clock } = this.#owner.options;
    this.list?.remove(this);
    deadlines.list(this.#call?.request.bodyGapMs ?? bodyGapMs).add(this, clock.monotonicMs());
  }

  /** @returns False to be given no more for now. */
  #onBytes(length: number, bytes: Uint8Array): boolean {
    if (this.#hasUpgraded) return this.#socket.push(Buffer.from(bytes.subarray(0, length)));
    const call = this.#call;
    const reader = this.#reader;
    if (!call?.sent) {
      this.destroy(); // nobody has asked: whatever it is, it is not the reply of the next request
      return false;
    }
    const hadHead = reader.start !== undefined;
    const used = reader.read(readBuffer, length);
    const { start, body, fault, isDone } = reader;
    if (start && !hadHead) {
      if (start.status === 101) {
        this.#upgrade(call, Buffer.from(bytes.subarray(used, length)));
        return true;
      }
      this.#heed(start.keepAlive);
      call.handlers?.onHead(start.status, start.headers);
      if (this.#call !== call) return false;
    }
    const takesMore = body === undefined || call.handlers?.onData(body) !== false;
    if (this.#call !== call) return false;
    if (fault !== undefined) this.#refuse(call, fault, body !== undefined || (start !== undefined && !hadHead));
    else if (isDone) {
      this.#complete(call, used === length);
      return true; // what comes next is of another request, whoever had enough of this one
    } else if (start && takesMore) this.#awaitBytes();
    else if (start) {
      this.list?.remove(this);
      this.#isPaused = true;
    }
    return takesMore && fault === undefined;
  }

  /** @param hasTold - What came before it has just been told, and is to go its way first. */
  #refuse(call: Http1Call, fault: string, hasTold: boolean): void {
    const cause = new Error(`the reply is not valid HTTP/1.1: ${fault}`);
    if (!hasTold) this.#fail("invalid", cause);
    else process.nextTick(() => this.#call === call && this.#fail("invalid", cause));
  }

  /** @param isClean - Nothing has come behind the reply. */
  #complete(call: Http1Call, isClean: boolean): void {
    const { handlers } = call;
    const { trailers, isKept } = this.#reader;
    const isReusable = isClean && isKept && !this.#writer && this.lifeMs > 0;
    call.handlers = undefined;
    this.#endCall();
    if (isReusable && !this.#isGone) {
      this.list?.remove(this);
      this.#owner.released(this);
    } else this.destroy();
    handlers?.onEnd(trailers);
  }

  #upgrade(call: Http1Call, rest: Buffer): void {
    const { handlers } = call;
    const socket = this.#socket;
    const headers = this.#reader.start?.headers ?? [];
    this.#hasUpgraded = true;
    call.handlers = undefined;
    this.#endCall();
    this.list?.remove(this);
    socket.off("connect", this.#onConnect).off("secureConnect", this.#onReady).off("drain", this.#onDrain);
    socket.off("end", this.#onEnd).off("close", this.#onClose).off("error", this.#onError);
    socket.on("error", () => undefined); // the end is told all the same
    this.#isGone = true;
    this.#owner.gone(this, socket);
    if (rest.length > 0) socket.push(rest);
    if (handlers) handlers.onUpgrade(headers, socket);
    else socket.destroy();
  }

  /** What the instance announces shortens the life of an idle connection. */
  #heed(keepAlive: string | undefined): void {
    if (keepAlive === this.#keepAlive || keepAlive === undefined) return;
    this.#keepAlive = keepAlive;
    const seconds = /timeout=(\d{1,6})/i.exec(keepAlive)?.[1];
    this.lifeMs =
      seconds === undefined ? idleTimeoutMs : Math.min(idleTimeoutMs, Number(seconds) * 1_000 - announcedMarginMs);
  }

  readonly #onConnect = (): void => {
    this.#isConnected = true;
    if (!this.#owner.options.tls) this.#onReady();
  };

  readonly #onReady = (): void => {
    this.#isReady = true;
    this.list?.remove(this);
    if (this.#call) this.#write(this.#call, this.#owner.options.clock.monotonicMs());
    else this.destroy();
  };

  readonly #onEnd = (): void => {
    const call = this.#call;
    if (call && this.#reader.end() && call.sent) this.#complete(call, false);
    else this.#fail(this.#isReady ? "reset" : "unreachable", new Error("the instance has ended the connection"));
  };

  readonly #onError = (error: Error & { readonly code?: unknown }): void => {
    this.#fail(this.#kindOf(typeof error.code === "string" ? error.code : ""), error);
  };

  readonly #onClose = (): void => {
    this.#fail(this.#isReady ? "reset" : "unreachable", new Error("the connection was closed"));
  };

  readonly #onDrain = (): void => {
    if (!this.#writer) return;
    if (!this.#reader.start) this.#awaitHead(); // what is sent is taken: it goes on
    this.#writer.resume();
  };

  #kindOf(code: string): FailureKind {
    const { tls } = this.#owner.options;
    if (tls && /^(?:EPROTO$|ERR_SSL_)/.test(code)) return "untrusted";
    if (this.#isReady) return "reset";
    if (code === "ETIMEDOUT") return "connect_timeout";
    return tls && this.#isConnected && !/^E(?:CONN|PIPE)/.test(code) ? "untrusted" : "unreachable";
  }

  #fail(kind: FailureKind, cause: Error): void {
    const call = this.#call;
    this.#endCall();
    this.destroy();
    call?.fail(kind, cause);
  }

  #endCall(): void {
    if (this.#call) this.#call.connection = undefined;
    this.#call = undefined;
    this.#writer?.stop();
    if (this.#isPaused) {
      this.#isPaused = false;
      this.#socket.resume();
    }
  }

  #leave(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#owner.gone(this);
  }
}
