import { promisify } from "node:util";
import { gzip } from "node:zlib";
import {
  create,
  type DescMethod,
  type MessageInitShape,
  type MessageShape,
  toBinary,
  toJsonString,
} from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { AppError, messageOf, requireNumber, requireWhole, systemClock, withDefaults } from "@plinth/kernel";
import { TransportError } from "../../errors.ts";
import { type HttpClientOutcome, observeHttpClient } from "../../http/client-metrics.ts";
import { framed } from "../../grpc/messages.ts";
import { methodName } from "../service.ts";
import type { RpcChannel, StreamChannelCall, UnaryChannelCall } from "./channel.ts";
import { type ConnectChannelOptions, connectChannelDefaults } from "./connect-options.ts";
import { decode, metadataOf, readReply } from "./connect-reply.ts";
import { onlyOf, readStream } from "./connect-stream.ts";
import {
  badCall,
  badReply,
  type CallTarget,
  nobody,
  replyTooLarge,
  requestTooLarge,
  RpcError,
  unreachable,
} from "./errors.ts";
import { instancesOf, parseUrl, poolOf, type Settings, type Way } from "./connect-way.ts";
import { InFlight } from "./in-flight.ts";
import { type HttpCall, type HttpReply, send } from "./send.ts";

const wholes = [
  "maxRequestBytes",
  "maxReplyBytes",
  "maxConnections",
  "maxPending",
  "connectTimeoutMs",
  "keepAliveMs",
] as const;

/** The channel on undici. */
export class ConnectChannel implements RpcChannel {
  readonly peer: string;
  readonly #options: Settings;
  readonly #way: Way;
  readonly #origin: string;
  readonly #prefix: string;
  readonly #calls: InFlight;
  readonly #observe: ReturnType<typeof observeHttpClient>;
  #closed: Promise<void> | undefined;

  constructor(options: ConnectChannelOptions) {
    const { peer, tls = {}, log, metrics, tracing, clock = systemClock } = options;
    const settings = withDefaults<Settings>(connectChannelDefaults, options);
    for (const name of wholes) requireWhole(name, settings[name], { min: 1 });
    requireNumber("gzipFromBytes", settings.gzipFromBytes, { min: 1 });
    const url = parseUrl(options);
    this.peer = peer;
    this.#options = settings;
    this.#origin = url.origin;
    this.#prefix = url.pathname.replace(/\/$/, "");
    this.#calls = new InFlight(peer);
    this.#observe = observeHttpClient({ metrics, tracing, peer, clock });
    const { registry, service = peer, filter } = options;
    this.#way =
      registry === undefined
        ? poolOf(url, settings, { peer, tls, clock, log, metrics })
        : instancesOf(url, settings, { registry, service, filter, tls, clock, log, metrics });
  }

  async unary<M extends DescMethod>(call: UnaryChannelCall<M>): Promise<MessageShape<M["output"]>> {
    const { method, signal, onHeaders, onTrailers } = call;
    const target = { peer: this.peer, method: methodName(method) };
    const { codec, acceptGzip, maxReplyBytes: maxBytes } = this.#options;
    const { stop, end } = this.#begin(signal);
    try {
      const http = this.#toHttp(call, target);
      const reply = await this.#send(this.#isLarge(http.body) ? await gzipped(http) : http, target, stop);
      const { headers, trailers } = metadataOf(reply.headers);
      onHeaders?.(headers);
      onTrailers?.(trailers);
      return await readReply(method, reply, { target, codec, acceptGzip, maxBytes });
    } finally {
      end();
    }
  }

  async *stream<M extends DescMethod>(call: StreamChannelCall<M>): AsyncGenerator<MessageShape<M["output"]>> {
    const { method, onHeaders, onTrailers } = call;
    const target = { peer: this.peer, method: methodName(method) };
    if (method.methodKind !== "server_streaming")
      throw badCall(target, "its requests are a stream, which the Connect channel does not carry; use a gRPC channel");
    const { codec, acceptGzip, maxReplyBytes: maxBytes } = this.#options;
    const { stop: signal, end } = this.#begin(call.signal);
    try {
      const request = await onlyOf(call.requests, target);
      const { headers, ...http } = await this.#toStreamed({ ...call, request }, target);
      const observed = this.#observe(http.method, `${this.#origin}${http.path}`);
      const sent = { ...http, origin: this.#origin, headers: { ...observed.headers, ...headers } };
      yield* readStream(this.#way.dispatcher, sent, {
        target,
        codec,
        acceptGzip,
        maxBytes,
        signal,
        onHeaders,
        onTrailers,
        read: (bytes) => decode(method, codec, bytes, target),
        toError: (error, wasSent) => toError(error, wasSent, target, maxBytes),
        replied: (status) => observed.replied(status),
        failed: (error) => observed.failed(outcomeOf(error), error),
      });
    } finally {
      end();
    }
  }

  close({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    const ended = this.#calls.close(signal);
    return (this.#closed ??= ended.then(() => this.#end()));
  }

  #end(): Promise<void> {
    return this.#way.close();
  }

  /** Counts a call as under way, until its `end`; it is to stop when its caller says so, or the channel is closed. */
  #begin(signal: AbortSignal): { readonly stop: AbortSignal; readonly end: () => void } {
    const { maxPending } = this.#options;
    const abort = new AbortController();
    const onAbort = (): void => abort.abort(signal.reason);
    const ended = this.#calls.begin((reason) => abort.abort(reason));
    if (this.#calls.size > maxPending) {
      ended();
      const text = `${maxPending} calls of ${this.peer} are under way already`;
      throw new TransportError("ERR_OVERLOADED", "unavailable", text);
    }
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    const end = (): void => {
      signal.removeEventListener("abort", onAbort);
      ended();
    };
    return { stop: abort.signal, end };
  }

  async #send(call: HttpCall, target: CallTarget, signal: AbortSignal): Promise<HttpReply> {
    const observed = this.#observe(call.method, `${this.#origin}${call.path}`);
    const { maxReplyBytes: maxBytes } = this.#options;
    try {
      const headers = { ...observed.headers, ...call.headers };
      const reply = await send(
        this.#way.dispatcher,
        { ...call, origin: this.#origin, headers },
        {
          signal,
          maxBytes,
          tooLarge: () => replyTooLarge(target, maxBytes),
          toError: (error, wasSent) => toError(error, wasSent, target, maxBytes),
        },
      );
      observed.replied(reply.status);
      return reply;
    } catch (error) {
      observed.failed(outcomeOf(error), error);
      throw error;
    }
  }

  #toHttp<M extends DescMethod>(
    { method, request, headers, timeoutMs }: UnaryChannelCall<M>,
    target: CallTarget,
  ): HttpCall {
    const { codec, useGet, acceptGzip } = this.#options;
    const path = `${this.#prefix}/${target.method}`;
    const ms = timeoutMs === Infinity ? {} : timeoutHeaders(timeoutMs);
    const all = {
      ...headers,
      ...ms,
      accept: `application/${codec}`,
      "accept-encoding": acceptGzip ? "gzip" : "identity",
    };
    const body = this.#encode(method, request, target);
    if (useGet && method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS) {
      const text = Buffer.from(body).toString("base64url");
      const query = `?connect=v1&base64=1&encoding=${codec}&message=${text}`;
      if (path.length + query.length <= maxUrlLength)
        return { method: "GET", path: path + query, headers: all, body: null };
    }
    const ofBody = { "content-type": `application/${codec}`, "connect-protocol-version": "1" };
    return { method: "POST", path, headers: { ...all, ...ofBody }, body };
  }

  async #toStreamed<M extends DescMethod>(
    { method, request, headers, timeoutMs }: UnaryChannelCall<M>,
    target: CallTarget,
  ) {
    const { codec, acceptGzip } = this.#options;
    const message = this.#encode(method, request, target);
    const isLarge = this.#isLarge(message);
    const all = {
      ...headers,
      ...(timeoutMs === Infinity ? {} : timeoutHeaders(timeoutMs)),
      "accept-encoding": "identity",
      "connect-accept-encoding": acceptGzip ? "gzip" : "identity",
      ...(isLarge ? { "connect-content-encoding": "gzip" } : {}),
      "connect-protocol-version": "1",
      "content-type": `application/connect+${codec}`,
    };
    const body = isLarge ? framed(await promisify(gzip)(message), compressedFlag) : framed(message);
    return { method: "POST", path: `${this.#prefix}/${target.method}`, headers: all, body } as const;
  }

  /** Large enough that it is compressed. */
  #isLarge(body: Uint8Array | null): body is Uint8Array {
    return body !== null && body.length >= this.#options.gzipFromBytes;
  }

  #encode<M extends DescMethod>(method: M, request: MessageInitShape<M["input"]>, target: CallTarget): Uint8Array {
    const input: M["input"] = method.input;
    let bytes: Uint8Array;
    try {
      const message = create(input, request);
      bytes = this.#options.codec === "proto" ? toBinary(input, message) : Buffer.from(toJsonString(input, message));
    } catch (cause) {
      throw badCall(target, `its request is no ${input.typeName}: ${messageOf(cause)}`, cause);
    }
    if (bytes.length > this.#options.maxRequestBytes) throw requestTooLarge(target);
    return bytes;
  }
}

/** Bit 0 of the first byte of a message in a stream. */
const compressedFlag = 1;

async function gzipped({ body, headers, ...call }: HttpCall): Promise<HttpCall> {
  if (body === null) return { ...call, headers, body };
  return { ...call, headers: { ...headers, "content-encoding": "gzip" }, body: await promisify(gzip)(body) };
}

/** Longer ones are refused on the way, by servers and caches. */
const maxUrlLength = 4_096;

function timeoutHeaders(timeoutMs: number): Record<string, string> {
  const text = String(Math.min(timeoutMs, 9_999_999_999));
  return { "connect-timeout-ms": text, "plinth-timeout-ms": text };
}

/** What undici failed with, as what it means for a call. */
function toError(error: unknown, wasSent: boolean, target: CallTarget, maxBytes: number): Error {
  if (error instanceof TransportError)
    return error.code === "ERR_NO_INSTANCE" ? nobody(target, error.message, error) : error;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code === "UND_ERR_HEADERS_OVERFLOW" || code === "HPE_HEADER_OVERFLOW")
    return replyTooLarge(target, maxBytes, error);
  const isGarbage =
    error instanceof Error && (error.name === "HTTPParserError" || code === "UND_ERR_RES_CONTENT_LENGTH_MISMATCH");
  // half of a chunked body is no garbage: the connection was lost
  if (isGarbage && code !== "HPE_INVALID_EOF_STATE") return badReply(target, "what is no HTTP", { cause: error });
  if (code === "UND_ERR_INVALID_ARG" || code === "UND_ERR_NOT_SUPPORTED")
    return badCall(target, messageOf(error), error);
  return unreachable(target, error, !wasSent);
}

function outcomeOf(error: unknown): HttpClientOutcome {
  if (error instanceof RpcError && error.code === "ERR_RPC_UNAVAILABLE")
    return error.isUnsent ? "unreachable" : "reset";
  if (!AppError.is(error)) return "failed";
  if (error.status === "cancelled" || error.code === "ERR_RPC_CLIENT_CLOSED") return "cancelled";
  return error.status === "deadline_exceeded" ? "timeout" : "failed";
}
