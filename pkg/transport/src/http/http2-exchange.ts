import { constants, Http2ServerRequest, Http2ServerResponse, type OutgoingHttpHeaders } from "node:http2";
import { guardPipe, type HttpExchange } from "./exchange.ts";
import { endConnection, type Http2Connection, http2Connections } from "./http2-sessions.ts";

/** The head of a request as HTTP/2 has it. */
export interface Http2Target {
  readonly authority: string | undefined;
  readonly scheme: string | undefined;
  readonly protocol: string | undefined;
}

/** The twin of `ServedRequest`: the layers and fastify find in it what they use of HTTP/1. */
export class Http2Request extends Http2ServerRequest {
  exchange: HttpExchange | undefined;
  readonly target: Http2Target;
  /** As HTTP/1 has them: no pseudo-headers, and `host`. */
  readonly plainHeaders: Record<string, string | string[] | undefined>;
  readonly http2Connection: Http2Connection | undefined;
  #receivedBytes = 0;

  constructor(...args: ConstructorParameters<typeof Http2ServerRequest>) {
    super(...args);
    const [stream, { ":method": _, ":path": __, ":authority": authority, ":scheme": scheme, ...headers }] = args;
    const protocol = headers[":protocol"];
    this.target = { authority, scheme, protocol: typeof protocol === "string" ? protocol : undefined };
    headers.host ??= authority;
    this.plainHeaders = headers;
    this.http2Connection = stream.session && http2Connections.get(stream.session);
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    if (event === "error") {
      const [error] = args;
      if (this.errored === null) {
        this.destroy(error instanceof Error ? error : undefined);
        return true;
      }
      if (this.listenerCount("error") === 0) return false; // as HTTP/1 does it: the reply tells
    }
    const { exchange } = this;
    return exchange === undefined ? super.emit(event, ...args) : exchange.tell(() => super.emit(event, ...args));
  }

  /** A body that is reset half way would end as if it were whole. */
  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    const { stream } = this;
    if (Buffer.isBuffer(chunk)) this.#receivedBytes += chunk.length;
    if (chunk !== null || !stream.aborted) return super.push(chunk, encoding);
    if (!this.destroyed) this.destroy(resetByCaller());
    return false;
  }

  override pipe<T extends NodeJS.WritableStream>(destination: T, options?: { end?: boolean }): T {
    guardPipe(this, destination, options?.end);
    return super.pipe(destination, options);
  }

  /** Bytes of the body that have come, while the rest is its caller's to send; undefined when its end has come too, or nobody takes it. */
  get awaitedBytes(): number | undefined {
    const { stream } = this;
    if (stream.destroyed || stream.readableLength > 0) return undefined;
    return stream.state.state === constants.NGHTTP2_STREAM_STATE_OPEN ? this.#receivedBytes : undefined;
  }
}

/** What HTTP/1 says of a connection, and HTTP/2 must not. RFC 9113, 8.2.2. */
const ofConnections: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

type WriteCallback = (error: Error) => void;
type Done = () => void;
type Head = OutgoingHttpHeaders | readonly string[];

/** The twin of `ServedResponse`. Headers of a connection are left out: a stream has none. */
export class Http2Response extends Http2ServerResponse<Http2Request> {
  exchange: HttpExchange | undefined;
  /** Nothing: the connection outlives the reply. */
  shouldKeepAlive = true;
  override errored: Error | null = null;

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    if (event === "finish" && !this.writableFinished) return false; // it was broken off
    const { exchange } = this;
    return exchange === undefined ? super.emit(event, ...args) : exchange.tell(() => super.emit(event, ...args));
  }

  override write(
    chunk: string | Uint8Array,
    encoding?: BufferEncoding | WriteCallback,
    callback?: WriteCallback,
  ): boolean {
    try {
      if (typeof encoding === "function") return super.write(chunk, encoding);
      return encoding === undefined ? super.write(chunk, callback) : super.write(chunk, encoding, callback);
    } catch (thrown) {
      this.destroy(thrown instanceof Error ? thrown : undefined);
      return false;
    }
  }

  /** A GOAWAY goes ahead of the end of the reply, so that who asks one thing at a time has it before it asks again. */
  override end(chunk?: string | Uint8Array | Done, encoding?: BufferEncoding | Done, callback?: Done): this {
    const connection = this.req.http2Connection;
    if (connection?.isLeaving === true) endConnection(connection);
    if (typeof chunk === "function") return super.end(chunk);
    if (chunk === undefined) return super.end(typeof encoding === "function" ? encoding : callback);
    return typeof encoding === "string" ? super.end(chunk, encoding, callback) : super.end(chunk, encoding ?? callback);
  }

  override setHeader(name: string, value: number | string | readonly string[]): this {
    if (!ofConnections.has(name.toLowerCase())) super.setHeader(name, value);
    return this;
  }

  override appendHeader(name: string, value: string | string[]): void {
    if (!ofConnections.has(name.toLowerCase())) super.appendHeader(name, value);
  }

  /** HTTP/2 has no text beside the status. */
  override writeHead(status: number, message?: Head | string, headers?: Head): this {
    const given = typeof message === "object" ? message : headers;
    if (given === undefined) return super.writeHead(status);
    if (isList(given)) return super.writeHead(status, given);
    const kept = Object.entries(given).filter(([name]) => !ofConnections.has(name.toLowerCase()));
    return super.writeHead(status, Object.fromEntries(kept));
  }

  /** Ends the stream with a reset: what has arrived must not look complete. */
  override destroy(error?: Error): this {
    this.errored ??= error ?? null;
    const { stream } = this;
    if (!stream.destroyed && !stream.writableFinished) stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    super.destroy();
    return this;
  }
}

// Node declares these as properties, and has them as getters of the prototype.
Object.defineProperties(Http2Request.prototype, {
  headers: {
    get(this: Http2Request) {
      return this.plainHeaders;
    },
  },
  socket: {
    get(this: Http2Request) {
      return this.http2Connection?.socket;
    },
  },
  connection: {
    get(this: Http2Request) {
      return this.http2Connection?.socket;
    },
  },
});
Object.defineProperties(Http2Response.prototype, {
  destroyed: {
    get(this: Http2Response) {
      return this.stream.destroyed;
    },
  },
  /** Node ends what a reset breaks off. */
  writableFinished: {
    get(this: Http2Response) {
      return this.stream.writableFinished && !this.stream.aborted;
    },
  },
  socket: {
    get(this: Http2Response) {
      return this.req.http2Connection?.socket;
    },
  },
});

function isList(headers: Head): headers is readonly string[] {
  return Array.isArray(headers);
}

/** What ends a request whose body its caller does not send to the end, as node says it of HTTP/1. */
function resetByCaller(): Error {
  return Object.assign(new Error("aborted"), { code: "ECONNRESET" });
}
