import {
  create,
  type DescMethod,
  type MessageInitShape,
  type MessageShape,
  toBinary,
  toJsonString,
} from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { AppError, type Clock, messageOf, OptionError, requireWhole, systemClock, withDefaults } from "@plinth/kernel";
import type { Registry } from "@plinth/registry";
import { buildConnector, type Dispatcher, Pool } from "undici";
import { UndiciServiceDispatcher } from "../../discovery/undici-dispatcher.ts";
import { TransportError } from "../../errors.ts";
import { type HttpClientOutcome, observeHttpClient } from "../../http/client-metrics.ts";
import { clientContextOf, type ClientTls } from "../../tls/client.ts";
import { methodName } from "../service.ts";
import type { RpcChannel, StreamChannelCall, UnaryChannelCall } from "./channel.ts";
import { type ConnectChannelOptions, connectChannelDefaults } from "./connect-options.ts";
import { metadataOf, readReply } from "./connect-reply.ts";
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
import { InFlight } from "./in-flight.ts";
import { type HttpCall, type HttpReply, send } from "./send.ts";

type Settings = Required<Pick<ConnectChannelOptions, keyof typeof connectChannelDefaults>>;

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
    const { codec, acceptGzip, maxReplyBytes: maxBytes, maxPending } = this.#options;
    const abort = new AbortController();
    const onAbort = (): void => abort.abort(signal.reason);
    const end = this.#calls.begin((reason) => abort.abort(reason));
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      if (this.#calls.size > maxPending)
        throw new TransportError(
          "ERR_OVERLOADED",
          "unavailable",
          `${maxPending} calls of ${this.peer} are under way already`,
        );
      const reply = await this.#send(this.#toHttp(call, target), target, abort.signal);
      const { headers, trailers } = metadataOf(reply.headers);
      onHeaders?.(headers);
      onTrailers?.(trailers);
      return await readReply(method, reply, { target, codec, acceptGzip, maxBytes });
    } finally {
      signal.removeEventListener("abort", onAbort);
      end();
    }
  }

  // oxlint-disable-next-line require-yield -- it is a stream by its type
  async *stream<M extends DescMethod>({ method }: StreamChannelCall<M>): AsyncGenerator<MessageShape<M["output"]>> {
    const target = { peer: this.peer, method: methodName(method) };
    throw badCall(target, "it streams, which the Connect channel does not; use a gRPC channel");
  }

  close({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    const ended = this.#calls.close(signal);
    return (this.#closed ??= ended.then(() => this.#end()));
  }

  #end(): Promise<void> {
    return this.#way.close();
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
    if (body.length > this.#options.maxRequestBytes) throw requestTooLarge(target);
    if (useGet && method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS) {
      const text = Buffer.from(body).toString("base64url");
      const query = `?connect=v1&base64=1&encoding=${codec}&message=${text}`;
      if (path.length + query.length <= maxUrlLength)
        return { method: "GET", path: path + query, headers: all, body: null };
    }
    const ofBody = { "content-type": `application/${codec}`, "connect-protocol-version": "1" };
    return { method: "POST", path, headers: { ...all, ...ofBody }, body };
  }

  #encode<M extends DescMethod>(method: M, request: MessageInitShape<M["input"]>, target: CallTarget): Uint8Array {
    const input: M["input"] = method.input;
    try {
      const message = create(input, request);
      return this.#options.codec === "proto" ? toBinary(input, message) : Buffer.from(toJsonString(input, message));
    } catch (cause) {
      throw badCall(target, `its request is no ${input.typeName}: ${messageOf(cause)}`, cause);
    }
  }
}

/** Longer ones are refused on the way, by servers and caches. */
const maxUrlLength = 4_096;

function timeoutHeaders(timeoutMs: number): Record<string, string> {
  const text = String(Math.min(timeoutMs, 9_999_999_999));
  return { "connect-timeout-ms": text, "plinth-timeout-ms": text };
}

/** How requests get to the service. */
interface Way {
  readonly dispatcher: Dispatcher;
  close(): Promise<void>;
}

type Defined<T> = { readonly [K in keyof Required<T>]: T[K] | undefined };
type Told = Defined<Pick<ConnectChannelOptions, "log" | "metrics">> & {
  readonly tls: ClientTls;
  readonly clock: Clock;
};

/** To one address. */
function poolOf(url: URL, settings: Settings, told: Told & { readonly peer: string }): Way {
  const { tls } = told;
  // another connector for another certificate: it keeps sessions, by which a server would know the one before
  const context = clientContextOf({ ...told, onChange: () => (connect = toConnector()) });
  const toConnector = (): buildConnector.connector =>
    buildConnector({
      timeout: settings.connectTimeoutMs,
      allowH2: false,
      ...context.secure,
      ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
    });
  let connect = toConnector();
  const dispatcher = new Pool(url.origin, {
    connections: settings.maxConnections,
    pipelining: 1,
    allowH2: false,
    // each call has a deadline of its own, which is exact
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: settings.keepAliveMs,
    keepAliveMaxTimeout: settings.keepAliveMs,
    maxHeaderSize: maxHeadBytes,
    connect: (target, done) => connect(target, done),
  });
  return {
    dispatcher,
    close() {
      context.close();
      return dispatcher.destroy();
    },
  };
}

/** To the instances that a registry tells. */
function instancesOf(
  url: URL,
  { maxConnections, maxPending, connectTimeoutMs, keepAliveMs }: Settings,
  {
    registry,
    service,
    filter,
    log,
    metrics,
    ...told
  }: Told &
    Defined<Pick<ConnectChannelOptions, "filter">> & {
      readonly registry: Pick<Registry, "watch">;
      readonly service: string;
    },
): Way {
  const dispatcher = new UndiciServiceDispatcher({
    ...told,
    ...(log ? { log } : {}),
    ...(metrics ? { metrics } : {}),
    registry,
    services: { [url.hostname]: { service, filter } },
    maxConnections,
    maxPending,
    connectTimeoutMs,
    keepAliveMs,
    headersTimeoutMs: 0,
    bodyTimeoutMs: 0,
    maxHeadBytes,
  });
  return { dispatcher, close: () => dispatcher.destroy() };
}

/** Largest head of a reply. */
const maxHeadBytes = 16_384;

function parseUrl({ url: given, registry, service, peer, tls }: ConnectChannelOptions): URL {
  if ((given === undefined) === (registry === undefined))
    throw new OptionError("ERR_OPTION_TYPE", "invalid_argument", "give one of url and registry, and not both");
  const url = URL.parse(given ?? `${tls ? "https" : "http"}://${service ?? peer}`);
  if (url && (url.protocol === "http:" || url.protocol === "https:") && !url.search && !url.hash && !url.username)
    return url;
  throw new OptionError(
    "ERR_OPTION_TYPE",
    "invalid_argument",
    given === undefined
      ? "service must be what the host of a URL can be: letters, digits, - and ."
      : "url must be http://host:port or https://host:port, with a path at most",
  );
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
