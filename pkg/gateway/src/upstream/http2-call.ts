import { type ClientHttp2Session, type ClientHttp2Stream, constants, type IncomingHttpHeaders } from "node:http2";
import type { Readable } from "node:stream";
import type { ReplyHeaders } from "../headers/reply.ts";
import type { Deadlines } from "../server/deadlines.ts";
import { Alarm } from "./alarm.ts";
import { fromFields, toFields, toTrailers } from "./http2-fields.ts";
import type {
  FailureKind,
  UpstreamCall,
  UpstreamFailure,
  UpstreamHandlers,
  UpstreamOptions,
  UpstreamRequest,
} from "./upstream.ts";

const {
  NGHTTP2_CANCEL,
  NGHTTP2_FLAG_END_STREAM,
  NGHTTP2_FRAME_SIZE_ERROR,
  NGHTTP2_HTTP_1_1_REQUIRED,
  NGHTTP2_PROTOCOL_ERROR,
  NGHTTP2_REFUSED_STREAM,
} = constants;

/** Codes with which a reply ends that broke the protocol, or that we are told to ask for in another. */
const invalidCodes: ReadonlySet<number> = new Set([
  NGHTTP2_PROTOCOL_ERROR,
  NGHTTP2_FRAME_SIZE_ERROR,
  NGHTTP2_HTTP_1_1_REQUIRED,
]);

/** Type of the frame with a head, or with trailers. RFC 9113, 6.2. */
const headersFrame = 1;

/** A larger reply head is refused, in bytes. */
export const maxReplyHeadBytes = 32_768;

/** The connection that a call has a stream on. */
export interface StreamOwner {
  readonly session: ClientHttp2Session;
  readonly scheme: "http" | "https";
  readonly authority: string;
  /** Of GOAWAY: streams above it were not looked at. `Infinity` before. */
  readonly lastStreamId: number;
  /** Whether the connection ended since what came on it is no HTTP/2. */
  readonly isBroken: boolean;
  /** Why it ended, as far as that is known. */
  readonly error: unknown;
  /** The stream of the call is closed. */
  released(call: Http2Call): void;
}

export type CallOptions = Pick<UpstreamOptions, "clock" | "headersTimeoutMs" | "bodyGapMs"> & {
  readonly deadlines: Deadlines;
};

/** One request, as a stream of HTTP/2. */
export class Http2Call implements UpstreamCall {
  readonly #request: UpstreamRequest;
  readonly #options: CallOptions;
  readonly #alarm = new Alarm(() => this.#expired());
  #handlers: UpstreamHandlers | undefined;
  #owner: StreamOwner | undefined;
  #stream: ClientHttp2Stream | undefined;
  #isReused = false;
  #hasHead = false;
  /** The end of the reply is here, be it read or not. */
  #isWhole = false;
  #isPaused = false;
  #hasSentAll: boolean;
  /** Something has moved since the alarm was set. */
  #hasMoved = false;
  #trailers: ReplyHeaders = [];
  /** What ended it, where that was not the instance. */
  #failed: { readonly kind: FailureKind; readonly cause: unknown } | undefined;

  constructor(request: UpstreamRequest, handlers: UpstreamHandlers, options: CallOptions) {
    this.#request = request;
    this.#handlers = handlers;
    this.#options = options;
    this.#hasSentAll = request.body === null;
  }

  /** Nobody waits for it any more. */
  get isAborted(): boolean {
    return this.#handlers === undefined;
  }

  /** @returns False when it could not be begun, which its handlers are told. */
  start(owner: StreamOwner, isReused: boolean): boolean {
    const { body, trailers } = this.#request;
    let stream: ClientHttp2Stream;
    try {
      stream = owner.session.request(toFields(this.#request, owner), {
        endStream: body === null,
        waitForTrailers: body !== null && trailers !== undefined,
      });
    } catch (cause) {
      queueMicrotask(() => this.fail({ kind: "unsendable", sent: false, reused: false, cause }));
      return false;
    }
    this.#owner = owner;
    this.#stream = stream;
    this.#isReused = isReused;
    this.#watchEnd(stream);
    stream.on("response", (headers, flags, raw) => this.#onHead(headers, flags, raw));
    stream.on("trailers", (_headers, _flags, raw) => (this.#trailers = fromFields(raw)));
    stream.on("data", (chunk: Buffer) => this.#onData(stream, chunk));
    stream.on("end", () => this.#onEnd());
    stream.on("error", (cause) => (this.#failed ??= { kind: this.#kindOf(stream.rstCode), cause }));
    stream.on("frameError", (type, code) => this.#onUnsent(type, code));
    stream.on("close", () => this.#onClose(stream));
    if (body) this.#upload(stream, body);
    this.#setAlarm();
    return true;
  }

  abort(): void {
    this.#handlers = undefined;
    this.#alarm.stop();
    this.#leave();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#hasMoved = true;
    this.#stream?.resume();
  }

  fail(failure: UpstreamFailure): void {
    const handlers = this.#handlers;
    this.#handlers = undefined;
    this.#alarm.stop();
    handlers?.onFailure(failure);
  }

  /**
   * Node ends a stream alike when its last frame has come and when it was reset without an error, which some proxies do with replies
   * that they cannot finish. The one is told before the stream is closed, the other after.
   */
  #watchEnd(stream: ClientHttp2Stream): void {
    const push = stream.push.bind(stream);
    stream.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
      if (chunk === null && !stream.closed) this.#isWhole = true;
      return push(chunk, encoding);
    };
  }

  #upload(stream: ClientHttp2Stream, body: Readable): void {
    const onDrain = (): void => {
      this.#hasMoved = true;
      body.resume();
    };
    body.on("data", (chunk: Buffer) => {
      this.#hasMoved = true;
      if (!stream.write(chunk)) body.pause();
    });
    body.once("end", () => {
      this.#hasSentAll = true;
      stream.end();
    });
    // It ends half way when the client leaves, or when nobody takes it any more.
    body.once("close", () => {
      if (!this.#hasSentAll) stream.close(NGHTTP2_CANCEL);
    });
    body.on("error", () => undefined);
    stream.on("drain", onDrain);
    stream.on("wantTrailers", () => {
      const fields = this.#request.trailers?.() ?? [];
      stream.sendTrailers(toTrailers(fields));
    });
    stream.once("close", () => {
      if (!body.destroyed && !this.#hasSentAll) body.destroy();
    });
  }

  /** A frame has not gone out: it is too large to be one, or the connection is about to end, and takes none any more. */
  #onUnsent(type: number, code: number): void {
    const isFirst = type === headersFrame && (this.#request.body === null || !this.#hasSentAll);
    const kind = code === NGHTTP2_FRAME_SIZE_ERROR ? "unsendable" : isFirst ? "refused" : "reset";
    this.#failed ??= { kind, cause: new Error(`a frame of the request could not be sent: ${code}`) };
  }

  #onHead(headers: IncomingHttpHeaders, flags: number, raw: readonly string[]): void {
    const status = Number(headers[":status"]);
    if (!(status >= 200 && status <= 599)) {
      this.#breakOff("invalid", new Error(`${status} is no HTTP status`));
      return;
    }
    if (sizeOf(raw) > maxReplyHeadBytes) {
      this.#breakOff("invalid", new Error(`the head of the reply has more than ${maxReplyHeadBytes} bytes`));
      return;
    }
    this.#hasHead = true;
    this.#setAlarm();
    this.#handlers?.onHead(status, fromFields(raw));
    // A reply without a body is told whole, so that it can be passed on in one frame.
    if ((flags & NGHTTP2_FLAG_END_STREAM) !== 0) this.#finish();
  }

  #onData(stream: ClientHttp2Stream, chunk: Buffer): void {
    this.#hasMoved = true;
    if (this.#handlers?.onData(chunk) !== false) return;
    this.#isPaused = true;
    stream.pause();
  }

  #onEnd(): void {
    if (this.#isWhole && this.#hasHead) this.#finish();
  }

  #finish(): void {
    const handlers = this.#handlers;
    this.#handlers = undefined;
    this.#alarm.stop();
    handlers?.onEnd(this.#trailers);
    // The rest of the request is of no use to anybody, and an instance that does not read it would keep the stream open for ever.
    if (this.#stream?.writableFinished === false) this.#stream.close(NGHTTP2_CANCEL);
  }

  #onClose(stream: ClientHttp2Stream): void {
    const owner = this.#owner;
    this.#owner = undefined;
    if (owner && this.#handlers) this.fail(this.#failureOf(stream, owner));
    owner?.released(this);
  }

  #failureOf({ id, rstCode }: ClientHttp2Stream, owner: StreamOwner): UpstreamFailure {
    const reused = this.#isReused;
    const cause = this.#failed?.cause ?? owner.error ?? new Error(`the stream was reset: ${rstCode}`);
    const failed = this.#failed?.kind;
    if (failed === "unsendable" || failed === "refused") return { kind: failed, sent: false, reused, cause };
    const isUnseen = id === undefined || id > owner.lastStreamId || rstCode === NGHTTP2_REFUSED_STREAM;
    if (isUnseen && !this.#hasHead) return { kind: "refused", sent: false, reused, cause };
    const kind = owner.isBroken ? "invalid" : (this.#failed?.kind ?? this.#kindOf(rstCode));
    return { kind, sent: true, reused, cause };
  }

  #kindOf(code: number): FailureKind {
    return invalidCodes.has(code) ? "invalid" : "reset";
  }

  #breakOff(kind: FailureKind, cause: Error): void {
    this.#failed ??= { kind, cause };
    const handlers = this.#handlers;
    this.#leave();
    if (handlers) this.fail({ kind, sent: true, reused: this.#isReused, cause });
  }

  /** A stream whose last frame has come is closed only when it is read to its end, whoever resets it. */
  #leave(): void {
    this.#stream?.close(NGHTTP2_CANCEL);
    this.#stream?.resume();
  }

  #setAlarm(): void {
    const { clock, deadlines, headersTimeoutMs, bodyGapMs } = this.#options;
    const ms = this.#hasHead
      ? (this.#request.bodyGapMs ?? bodyGapMs)
      : (this.#request.headersTimeoutMs ?? headersTimeoutMs);
    this.#hasMoved = false;
    this.#alarm.set(deadlines.list(ms), clock.monotonicMs());
  }

  /** Nothing has come for as long as it may, unless it is us who wait to be given or to be taken something. */
  #expired(): void {
    const awaitsClient = !this.#hasSentAll && this.#stream?.writableNeedDrain === false && !this.#hasHead;
    if (this.#isPaused || this.#hasMoved || awaitsClient) this.#setAlarm();
    else if (this.#hasHead) this.#breakOff("stalled", new Error("nothing came for too long within the reply"));
    else this.#breakOff("timeout", new Error("no head of a reply in time"));
  }
}

function sizeOf(fields: readonly string[]): number {
  let size = 0;
  for (const text of fields) size += text.length;
  return size;
}
