import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { StatusObject } from "@grpc/grpc-js";
import { AppError } from "@plinth/kernel";
import { TransportError } from "../errors.ts";
import { type CallExchange, toMetadata } from "./call-exchange.ts";
import type { Connection } from "./connections.ts";
import { framed, inflate, MessageReader, onlyMessage } from "./messages.ts";
import type { Served } from "./served.ts";

/** What one call tells of itself. */
export interface WireOwner {
  /** The head of the call is here. */
  began(wire: Wire): void;
  /** The one request of a call that has one is here, whole; undefined where the caller sent none, or more than one. */
  requested(wire: Wire, bytes: Buffer | undefined): void;
  /** What the caller sends cannot be read any further. */
  broken(wire: Wire, error: AppError): void;
  /** The stream has closed, however it ended. Comes once for each call that began. */
  closed(wire: Wire): void;
}

export interface WireOptions {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly connection: Connection;
  readonly served: Served;
  /** Of one message received. */
  readonly maxMessageBytes: number;
}

/** Replies of a stream that may wait to be sent. */
const maxWaiting = 16;
const replyHead = Object.freeze({
  ":status": 200,
  "content-type": "application/grpc+proto",
  "grpc-accept-encoding": "identity,deflate,gzip",
  "grpc-encoding": "identity",
});
/** Nobody reads a date on a call. */
const headOptions = Object.freeze({ waitForTrailers: true, sendDate: false });
const onlyTrailers = Object.freeze({ endStream: true, sendDate: false });
const allWell = Object.freeze({ "grpc-status": 0, "grpc-message": "OK" });

/**
 * One call on the wire: a stream of HTTP/2 whose messages are handed on as they come, and sent as they are. It stands in the place of what
 * the library would make of a stream, which costs a call about as much as everything that this server does for it.
 */
export class Wire {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly served: Served;
  readonly connection: Connection;
  /** When the caller gives up, in milliseconds of the clock on the wall; `Infinity` when it never does. */
  expiresAtMs = Infinity;
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
  #reader: MessageReader | undefined;
  readonly #maxBytes: number;
  #hasTooMany = false;
  #isClosed = false;
  #hasAllRequests = false;
  #isBroken = false;
  /** Requests of a stream of them that nobody has asked for yet. */
  #queue: Buffer[] | undefined;
  #asked: PromiseWithResolvers<Buffer | undefined> | undefined;
  /** Resolves when what is being inflated has been handed on: what came later waits for it. */
  #inflating: Promise<void> | undefined;
  #waiting = 0;
  #onSent: (() => void) | undefined;
  #room: PromiseWithResolvers<void> | undefined;
  #trailers: OutgoingHttpHeaders | undefined;

  constructor({ stream, headers, connection, served, maxMessageBytes }: WireOptions, owner: WireOwner) {
    this.stream = stream;
    this.headers = headers;
    this.served = served;
    this.connection = connection;
    this.#owner = owner;
    this.#maxBytes = maxMessageBytes;
  }

  start(): void {
    const { stream, served, connection } = this;
    stream.on("close", () => {
      this.#isClosed = true;
      connection.ended(stream.rstCode);
      this.#owner.closed(this);
    });
    stream.on("data", (chunk: Buffer) => this.#read(chunk));
    if (served.hasManyRequests) stream.pause();
    stream.on("end", () => this.#ended());
    this.#owner.began(this);
  }

  /** The next request of a stream of them; undefined after the last. One at a time. */
  read(): Promise<Buffer | undefined> {
    const next = this.#queue?.shift();
    if (next !== undefined) return Promise.resolve(next);
    const asked = Promise.withResolvers<Buffer | undefined>();
    if (this.#hasAllRequests) asked.resolve(undefined);
    else {
      this.#asked = asked;
      this.stream.resume();
    }
    return asked.promise;
  }

  /** Sends the only reply, and that all went well. */
  reply(bytes: Uint8Array): void {
    if (this.#isGone) return;
    this.#begin();
    this.hasMoved = true;
    this.#trailers = this.#okTrailers();
    this.stream.end(framed(bytes));
  }

  /** True while more can be sent; else {@link room} tells when. */
  write(bytes: Uint8Array): boolean {
    if (this.#isGone) return true;
    this.#begin();
    this.#waiting++;
    this.stream.write(framed(bytes), (this.#onSent ??= () => this.#sent()));
    return this.#waiting < maxWaiting;
  }

  /** Rejects with `stopped` when the call is over before there is room. */
  room(): Promise<void> {
    this.#room = Promise.withResolvers();
    return this.#room.promise;
  }

  end(): void {
    if (this.#isGone) return;
    this.#begin();
    this.#finish(this.#okTrailers());
  }

  fail({ code, details, metadata }: StatusObject): void {
    if (this.#isGone) return;
    if (this.exchange?.replyHeaders !== undefined) this.#begin();
    const trailers = this.exchange?.replyTrailers;
    if (trailers !== undefined) metadata.merge(toMetadata(trailers));
    this.#finish({ "grpc-status": code, "grpc-message": encodeURI(details), ...metadata.toHttp2Headers() });
  }

  /** Ends the stream with nothing more to say. */
  reset(): void {
    this.stream.close(constants.NGHTTP2_CANCEL);
  }

  /** Nobody waits for requests or for room any more. */
  release(reason: Error): void {
    this.#asked?.reject(reason);
    this.#room?.reject(reason);
    this.#asked = this.#room = undefined;
  }

  /** What stands still: replies, or a status behind them, that the caller does not read; requests that it does not send. */
  get awaits(): "reader" | "request" | undefined {
    if (this.#isClosed) return undefined;
    if (this.#waiting > 0 || this.exchange?.isOver !== false) return "reader";
    const wantsRequest = !this.served.hasManyRequests || this.#asked !== undefined;
    return wantsRequest && !this.#hasAllRequests ? "request" : undefined;
  }

  get #isGone(): boolean {
    return this.#trailers !== undefined || this.stream.destroyed || this.stream.closed;
  }

  get #isAnswered(): boolean {
    return this.#isBroken || this.#trailers !== undefined;
  }

  #okTrailers(): OutgoingHttpHeaders {
    const trailers = this.exchange?.replyTrailers;
    return trailers === undefined ? allWell : { ...allWell, ...toMetadata(trailers).toHttp2Headers() };
  }

  #begin(): void {
    if (this.hasBegun) return;
    const headers = this.exchange?.replyHeaders;
    const head = headers === undefined ? replyHead : { ...replyHead, ...toMetadata(headers).toHttp2Headers() };
    this.stream.respond(head, headOptions);
    this.hasBegun = true;
    this.stream.on("wantTrailers", () => this.stream.sendTrailers(this.#trailers ?? allWell));
  }

  #finish(trailers: OutgoingHttpHeaders): void {
    this.#trailers = trailers;
    if (this.hasBegun) this.stream.end();
    else this.stream.respond({ ...replyHead, ...trailers }, onlyTrailers);
    this.stream.resume(); // what still comes is for nobody
  }

  #sent(): void {
    this.hasMoved = true;
    this.#waiting--;
    this.#room?.resolve();
    this.#room = undefined;
  }

  #read(chunk: Buffer): void {
    this.hasMoved = true;
    if (this.#isAnswered) return;
    try {
      // nearly always one message comes in one piece
      const only = this.#reader === undefined ? onlyMessage(chunk, this.#maxBytes) : undefined;
      if (only === undefined) this.#readParts(chunk);
      else this.#take(false, only);
    } catch (error) {
      this.#break(AppError.from(error));
    }
  }

  #readParts(chunk: Buffer): void {
    this.#reader ??= new MessageReader(this.#maxBytes);
    this.#reader.push(chunk, ({ isCompressed, bytes }) => this.#take(isCompressed, bytes));
  }

  #break(error: AppError): void {
    if (this.#isAnswered) return;
    this.#isBroken = true;
    this.#owner.broken(this, error);
  }

  #take(isCompressed: boolean, bytes: Buffer): void {
    if (!isCompressed && this.#inflating === undefined) {
      this.#deliver(bytes);
      return;
    }
    if (this.served.hasManyRequests) this.stream.pause();
    const encoding = this.headers["grpc-encoding"];
    const whole = isCompressed ? inflate(bytes, encoding?.toString(), this.#maxBytes) : Promise.resolve(bytes);
    this.#after(async () => this.#deliver(await whole));
    whole.catch(() => {}); // told of by who waits for it
  }

  #ended(): void {
    // an end without END_STREAM is that of a reset, which `close` tells of
    if (this.stream.closed || this.#isAnswered) return;
    if (this.#reader?.isHalfWay === true)
      this.#break(new TransportError("ERR_REQUEST_BODY", "invalid_argument", "the last message ends half way"));
    else if (this.#inflating === undefined) this.#finishRequests();
    else this.#after(() => this.#finishRequests());
  }

  #after(step: () => void | Promise<void>): void {
    const before = this.#inflating ?? Promise.resolve();
    this.#inflating = before
      .then(() => (this.#isAnswered || this.#isClosed ? undefined : step()))
      .catch((error: unknown) => this.#break(AppError.from(error)));
  }

  #deliver(bytes: Buffer): void {
    if (!this.served.hasManyRequests) {
      this.#hasTooMany = this.request !== undefined;
      this.request = bytes;
      return;
    }
    this.stream.pause();
    if (this.#asked === undefined) (this.#queue ??= []).push(bytes);
    else {
      this.#asked.resolve(bytes);
      this.#asked = undefined;
    }
  }

  #finishRequests(): void {
    this.hasMoved = true;
    this.#hasAllRequests = true;
    if (!this.served.hasManyRequests) {
      this.#owner.requested(this, this.#hasTooMany ? undefined : this.request);
      return;
    }
    this.#asked?.resolve(undefined);
    this.#asked = undefined;
  }
}
