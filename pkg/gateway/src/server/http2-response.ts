import { validateHeaderValue } from "node:http";
import type { OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { endConnection, type Http2Connection, stopUpload } from "@plinth/transport";
import type { ClientResponse } from "./client-message.ts";
import type { Exchange } from "./exchange.ts";
import type { UntakenReply } from "./slow-clients.ts";

/** Left out of what is said to a client: its connection has no such headers. RFC 9113, 8.2.2. */
const ofConnections: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
]);

/** A reply over HTTP/2. Its head waits for the first of the body, or for its end. */
export class Http2Response implements ClientResponse, UntakenReply {
  exchange: Exchange | undefined;
  readonly isStream = true;
  readonly socket = null;
  statusCode = 200;
  headersSent = false;
  writableEnded = false;
  readonly #stream: ServerHttp2Stream;
  readonly #connection: Http2Connection;
  /** Not sent yet. */
  #head: OutgoingHttpHeaders | undefined;
  #trailers: OutgoingHttpHeaders | undefined;
  #awaitsTrailers = false;
  #isCutOff = false;
  #awaitsRoom = false;

  constructor(stream: ServerHttp2Stream, connection: Http2Connection) {
    this.#stream = stream;
    this.#connection = connection;
    stream.once("wantTrailers", () => this.#sendTrailers());
    stream.once("finish", () => {
      // Callers of gRPC take a reset that comes in one piece with a head for the end of a call without a status.
      if (!this.#awaitsTrailers) setImmediate(() => this.#stopUpload());
    });
  }

  get destroyed(): boolean {
    return this.#stream.destroyed || this.#stream.closed;
  }

  /** Of the stream's own `writableFinished` node says yes where a reset breaks it off, and no where its last bytes close it. */
  get writableFinished(): boolean {
    const { closed, aborted, rstCode } = this.#stream;
    return this.writableEnded && closed && !aborted && (rstCode ?? 0) === 0 && !this.#isCutOff;
  }

  attach(exchange: Exchange): void {
    this.exchange = exchange;
    this.#stream.once("close", () => {
      exchange.core.slowClients.taken(this);
      // What we break off is not held against the client.
      if (this.#isCutOff) this.#connection.budget.earn("reset");
      exchange.finish();
    });
  }

  writeContinue(): void {
    if (!this.destroyed && !this.headersSent) this.#stream.additionalHeaders({ ":status": 100 });
  }

  writeHead(status: number, headers: string[]): void {
    const head = noHeaders();
    head[":status"] = status;
    for (let at = 0; at < headers.length; at += 2) add(head, headers[at] ?? "", headers[at + 1] ?? "");
    this.#head = head;
    this.statusCode = status;
    this.headersSent = true;
  }

  flushHeaders(): void {
    this.#sendHead({ endStream: false });
  }

  write(chunk: Buffer | string): boolean {
    this.#sendHead({ endStream: false });
    return this.destroyed || this.#hasNoBody || this.#stream.write(chunk);
  }

  awaitRoom(): void {
    this.#watchClient();
    if (this.#awaitsRoom) return;
    this.#awaitsRoom = true;
    this.#stream.on("drain", () => {
      this.exchange?.core.slowClients.taken(this);
      this.exchange?.forwarding?.resume();
    });
  }

  addTrailers(trailers: readonly [string, string][]): void {
    if (trailers.length === 0) return;
    const fields = (this.#trailers ??= noHeaders());
    for (const [name, value] of trailers) add(fields, name, value);
  }

  /** A GOAWAY goes ahead of the end, so that who asks one thing at a time has it before it asks again. */
  end(chunk?: Buffer | string, encoding?: BufferEncoding): void {
    this.writableEnded = true;
    if (this.#connection.isLeaving) endConnection(this.#connection);
    const isEmpty = chunk === undefined || chunk.length === 0;
    this.#sendHead({ endStream: isEmpty && this.#trailers === undefined });
    if (this.destroyed || this.#hasNoBody || this.#stream.writableEnded) return;
    if (isEmpty) this.#stream.end();
    else if (typeof chunk === "string") this.#stream.end(chunk, encoding ?? "utf8");
    else this.#stream.end(chunk);
    this.#watchClient();
  }

  /** Its client leaves its window shut but for a few bytes. */
  tooSlow(): void {
    this.exchange?.refuse("reply_untaken");
    this.destroy(); // also that of a call of gRPC, whose status would not be taken either
  }

  #watchClient(): void {
    if (this.#stream.writableLength > 0) this.exchange?.core.slowClients.waits(this, this.#stream.writableLength);
  }

  /** Ends the stream with a reset: what has arrived must not look complete. */
  destroy(): void {
    if (this.destroyed) return;
    this.#isCutOff = true;
    this.#stream.destroy(new Error("broken off")); // `close` of a stream that is not ended would end it as if it were whole
  }

  /** Node ends such a reply with its head. */
  get #hasNoBody(): boolean {
    const { statusCode, exchange } = this;
    return exchange?.method === "HEAD" || statusCode === 204 || statusCode === 205 || statusCode === 304;
  }

  #sendHead({ endStream }: { readonly endStream: boolean }): void {
    const head = this.#head;
    this.#head = undefined;
    if (head === undefined || this.destroyed) return;
    // Of a body whose length is known the end is known as well: nothing comes behind it.
    const mayHaveMore = this.#trailers !== undefined || (!this.writableEnded && head["content-length"] === undefined);
    this.#awaitsTrailers = mayHaveMore && !endStream && !this.#hasNoBody;
    this.#stream.respond(head, { endStream, waitForTrailers: this.#awaitsTrailers });
  }

  #sendTrailers(): void {
    if (this.destroyed) return;
    this.#stream.sendTrailers(this.#trailers ?? {});
    setImmediate(() => this.#stopUpload()); // they go out by then
  }

  /** The reply is whole: what of the request's body still comes is not wanted. */
  #stopUpload(): void {
    const { exchange } = this;
    if (exchange && !exchange.request.complete) stopUpload(this.#stream);
    this.#stream.resume();
  }
}

/** Where a name such as `__proto__` is one like any other. */
function noHeaders(): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = {};
  Object.setPrototypeOf(headers, null);
  return headers;
}

/** @throws As `http.ServerResponse` does, for what no header may hold. */
function add(headers: OutgoingHttpHeaders, name: string, value: string): void {
  const lower = name.toLowerCase();
  if (ofConnections.has(lower)) return;
  validateHeaderValue(lower, value);
  const before = headers[lower];
  if (before === undefined) headers[lower] = value;
  else headers[lower] = [...(Array.isArray(before) ? before : [`${before}`]), value];
}
