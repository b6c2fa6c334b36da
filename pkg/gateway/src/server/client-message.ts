import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Exchange } from "./exchange.ts";

/** A client's request as its exchange reads it, whatever the wire: of HTTP/1 it is that of node:http. */
export interface ClientRequest extends Pick<
  IncomingMessage,
  "method" | "url" | "rawHeaders" | "rawTrailers" | "httpVersionMajor" | "httpVersionMinor"
> {
  /** As `network.protocol.version` has it: 1.0, 1.1 or 2. Its head is one of HTTP/1 in each case. */
  readonly httpVersion: string;
  readonly socket: Socket;
  /** All of its body has come. */
  readonly complete: boolean;
  on(event: "data", listener: (chunk: Buffer) => void): this;
  once(event: "end" | "close", listener: () => void): this;
  off(event: "data", listener: (chunk: Buffer) => void): this;
  off(event: "end" | "close", listener: () => void): this;
  pause(): unknown;
  resume(): unknown;
}

/** A reply as its exchange writes it, whatever the wire. */
export interface ClientResponse {
  exchange: Exchange | undefined;
  /** Other requests go over its connection at the same time: neither the reply nor what is left of the body ends it. */
  readonly isStream: boolean;
  /** Where a connection serves one request at a time: that one, as long as it does. */
  readonly socket: Socket | null;
  readonly statusCode: number;
  readonly headersSent: boolean;
  readonly writableEnded: boolean;
  /** The whole of it has been given to the connection. */
  readonly writableFinished: boolean;
  readonly destroyed: boolean;
  /** From now on the exchange is told when the reply is over, its client gone, or something wrong with it. */
  attach(exchange: Exchange): void;
  writeContinue(): void;
  /** @param headers - Name and value by turns. Those of a connection are left out where there is none of its own. */
  writeHead(status: number, headers: string[]): unknown;
  /** Sends the head ahead of a body that is not there yet. */
  flushHeaders(): void;
  /** @returns False when no more should be given until the exchange is told that there is room again. */
  write(chunk: Buffer | string): boolean;
  /** Before a first write has returned false, so that the exchange is told. Safe to call again. */
  awaitRoom(): void;
  addTrailers(trailers: readonly [string, string][]): void;
  end(chunk?: Buffer | string, encoding?: BufferEncoding): unknown;
  /** Breaks it off, so that the client cannot take what it has for the whole. */
  destroy(): unknown;
}
