import type { AppError } from "@plinth/kernel";
import type { ExchangeOptions } from "../exchange.ts";
import type { Problem } from "../problem.ts";
import type { HttpExchange, ServedRequest, ServedResponse } from "./exchange.ts";

/** Who serves an exchange, and answers it when its handler cannot. */
export interface ExchangeOwner {
  /** The server drains: what has no end of its own is to end now. */
  readonly isEnding: boolean;
  /** The deadline has passed, and the handler has been told. */
  expired(exchange: HttpExchange, error: AppError): void;
  /** Something threw that fastify knows nothing of: a listener of the request or of its reply, or what its body is piped into. */
  failed(exchange: HttpExchange, thrown: unknown): void;
  /** Something failed beside the reply, which stands. */
  failedAround(thrown: unknown, exchange: HttpExchange): void;
  /** A stream of messages failed, and its last one will tell. */
  failedInside(exchange: HttpExchange, thrown: unknown): ToldFailure;
  /** The reply is out, or will never be. Once. */
  closed(exchange: HttpExchange): void;
  /** Something about the reply went wrong, such as a write after its end. */
  replyFailed(exchange: HttpExchange, error: unknown): void;
}

/** An error, and what its caller may know of it. */
export interface ToldFailure {
  readonly error: AppError;
  readonly problem: Problem;
}

export interface HttpExchangeOptions extends ExchangeOptions {
  readonly request: ServedRequest;
  readonly response: ServedResponse;
  /** As it stands in labels. */
  readonly method: string;
  /** What the connection's peer says of the request is believed. */
  readonly isPeerTrusted: boolean;
  readonly owner: ExchangeOwner;
}
