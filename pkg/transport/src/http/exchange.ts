import type { Socket } from "node:net";
import { Readable, Stream } from "node:stream";
import type { PeerCertificate, TLSSocket } from "node:tls";
import { type AppError, currentContext, type ErrorOrigin, runInContext } from "@plinth/kernel";
import type { FastifyReply } from "fastify";
import { type Origin, peerOf } from "../client-address.ts";
import { anyTime, budgetOf, Exchange } from "../exchange.ts";
import { IncomingMessage, ServerResponse } from "../node-http.ts";
import { toHttpStatus } from "../status.ts";
import type { ExchangeOwner, HttpExchangeOptions, ToldFailure } from "./exchange-owner.ts";

/** Takes a body in the place of the request's stream. */
export interface BodyTaker {
  /** In order, until the end, or a failure. */
  take(chunk: Buffer): void;
  end(): void;
  /** The caller has left before the end. */
  fail(error: Error): void;
}

/** A request as the server makes it: it knows the exchange that it belongs to. */
export class ServedRequest extends IncomingMessage {
  exchange: HttpExchange | undefined;
  #taker: BodyTaker | undefined;
  /** What came behind the head of a request to upgrade the connection, which is no HTTP any more; undefined for any other. */
  upgradeHead: Buffer | undefined;

  /** Its events come from the socket; whoever listens is still inside the request, and fails nothing else. */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    const { exchange } = this;
    if (exchange === undefined) return super.emit(event, ...args);
    if (event !== "error" && this.listenerCount(event) === 0) return false;
    return exchange.tell(() => super.emit(event, ...args));
  }

  /**
   * From now on the parser of HTTP hands the body to `taker`, and the stream has its end alone.
   * @returns False when some of it is in the stream already, or somebody reads that: then nothing is changed.
   */
  divertBody(taker: BodyTaker): boolean {
    if (this.complete || this.destroyed || this.readableLength > 0 || this.readableFlowing !== null) return false;
    this.#taker = taker;
    this._read(0); // somebody reads it, so that node does not drop it when the reply is out
    return true;
  }

  /** Called by the parser of HTTP, outside of the request. */
  override push(chunk: Buffer | null, encoding?: BufferEncoding): boolean {
    const taker = this.#taker;
    if (taker === undefined) return super.push(chunk, encoding);
    try {
      if (chunk !== null) taker.take(chunk);
      else {
        this.#taker = undefined;
        super.push(null);
        this.read(0); // nothing is in it: it ends at once
        taker.end();
      }
    } catch (thrown) {
      this.exchange?.fail(thrown);
    }
    return true;
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const taker = this.#taker;
    this.#taker = undefined;
    super._destroy(error, callback);
    if (taker === undefined || error === null) return;
    process.nextTick(() => {
      try {
        taker.fail(error);
      } catch (thrown) {
        this.exchange?.fail(thrown);
      }
    });
  }

  /** What fails while nobody listens, as an inflater does for what is no gzip, would end the process. */
  override pipe<T extends NodeJS.WritableStream>(destination: T, options?: { end?: boolean }): T {
    guardPipe(this, destination, options?.end);
    return super.pipe(destination, options);
  }
}

/** Fails the exchange of a request with what its body is piped into. */
export function guardPipe(
  request: NodeJS.EventEmitter & { readonly exchange: HttpExchange | undefined },
  destination: NodeJS.WritableStream,
  end?: boolean,
): void {
  const onError = (error: Error): void => {
    if (destination.listenerCount("error") === 1) request.exchange?.fail(error);
  };
  destination.on("error", onError);
  if (end === false) request.once("close", () => destination.off("error", onError)); // it outlives the request
}

/** A reply as the server makes it: it knows the exchange that it belongs to. */
export class ServedResponse extends ServerResponse<ServedRequest> {
  exchange: HttpExchange | undefined;

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    const { exchange } = this;
    if (exchange === undefined) return super.emit(event, ...args);
    // in place of listeners, of which each would cost every request
    if (event === "close") exchange.closed();
    else if (event === "error") exchange.replyFailed(args[0]);
    const count = this.listenerCount(event);
    if (count === 0) return event === "error";
    if (count === 1 && event === "finish") return super.emit(event); // node's own, with which each reply begins
    return exchange.tell(() => super.emit(event, ...args));
  }

  /** What cannot be written breaks the reply off, also where a stream's reader would not hear of it. */
  override write(chunk: unknown, encoding?: BufferEncoding | WriteCallback, callback?: WriteCallback): boolean {
    try {
      if (typeof encoding === "function") return super.write(chunk, encoding);
      return encoding === undefined ? super.write(chunk, callback) : super.write(chunk, encoding, callback);
    } catch (thrown) {
      this.destroy(thrown instanceof Error ? thrown : undefined);
      return false;
    }
  }
}

type WriteCallback = (error: Error | null | undefined) => void;

/** The exchange of a request; none for one that a test injects past the server. */
export function exchangeOf(request: IncomingMessage): HttpExchange | undefined {
  return isServedRequest(request) ? request.exchange : undefined;
}

/** True for a request of HTTP/2 as well: node's compatibility API has what the layers and fastify use of HTTP/1's. */
export function isServedRequest(value: unknown): value is ServedRequest {
  return value instanceof ServedRequest || (value instanceof Readable && "exchange" in value);
}

/** True for a reply over HTTP/2 as well. */
export function isServedResponse(value: unknown): value is ServedResponse {
  return value instanceof ServedResponse || (value instanceof Stream && "exchange" in value);
}

function isTls(socket: Socket | undefined): socket is TLSSocket {
  return socket !== undefined && "getPeerCertificate" in socket;
}

/** One HTTP request being served, with what it takes to answer it from outside its handler. */
export class HttpExchange extends Exchange {
  override readonly protocol = "http";
  readonly request: ServedRequest;
  readonly response: ServedResponse;
  readonly method: string;
  /** What trusted proxies say of the caller; undefined where none stands before the server. */
  forwarded: Origin | undefined;
  /** Set once the router has run. */
  reply: FastifyReply | undefined;
  /** Where its faults come from, as the error bus tells. */
  origin: ErrorOrigin = "request";
  /** The error bus has what went wrong here. */
  isReported = false;
  /** The place of the middleware outside of `route` that has it; it has come past all of them by default. */
  heldAt = Infinity;
  /** Of the WebSocket that the request has become, which is 1006 until it is closed in order; undefined for any other. */
  closeCode: number | undefined;
  /** Ends what has no end of its own, at the beginning of the drain. */
  onDrain: (() => void) | undefined;
  /** Ends a stream of messages with this error in its last one, before the connection is broken off at the drain's limit. */
  onCut: ((error: AppError) => void) | undefined;
  /** Messages of a stream that have been sent; undefined for what is none. */
  messagesSent: number | undefined;
  /** Its neighbours among the requests being served. */
  before: HttpExchange | undefined;
  after: HttpExchange | undefined;
  readonly #owner: ExchangeOwner;
  readonly #isPeerTrusted: boolean;
  #isCut = false;

  constructor(options: HttpExchangeOptions) {
    super(options);
    this.request = options.request;
    this.response = options.response;
    this.method = options.method;
    this.#owner = options.owner;
    this.#isPeerTrusted = options.isPeerTrusted;
    this.request.exchange = this;
    this.response.exchange = this;
  }

  override header(name: string): string | undefined {
    const value = this.request.headers[name];
    return typeof value === "object" ? value.join(", ") : value;
  }

  protected override peerAddress(): string {
    return peerOf(this.request.socket);
  }

  protected override isPeerTrusted(): boolean {
    return this.#isPeerTrusted;
  }

  /** The caller came by TLS, as far as this server or a trusted proxy before it knows. */
  get isSecure(): boolean {
    const { socket } = this.request;
    return this.forwarded?.scheme === undefined
      ? "encrypted" in socket && socket.encrypted === true
      : this.forwarded.scheme === "https";
  }

  /** A resumed session may count as authorized and have no certificate. */
  get peerCertificate(): PeerCertificate | undefined {
    const { socket } = this.request;
    if (!isTls(socket) || !socket.authorized) return undefined;
    const certificate = socket.getPeerCertificate();
    return Object.keys(certificate).length > 0 ? certificate : undefined;
  }

  override get hasReplyBegun(): boolean {
    return this.response.headersSent;
  }

  override setReplyHeader(name: string, value: string): void {
    super.setReplyHeader(name, value);
    this.reply?.header(name, value);
  }

  /** The same for several; most often there are no others yet. */
  setReplyHeaders(headers: Readonly<Record<string, string>>): void {
    if (this.replyHeaders === undefined && this.reply === undefined && !this.hasReplyBegun)
      this.replyHeaders = { ...headers };
    else for (const [name, value] of Object.entries(headers)) this.setReplyHeader(name, value);
  }

  /**
   * What the caller got, or would have got; 499 when the caller left before the reply was complete. A stream of messages is always 200,
   * and its last one tells of an error: it counts as what that would have been by itself.
   */
  get status(): number {
    if (this.closeCode !== undefined) return 101;
    const { statusCode, writableFinished } = this.response;
    if (writableFinished) {
      const told = this.hasEndMessage && statusCode === 200 ? this.error : undefined;
      return told === undefined ? statusCode : toHttpStatus(told.status);
    }
    return this.#isCut && this.error ? toHttpStatus(this.error.status) : 499;
  }

  /** Breaks the connection off: part of the reply is on its way, and its end would be a lie. */
  cut(error: AppError): void {
    this.#isCut = true;
    this.error = error;
    this.abort(error);
    this.response.destroy();
  }

  /**
   * For what has no end of its own: it outlives the deadline, and ends when the server drains.
   * @param end - Called at the beginning of the drain; at once, if that is over.
   */
  outlive(end: () => void): void {
    this.lift();
    if (this.#owner.isEnding) end();
    else this.onDrain = end;
  }

  /**
   * For a stream of messages: it has the time that its caller allows, and goes on while the server drains.
   * @param end - Called at the drain's limit, with what the last message is to say.
   */
  streamOn(end: (error: AppError) => void): void {
    const { headers } = this.request;
    this.lift(budgetOf(headers["plinth-timeout-ms"] ?? headers["connect-timeout-ms"], anyTime));
    this.onCut = end;
    this.messagesSent = 0;
  }

  /** Keeps what a stream of messages failed with, and reports it where operators should hear of it. */
  failedInside(thrown: unknown): ToldFailure {
    return this.#owner.failedInside(this, thrown);
  }

  /** The error bus hears of what failed beside the reply; developers only, when it was told to stop before. */
  report(thrown: unknown): void {
    this.#owner.failedAround(thrown, this);
  }

  /** Calls listeners inside of the request. What they throw fails it. */
  tell(emit: () => boolean): boolean {
    try {
      return currentContext() === this ? emit() : runInContext(this, emit);
    } catch (thrown) {
      this.fail(thrown);
      return true;
    }
  }

  /** @see {@link ExchangeOwner.closed} */
  closed(): void {
    try {
      this.#owner.closed(this);
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  /** @see {@link ExchangeOwner.replyFailed} */
  replyFailed(error: unknown): void {
    this.#owner.replyFailed(this, error);
  }

  /** Something outside of the handler threw. */
  fail(thrown: unknown): void {
    runInContext(this, () => this.#owner.failed(this, thrown));
  }

  protected override expired(error: AppError): void {
    runInContext(this, () => this.#owner.expired(this, error));
  }
}
