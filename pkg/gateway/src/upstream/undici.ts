import type { Duplex } from "node:stream";
import { Client, type Dispatcher } from "undici";
import type { ReplyHeaders } from "../headers/reply.ts";
import { kindOf } from "./undici-errors.ts";
import type {
  Upstream,
  UpstreamCall,
  UpstreamFactory,
  UpstreamFailure,
  UpstreamHandlers,
  UpstreamOptions,
  UpstreamRequest,
} from "./upstream.ts";

/** A larger reply head is refused, in bytes. */
const maxReplyHeadBytes = 32_768;
/** Idle connections are closed after this, sooner if the instance announces less: below the 5 s of Node's own servers. */
const idleTimeoutMs = 4_000;
/** Of what the instance announces, so much is not used: its end and a request of ours may pass each other. */
const announcedMarginMs = 1_000;

/** One connection: an undici client that has at most one request at a time. */
interface Slot {
  readonly client: Client;
  /** Requests sent on the connection that stands. */
  served: number;
  busy: boolean;
  /** When it was last given a request or had its reply, on the monotonic clock. */
  usedAtMs: number;
  /** How long it may stand idle. */
  lifeMs: number;
  /** What the instance last said of that. */
  keepAlive: string | undefined;
  /** Its connection has ended, and it has no other: not to be used again. */
  dead: boolean;
}

/** An {@link Upstream} on undici's clients, one for each connection, the one used last taken first. */
export const createUndiciUpstream: UpstreamFactory = (options) => new UndiciUpstream(options);

class UndiciUpstream implements Upstream {
  readonly #options: UpstreamOptions;
  readonly #slots = new Set<Slot>();
  /** Connections that go on in another protocol: not among the slots. */
  readonly #upgraded = new Set<Duplex>();
  /** Those not busy, the one used last at the end. */
  readonly #idle: Slot[] = [];
  #closing: PromiseWithResolvers<void> | undefined;

  constructor(options: UpstreamOptions) {
    this.#options = options;
  }

  get connections(): number {
    return this.#slots.size + this.#upgraded.size;
  }

  send(request: UpstreamRequest, handlers: UpstreamHandlers): UpstreamCall {
    const slot = this.#takeIdle() ?? this.#open();
    const call = new UndiciCall(this, slot, handlers);
    if (!slot) {
      queueMicrotask(() => call.refuse());
      return call;
    }
    slot.busy = true;
    slot.usedAtMs = this.#options.clock.monotonicMs();
    call.dispatch(slot.client, request);
    return call;
  }

  close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = Promise.withResolvers();
      for (const slot of this.#idle.splice(0)) this.#drop(slot);
      this.#settle();
    }
    return this.#closing.promise;
  }

  destroy(): void {
    void this.close();
    for (const slot of this.#slots) this.#drop(slot);
    for (const socket of this.#upgraded) socket.destroy();
    this.#settle();
  }

  /** A connection goes on without its client. */
  upgraded(slot: Slot, socket: Duplex): void {
    this.#upgraded.add(socket);
    socket.once("close", () => {
      this.#upgraded.delete(socket);
      this.#settle();
    });
    this.release(slot, false);
  }

  /** The request on it has ended; unless all of it went well, the connection ends as well. */
  release(slot: Slot, isWell: boolean): void {
    slot.busy = false;
    const now = this.#options.clock.monotonicMs();
    // A reply that waited to be read, while the event loop stood still, has a connection behind it that may be closed by now.
    if (!isWell || slot.dead || this.#closing || now - slot.usedAtMs > slot.lifeMs) this.#drop(slot, isWell);
    else {
      slot.usedAtMs = now;
      this.#idle.push(slot);
    }
    this.#settle();
  }

  /**
   * The connection used last. Those that have stood idle for too long are given up here as well: when the event loop stood
   * still, undici's timer for that has not run yet, nor has anybody seen that the instance has closed them.
   */
  #takeIdle(): Slot | undefined {
    for (;;) {
      const slot = this.#idle.at(-1);
      if (slot === undefined) return undefined;
      if (this.#options.clock.monotonicMs() - slot.usedAtMs <= slot.lifeMs) return this.#idle.pop();
      this.#drop(slot);
    }
  }

  #open(): Slot | undefined {
    const { authority, connectTimeoutMs, headersTimeoutMs, bodyGapMs, maxConnections } = this.#options;
    if (this.#slots.size >= maxConnections) return undefined;
    const client = new Client(`http://${authority}`, {
      connectTimeout: connectTimeoutMs,
      headersTimeout: headersTimeoutMs,
      bodyTimeout: bodyGapMs,
      keepAliveTimeout: idleTimeoutMs,
      keepAliveTimeoutThreshold: announcedMarginMs,
      maxHeaderSize: maxReplyHeadBytes,
      pipelining: 1,
      allowH2: false,
    });
    const slot: Slot = {
      client,
      served: 0,
      busy: false,
      usedAtMs: 0,
      lifeMs: idleTimeoutMs,
      keepAlive: undefined,
      dead: false,
    };
    // A client whose idle connection ends just before a request is written opens another one for it.
    client.on("connect", () => {
      slot.served = 0;
      slot.dead = false;
    });
    client.on("disconnect", () => {
      slot.dead = true;
      if (!slot.busy) this.#drop(slot);
    });
    this.#slots.add(slot);
    return slot;
  }

  /** @param isWell - Undici is still inside the reply: let it come to its end. */
  #drop(slot: Slot, isWell = false): void {
    if (!this.#slots.delete(slot)) return;
    const at = this.#idle.indexOf(slot);
    if (at >= 0) this.#idle.splice(at, 1);
    void (isWell ? slot.client.close() : slot.client.destroy());
  }

  #settle(): void {
    if (this.#slots.size === 0 && this.#upgraded.size === 0) this.#closing?.resolve();
  }
}

/** One request, as undici's handler and as our call. */
class UndiciCall implements UpstreamCall, Dispatcher.DispatchHandler {
  readonly #owner: UndiciUpstream;
  readonly #slot: Slot | undefined;
  #handlers: UpstreamHandlers | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #isDispatching = false;
  #reused = false;
  #released = false;

  constructor(owner: UndiciUpstream, slot: Slot | undefined, handlers: UpstreamHandlers) {
    this.#owner = owner;
    this.#slot = slot;
    this.#handlers = handlers;
  }

  dispatch(client: Client, { method, target, headers, body, upgrade, bodyGapMs }: UpstreamRequest): void {
    this.#isDispatching = true;
    client.dispatch(
      {
        method,
        path: target,
        headers,
        body,
        ...(upgrade !== undefined && { upgrade }),
        ...(bodyGapMs !== undefined && { bodyTimeout: bodyGapMs }),
      },
      this,
    );
    this.#isDispatching = false;
  }

  abort(): void {
    this.#handlers = undefined;
    if (this.#controller) this.#controller.abort(aborted);
    else this.#end(false); // the connection does not stand yet: nothing is sent on it
  }

  resume(): void {
    this.#controller?.resume();
  }

  /** There was no connection to be had. */
  refuse(): void {
    this.#fail({ kind: "busy", sent: false, reused: false, cause: undefined });
  }

  /** The connection stands and the request is about to be written. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (!this.#handlers) controller.abort(aborted);
    else if (this.#slot) this.#reused = this.#slot.served++ > 0;
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: ReplyHeaders): void {
    if (status >= 100 && status < 200 && status !== 101) return; // informational: the final head is still to come
    if (status < 200 || status > 599) controller.abort(new InvalidStatus(`${status} is no HTTP status`));
    else {
      if (this.#slot) heed(this.#slot, headers["keep-alive"]);
      this.#handlers?.onHead(status, headers);
    }
  }

  onRequestUpgrade(_controller: Dispatcher.DispatchController, _status: number, headers: ReplyHeaders, socket: Duplex) {
    const handlers = this.#handlers;
    this.#handlers = undefined;
    socket.on("error", () => undefined); // undici takes its own listener away; the end is told all the same
    if (this.#slot && !this.#released) {
      this.#released = true;
      this.#owner.upgraded(this.#slot, socket);
    }
    if (handlers) handlers.onUpgrade(headers, socket);
    else socket.destroy();
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#handlers?.onData(chunk) === false) controller.pause();
  }

  onResponseEnd(_controller: Dispatcher.DispatchController, trailers: ReplyHeaders): void {
    const handlers = this.#handlers;
    this.#end(true);
    handlers?.onEnd(trailers);
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, cause: Error): void {
    const sent = this.#controller !== undefined;
    const kind = cause instanceof InvalidStatus ? "invalid" : kindOf(cause, sent);
    const failure = { kind, sent, reused: this.#reused, cause };
    if (this.#isDispatching) queueMicrotask(() => this.#fail(failure));
    else this.#fail(failure);
  }

  #fail(failure: UpstreamFailure): void {
    const handlers = this.#handlers;
    this.#end(false);
    handlers?.onFailure(failure);
  }

  #end(isWell: boolean): void {
    this.#handlers = undefined;
    if (this.#released) return;
    this.#released = true;
    if (this.#slot) this.#owner.release(this.#slot, isWell);
  }
}

/** What the instance announces shortens the life of an idle connection. */
function heed(slot: Slot, keepAlive: string | string[] | undefined): void {
  if (keepAlive === slot.keepAlive || typeof keepAlive !== "string") return;
  slot.keepAlive = keepAlive;
  const seconds = /timeout=(\d{1,6})/i.exec(keepAlive)?.[1];
  slot.lifeMs =
    seconds === undefined ? idleTimeoutMs : Math.min(idleTimeoutMs, Number(seconds) * 1_000 - announcedMarginMs);
}

class InvalidStatus extends Error {}

const aborted = new Error("the call was aborted");
