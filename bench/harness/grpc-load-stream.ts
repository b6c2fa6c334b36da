import { type ClientHttp2Session, connect } from "node:http2";
import type { LoadConnectionEvents } from "./load-connection.ts";

/** Calls in flight on one connection: a client of gRPC has few connections. */
const callsOnOne = 8;

/** Connections of HTTP/2 for so many calls at once. */
export class GrpcLoadSessions {
  readonly #sessions: ClientHttp2Session[];

  constructor(port: number, calls: number, onBroken: (reason: string) => void) {
    this.#sessions = Array.from({ length: Math.ceil(calls / callsOnOne) }, () => {
      const session = connect(`http://127.0.0.1:${port}`);
      session.on("error", (error) => onBroken(error.message));
      session.on("goaway", () => onBroken("the server asks for another connection"));
      return session;
    });
  }

  /** @param index - Of the call, from 0. */
  of(index: number): ClientHttp2Session {
    const session = this.#sessions[Math.floor(index / callsOnOne)];
    if (session === undefined) throw new RangeError(`no connection for call ${index}`);
    return session;
  }

  close(): void {
    for (const session of this.#sessions) session.removeAllListeners("goaway").destroy();
  }
}

/** Unary calls of gRPC one after the other: the next goes out when the last has its status. */
export class GrpcLoadStream {
  /** When the call in flight was begun, on the clock of `performance.now()`. */
  sentAtMs = Infinity;
  readonly #session: ClientHttp2Session;
  readonly #path: string;
  readonly #message: Buffer;
  readonly #events: LoadConnectionEvents;
  #open = true;

  /** @param message - The request with its prefix of five bytes. */
  constructor(session: ClientHttp2Session, path: string, message: Buffer, events: LoadConnectionEvents) {
    this.#session = session;
    this.#path = path;
    this.#message = message;
    this.#events = events;
    this.#send();
  }

  close(): void {
    this.#open = false;
  }

  #send(): void {
    if (!this.#open) return;
    this.sentAtMs = performance.now();
    const stream = this.#session.request({
      ":method": "POST",
      ":path": this.#path,
      "content-type": "application/grpc",
      te: "trailers",
    });
    let bytes = 0;
    let status = -1;
    stream.on("response", (headers) => {
      if (headers["grpc-status"] !== undefined) status = Number(headers["grpc-status"]);
    });
    stream.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    stream.on("trailers", (trailers) => {
      status = Number(trailers["grpc-status"]);
    });
    stream.on("error", (error) => this.#break(error.message));
    stream.on("end", () => {
      if (!this.#open) return;
      this.#events.onReply(status, bytes, performance.now() - this.sentAtMs);
      this.#send();
    });
    stream.end(this.#message);
  }

  #break(reason: string): void {
    if (!this.#open) return;
    this.#open = false;
    this.#events.onBroken(reason);
  }
}
