import type { ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { ClientRequest } from "./client-message.ts";
import type { DeadlineList, Expiring } from "./deadlines.ts";
import type { Exchange } from "./exchange.ts";
import type { Http2Head } from "./http2-head.ts";

/** A client's request over HTTP/2, with its head in the words of HTTP/1.1. */
export class Http2Request implements ClientRequest, Expiring {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: string[];
  readonly httpVersion = "2";
  readonly httpVersionMajor = 1;
  readonly httpVersionMinor = 1;
  readonly socket: Socket;
  /** Fields behind the body, name and value by turns. */
  rawTrailers: string[] = [];
  expiresAtMs = 0;
  before: Expiring | undefined;
  after: Expiring | undefined;
  list: DeadlineList | undefined;
  /** Told when its body does not arrive in time. */
  exchange: Exchange | undefined;
  readonly #stream: ServerHttp2Stream;
  #hasEnded = false;

  constructor(stream: ServerHttp2Stream, socket: Socket, { method, url, rawHeaders }: Http2Head) {
    this.#stream = stream;
    this.socket = socket;
    this.method = method;
    this.url = url;
    this.rawHeaders = rawHeaders;
    if (stream.endAfterHeaders) return;
    stream.once(
      "trailers",
      (_trailers: unknown, _flags: unknown, raw: readonly string[]) => (this.rawTrailers = [...raw]),
    );
    stream.once("end", () => {
      // What a reset breaks off ends as well.
      this.#hasEnded = !stream.aborted && (stream.rstCode ?? 0) === 0;
      this.list?.remove(this);
    });
    stream.once("close", () => this.list?.remove(this));
  }

  get complete(): boolean {
    return this.#hasEnded || this.#stream.endAfterHeaders;
  }

  on(event: "data", listener: (chunk: Buffer) => void): this {
    this.#stream.on(event, listener);
    return this;
  }

  /** Where it has ended already, as one without a body does before anybody reads it, that is told all the same. */
  once(event: "end" | "close", listener: () => void): this {
    if (event === "end" && this.#hasEnded) process.nextTick(listener);
    else this.#stream.once(event, listener);
    return this;
  }

  off(event: "data" | "end" | "close", listener: (chunk: Buffer) => void): this {
    this.#stream.off(event, listener);
    return this;
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  /** Its body has not come in the time that a whole request has. */
  expire(): void {
    if (!this.complete && this.exchange?.isStreaming === false) this.exchange.refuse("request_timeout");
  }
}
