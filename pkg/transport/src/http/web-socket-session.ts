import type { EventEmitter } from "node:events";
import { type Clock, isServerFault, runInContext, type Scheduled } from "@plinth/kernel";
import type { FastifyRequest } from "fastify";
import { TransportError } from "../errors.ts";
import { toHttpFailure } from "./errors.ts";
import type { HttpExchange } from "./exchange.ts";

/** An open WebSocket, as its handler has it: iterate it for the messages, in order, each taken when the handler asks for it. */
export interface WebSocketSession extends AsyncIterable<string | Buffer> {
  /** The request that opened it. Its `signal` aborts when the socket has closed; there is no deadline. */
  readonly request: FastifyRequest;
  /** Aborts when the socket has closed. */
  readonly signal: AbortSignal;
  /**
   * @param message - Text, or bytes.
   * @returns When there is room for the next one; false when the socket has closed. Never rejects.
   */
  send(message: string | Uint8Array): Promise<boolean>;
  /** @param code - 1000, or 3000 to 4999. Default 1000. */
  close(code?: number, reason?: string): void;
}

/** What we use of a socket of the library. @see https://github.com/websockets/ws/blob/master/doc/ws.md */
export interface Peer extends EventEmitter {
  readonly bufferedAmount: number;
  readonly isPaused: boolean;
  readonly readyState: number;
  send(data: string | Uint8Array, done: (error?: Error) => void): void;
  close(code: number, reason?: string): void;
  terminate(): void;
  ping(): void;
  pause(): void;
  resume(): void;
}

export interface SessionLimits {
  readonly pingIntervalMs: number;
  readonly maxBufferedBytes: number;
  readonly clock: Clock;
}

const isOpen = ({ readyState }: Peer): boolean => readyState === 1;

/** A handler that sends waits while more than this waits to be read; one that does not take its messages gets no more than this ahead. */
const highWaterBytes = 65_536;

/** What a message takes up besides its bytes, about: one may have none, and there may be any number of them. */
const messageBytes = 64;

export class Session implements WebSocketSession {
  readonly request: FastifyRequest;
  readonly #peer: Peer;
  readonly #exchange: HttpExchange;
  readonly #limits: SessionLimits;
  readonly #queue: (string | Buffer)[] = [];
  #queuedBytes = 0;
  #wake = Promise.withResolvers<void>();
  #isAlive = true;
  #sentCode: number | undefined;
  #ping: Scheduled;

  constructor(peer: Peer, request: FastifyRequest, exchange: HttpExchange, limits: SessionLimits) {
    this.request = request;
    this.#peer = peer;
    this.#exchange = exchange;
    this.#limits = limits;
    peer.on("message", (data: Buffer, isBinary: boolean) => this.#take(isBinary ? data : data.toString()));
    peer.on("pong", () => (this.#isAlive = true));
    // The library closes the socket with the code of what is wrong with a message; what else fails ends it anyway.
    peer.on("error", (error: Error & { readonly code?: string }) => this.#refused(error));
    peer.once("close", (code: number) => this.#ended(code));
    this.#ping = this.#schedulePing();
    exchange.outlive(() => this.#close(1001, "the server stops"));
  }

  get signal(): AbortSignal {
    return this.#exchange.signal;
  }

  async send(message: string | Uint8Array): Promise<boolean> {
    const peer = this.#peer;
    if (!isOpen(peer)) return false;
    if (peer.bufferedAmount + Buffer.byteLength(message) > this.#limits.maxBufferedBytes) {
      this.#exchange.error ??= new TransportError(
        "ERR_WEB_SOCKET_STALLED",
        "resource_exhausted",
        `more than ${this.#limits.maxBufferedBytes} bytes wait for a reader that does not take them`,
      );
      peer.terminate();
      return false;
    }
    const { promise, resolve } = Promise.withResolvers<boolean>();
    peer.send(message, (error) => resolve(error === undefined || error === null));
    return peer.bufferedAmount <= highWaterBytes ? isOpen(peer) : promise;
  }

  close(code = 1000, reason = ""): void {
    this.#close(code, reason);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string | Buffer, void, undefined> {
    for (;;) {
      const message = this.#queue.shift();
      if (message !== undefined) {
        this.#queuedBytes -= messageBytes + Buffer.byteLength(message);
        if (this.#peer.isPaused && this.#queuedBytes <= highWaterBytes) this.#peer.resume();
        yield message;
      } else if (this.#exchange.isOver) return;
      else await this.#wake.promise;
    }
  }

  /** Runs the handler to its end, which is the socket's. */
  async run(handle: (session: WebSocketSession) => Promise<void> | void): Promise<void> {
    try {
      await handle(this);
      this.#close(1000);
    } catch (thrown) {
      const { error, isUnexpected = false } = toHttpFailure(thrown);
      if (isUnexpected || isServerFault(error.status) || this.#exchange.isOver) {
        this.#exchange.report(thrown);
        this.#close(1011);
      } else this.#close(1008, error.code); // meant for the caller
      if (!this.#exchange.isOver) this.#exchange.error ??= error;
    }
  }

  #take(message: string | Buffer): void {
    this.#isAlive = true;
    this.#queue.push(message);
    this.#queuedBytes += messageBytes + Buffer.byteLength(message);
    if (this.#queuedBytes > highWaterBytes) this.#peer.pause();
    this.#wakeUp();
  }

  #wakeUp(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  #close(code: number, reason = ""): void {
    if (!isOpen(this.#peer)) return;
    this.#sentCode = code;
    if (this.#peer.isPaused) this.#peer.resume(); // or the answer to it is not read
    this.#peer.close(code, reason);
  }

  #schedulePing(): Scheduled {
    return this.#limits.clock.schedule(
      this.#limits.pingIntervalMs,
      () => {
        // While it is paused, an answer may stand behind messages that the handler has not taken.
        if (!this.#isAlive && !this.#peer.isPaused) {
          this.#peer.terminate();
          return;
        }
        this.#isAlive = false;
        if (isOpen(this.#peer)) this.#peer.ping();
        this.#ping = this.#schedulePing();
      },
      { keepAlive: false },
    );
  }

  #refused({ code = "" }: { readonly code?: string }): void {
    if (!code.startsWith("WS_ERR_")) return; // the connection broke, which the close code tells
    const isTooLarge = code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH";
    this.#sentCode ??= isTooLarge ? 1009 : 1002;
    this.#exchange.error ??= isTooLarge
      ? new TransportError("ERR_REQUEST_TOO_LARGE", "resource_exhausted", "a message is larger than the limit")
      : new TransportError("ERR_REQUEST_MALFORMED", "invalid_argument", "what was sent is no valid WebSocket message");
  }

  #ended(code: number): void {
    this.#ping.cancel();
    const exchange = this.#exchange;
    exchange.closeCode = this.#sentCode ?? code;
    runInContext(exchange, () => exchange.response.emit("close"));
    this.#wakeUp();
  }
}
