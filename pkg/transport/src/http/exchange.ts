import type { ServerResponse } from "node:http";
import { type AppError, currentContext, runInContext } from "@plinth/kernel";
import type { FastifyReply } from "fastify";
import { Exchange, type ExchangeOptions } from "../exchange.ts";
import { IncomingMessage } from "../node-http.ts";
import { toHttpStatus } from "../status.ts";

export interface HttpExchangeOptions extends ExchangeOptions {
  readonly request: ServedRequest;
  readonly response: ServerResponse;
  /** As it stands in labels. */
  readonly method: string;
  readonly onExpired: (exchange: HttpExchange, error: AppError) => void;
}

/** A request as the server makes it: it knows the exchange that it belongs to. */
export class ServedRequest extends IncomingMessage {
  exchange: HttpExchange | undefined;

  /** The parts of a body come from the socket's events; whoever listens is still inside the request. */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    const { exchange } = this;
    if (exchange === undefined || exchange.isOver || currentContext() === exchange) return super.emit(event, ...args);
    return runInContext(exchange, () => super.emit(event, ...args));
  }
}

/** The exchange of a request; none for one that a test injects past the server. */
export function exchangeOf(request: IncomingMessage): HttpExchange | undefined {
  return request instanceof ServedRequest ? request.exchange : undefined;
}

/** One HTTP request being served, with what it takes to answer it from outside its handler. */
export class HttpExchange extends Exchange {
  override readonly protocol = "http";
  readonly request: ServedRequest;
  readonly response: ServerResponse;
  readonly method: string;
  /** Set once the router has run. */
  reply: FastifyReply | undefined;
  /** The error bus has what went wrong here. */
  isReported = false;
  readonly #onExpired: (exchange: HttpExchange, error: AppError) => void;
  #isCut = false;

  constructor(options: HttpExchangeOptions) {
    super(options);
    this.request = options.request;
    this.response = options.response;
    this.method = options.method;
    this.#onExpired = options.onExpired;
    this.request.exchange = this;
  }

  override header(name: string): string | undefined {
    const value = this.request.headers[name];
    return typeof value === "object" ? value.join(", ") : value;
  }

  /** What the caller got, or would have got; 499 when the caller left before the reply was complete. */
  get status(): number {
    if (this.response.writableFinished) return this.response.statusCode;
    return this.#isCut && this.error ? toHttpStatus(this.error.status) : 499;
  }

  /** Breaks the connection off: part of the reply is on its way, and its end would be a lie. */
  cut(error: AppError): void {
    this.#isCut = true;
    this.error = error;
    this.abort(error);
    this.response.destroy();
  }

  protected override expired(error: AppError): void {
    this.#onExpired(this, error);
  }
}
