import {
  Metadata,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  status,
  type StatusObject,
} from "@grpc/grpc-js";
import { type CallExchange, toMetadata } from "./call-exchange.ts";
import type { Served } from "./served.ts";

/** What one call tells of itself, as grpc-js hears it from the wire. */
export interface WireOwner {
  /** The head of the call is here. */
  began(wire: Wire, metadata: Metadata): void;
  /** The one request of a call that has one is here, whole; undefined where the caller sent none, or more than one. */
  requested(wire: Wire, bytes: Buffer | undefined): void;
  /** The stream has closed, however it ended. Comes once for each call that began. */
  closed(wire: Wire): void;
}

/** Replies of a stream that may wait to be sent. */
const maxWaiting = 16;
const none = new Metadata();

/**
 * One call on the wire. It stands in the place where the library would make node streams of a call, hears of messages as they come
 * and sends them as they are: a unary call needs no stream, and what it costs.
 */
export class Wire extends ServerInterceptingCall {
  readonly base: ServerInterceptingCallInterface;
  readonly served: Served;
  /** Absent before {@link WireOwner.began}, and for a call that was refused there. */
  exchange: CallExchange | undefined;
  /** The request of a call that has one. */
  request: Buffer | undefined;
  /** Set by whatever moves; cleared by who looks. */
  hasMoved = true;
  /** Looks in a row at which nothing had moved. */
  looksIdle = 0;
  /** How many of the steps outside of the handler it has come through. */
  reached = 0;
  /** The head of the reply has been sent. */
  hasBegun = false;
  readonly #owner: WireOwner;
  #hasTooMany = false;
  #isClosed = false;
  #hasAllRequests = false;
  #reader: PromiseWithResolvers<Buffer | undefined> | undefined;
  #waiting = 0;
  #room: PromiseWithResolvers<void> | undefined;

  constructor(base: ServerInterceptingCallInterface, served: Served, owner: WireOwner) {
    super(base);
    this.base = base;
    this.served = served;
    this.#owner = owner;
  }

  override start(): void {
    this.base.start(this);
  }

  onReceiveMetadata(metadata: Metadata): void {
    this.#owner.began(this, metadata);
    if (!this.served.hasManyRequests) this.base.startRead();
  }

  onReceiveMessage(message: Buffer): void {
    this.hasMoved = true;
    if (this.served.hasManyRequests) {
      this.#settleReader(message);
      return;
    }
    this.#hasTooMany = this.request !== undefined;
    this.request = message;
    this.base.startRead();
  }

  onReceiveHalfClose(): void {
    this.hasMoved = true;
    this.#hasAllRequests = true;
    if (this.served.hasManyRequests) this.#settleReader(undefined);
    else this.#owner.requested(this, this.#hasTooMany ? undefined : this.request);
  }

  onCancel(): void {
    this.#isClosed = true;
    this.#owner.closed(this);
  }

  /** The next request of a stream of them; undefined after the last. One at a time. */
  read(): Promise<Buffer | undefined> {
    const reader = Promise.withResolvers<Buffer | undefined>();
    if (this.#hasAllRequests) reader.resolve(undefined);
    else {
      this.#reader = reader;
      this.base.startRead();
    }
    return reader.promise;
  }

  /** Sends the only reply, and that all went well. */
  reply(bytes: Buffer): void {
    this.write(bytes);
    this.end();
  }

  /** True while more can be sent; else {@link room} tells when. */
  write(bytes: Buffer): boolean {
    this.#begin();
    this.#waiting++;
    this.base.sendMessage(bytes, this.#onSent);
    return this.#waiting < maxWaiting;
  }

  /** Rejects with `stopped` when the call is over before there is room. */
  room(): Promise<void> {
    this.#room = Promise.withResolvers();
    return this.#room.promise;
  }

  end(): void {
    this.#begin();
    const trailers = this.exchange?.replyTrailers;
    this.base.sendStatus({
      code: status.OK,
      details: "OK",
      metadata: trailers === undefined ? null : toMetadata(trailers),
    });
  }

  fail(failure: StatusObject): void {
    if (this.exchange?.replyHeaders !== undefined) this.#begin();
    const trailers = this.exchange?.replyTrailers;
    if (trailers !== undefined) failure.metadata.merge(toMetadata(trailers));
    this.base.sendStatus(failure);
  }

  /** Nobody waits for requests or for room any more. */
  release(reason: Error): void {
    this.#reader?.reject(reason);
    this.#room?.reject(reason);
    this.#reader = this.#room = undefined;
  }

  /** What stands still: replies, or a status behind them, that the caller does not read; requests that it does not send. */
  get awaits(): "reader" | "request" | undefined {
    if (this.#isClosed) return undefined;
    if (this.#waiting > 0 || this.exchange?.isOver !== false) return "reader";
    const wantsRequest = !this.served.hasManyRequests || this.#reader !== undefined;
    return wantsRequest && !this.#hasAllRequests ? "request" : undefined;
  }

  /** The stream, which the library calls private. */
  get stream(): unknown {
    const stream: unknown = Reflect.get(this.base, "stream");
    return stream;
  }

  #begin(): void {
    if (this.hasBegun) return;
    this.hasBegun = true;
    const headers = this.exchange?.replyHeaders;
    this.base.sendMetadata(headers === undefined ? none : toMetadata(headers));
  }

  readonly #onSent = (): void => {
    this.hasMoved = true;
    this.#waiting--;
    this.#room?.resolve();
    this.#room = undefined;
  };

  #settleReader(message: Buffer | undefined): void {
    this.#reader?.resolve(message);
    this.#reader = undefined;
  }
}
