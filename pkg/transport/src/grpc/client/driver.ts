import type { DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import {
  type ChannelInterface,
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  type Interceptor,
  type Metadata as GrpcMetadata,
  type StatusObject,
} from "@grpc/grpc-js";
import {
  type Clock,
  currentContext,
  messageOf,
  OptionError,
  requireNumber,
  requireWhole,
  systemClock,
  withDefaults,
} from "@plinth/kernel";
import { optionsOf as discovered, registerScheme } from "../../discovery/grpc-resolver.ts";
import { TransportError } from "../../errors.ts";
import type {
  ChannelCall,
  RpcChannel,
  RpcMetadata,
  StreamChannelCall,
  UnaryChannelCall,
} from "../../rpc/client/channel.ts";
import { badCall, type CallTarget, wasMisdirected } from "../../rpc/client/errors.ts";
import { InFlight } from "../../rpc/client/in-flight.ts";
import { errorOf } from "../../rpc/client/send.ts";
import { methodName } from "../../rpc/service.ts";
import { type CallObserver, earlierOf } from "../client-metrics.ts";
import { type Compression, compressionOf } from "./compression.ts";
import { decode, encode } from "./messages.ts";
import { type GrpcChannelOptions, grpcChannelDefaults } from "./options.ts";
import { credentialsOf, type SwappingCredentials } from "./credentials.ts";
import { isServiceError, toCallError } from "./failure.ts";
import { asBytes, feed } from "./feed.ts";
import { fromGrpc, toGrpc } from "./metadata.ts";
import { UnaryCall } from "./unary-call.ts";

type Settings = Required<
  Omit<
    GrpcChannelOptions,
    "peer" | "address" | "registry" | "service" | "filter" | "tls" | "log" | "metrics" | "tracing" | "clock"
  >
>;

/** Instances that a call is sent to as long as each says that it is meant for another, where they are found by name. */
const maxTries = 3;

/** The channel on grpc-js. */
export class GrpcChannel implements RpcChannel {
  readonly peer: string;
  readonly #options: Settings;
  readonly #client: Client;
  readonly #channel: ChannelInterface;
  readonly #observer: CallObserver;
  readonly #clock: Clock;
  readonly #credentials: SwappingCredentials;
  readonly #compression: Compression;
  readonly #calls: InFlight;
  readonly #maxTries: number;
  #closed: Promise<void> | undefined;

  constructor(options: GrpcChannelOptions, observer: CallObserver, interceptors: Interceptor[]) {
    const settings = withDefaults<Settings>(grpcChannelDefaults, options);
    for (const name of [
      "maxReplyBytes",
      "maxRequestBytes",
      "maxPending",
      "keepAliveTimeoutMs",
      "minReconnectMs",
      "maxReconnectMs",
    ] as const)
      requireWhole(name, settings[name], { min: 1 });
    requireWhole("keepAliveMs", settings.keepAliveMs, { min: 1_000 });
    requireNumber("gzipFromBytes", settings.gzipFromBytes, { min: 1 });
    this.peer = options.peer;
    this.#options = settings;
    this.#observer = observer;
    this.#clock = options.clock ?? systemClock;
    this.#calls = new InFlight(options.peer);
    this.#compression = compressionOf(settings.gzipFromBytes);
    const { address, found } = targetOf(options);
    this.#maxTries = address.startsWith("plinth:") ? maxTries : 1;
    this.#credentials = credentialsOf({ ...options, address });
    this.#client = new Client(address, this.#credentials.credentials, {
      ...found,
      interceptors: [...interceptors, ...this.#compression.interceptors],
      "grpc.max_receive_message_length": settings.maxReplyBytes,
      "grpc.max_send_message_length": settings.maxRequestBytes,
      ...this.#compression.options,
      "grpc.keepalive_time_ms": settings.keepAliveMs,
      "grpc.keepalive_timeout_ms": settings.keepAliveTimeoutMs,
      "grpc.initial_reconnect_backoff_ms": settings.minReconnectMs,
      "grpc.max_reconnect_backoff_ms": Math.max(settings.minReconnectMs, settings.maxReconnectMs),
      // closing it closes its connection, whoever else calls the same address
      "grpc.use_local_subchannel_pool": 1,
      // nobody's DNS record tells this client to try again
      "grpc.service_config_disable_resolution": 1,
      // nobody can ask for what is counted there
      "grpc.enable_channelz": 0,
      ...(options.tls?.serverName === undefined ? {} : { "grpc.ssl_target_name_override": options.tls.serverName }),
    });
    this.#channel = this.#client.getChannel();
  }

  unary<M extends DescMethod>(call: UnaryChannelCall<M>): Promise<MessageShape<M["output"]>> {
    return this.#maxTries === 1 ? this.#once(call) : this.#several(call);
  }

  async #several<M extends DescMethod>(call: UnaryChannelCall<M>): Promise<MessageShape<M["output"]>> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#once(call);
      } catch (error) {
        // nothing was done with it, and the next goes to another instance
        if (tries === this.#maxTries || !wasMisdirected(error)) throw error;
      }
    }
  }

  async #once<M extends DescMethod>(call: UnaryChannelCall<M>): Promise<MessageShape<M["output"]>> {
    const { method, request, signal } = call;
    const target = this.#targetOf(method);
    const bytes = encode(method, request, target);
    let under: UnaryCall | undefined;
    const { stop, end } = this.#begin(signal, (reason) => under?.cancel(reason));
    try {
      stop.throwIfStopped();
      const context = currentContext();
      const deadline = earlierOf(deadlineOf(call), context, this.#clock);
      const metadata = this.#metadataOf(call, target);
      under = new UnaryCall(this.#channel, `/${target.method}`, deadline, call);
      under.send(
        metadata,
        bytes,
        this.#compression.flagsOf(bytes),
        this.#observer.begin(target.method, metadata, context),
      );
      return decode(method, await under.reply, target);
    } catch (error) {
      throw stop.reason ?? (isServiceError(error) ? toCallError(error, target, this.#options.maxReplyBytes) : error);
    } finally {
      end();
    }
  }

  async *stream<M extends DescMethod>(call: StreamChannelCall<M>): AsyncGenerator<MessageShape<M["output"]>> {
    const { method, requests, signal } = call;
    const target = this.#targetOf(method);
    let under: ClientDuplexStream<Buffer, Buffer> | undefined;
    const { stop, end } = this.#begin(signal, () => under?.cancel());
    let feeding: ReturnType<typeof feed> | undefined;
    let listening: ReturnType<typeof listen> | undefined;
    try {
      stop.throwIfStopped();
      under = this.#client.makeBidiStreamRequest(
        `/${target.method}`,
        asBytes,
        asBytes,
        this.#metadataOf(call, target),
        {
          deadline: deadlineOf(call),
        },
      );
      listening = listen(under, call);
      feeding = feed(under, requests, (message: MessageInitShape<M["input"]>) => encode(method, message, target));
      const replies: AsyncIterable<Buffer> = under;
      for await (const bytes of replies) yield decode(method, bytes, target);
      if (listening.failure) throw listening.failure;
    } catch (error) {
      throw (
        stop.reason ??
        feeding?.failure ??
        listening?.failure ??
        (isServiceError(error) ? toCallError(error, target, this.#options.maxReplyBytes) : error)
      );
    } finally {
      end();
      feeding?.stop();
      under?.cancel(); // it does nothing where the call is over
    }
  }

  close({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    const ended = this.#calls.close(signal);
    return (this.#closed ??= ended.then(() => this.#end()));
  }

  #end(): void {
    this.#credentials.close();
    this.#client.close();
  }

  #metadataOf({ headers }: ChannelCall<DescMethod>, target: CallTarget): GrpcMetadata {
    let metadata: GrpcMetadata;
    try {
      metadata = toGrpc(headers);
    } catch (cause) {
      throw badCall(target, messageOf(cause), cause); // of credentials: those of callers have been looked at
    }
    if (this.#options.waitForReady) metadata.setOptions({ waitForReady: true });
    return metadata;
  }

  #targetOf(method: DescMethod): CallTarget {
    return { peer: this.peer, method: methodName(method) };
  }

  /** Counts a call as under way, and stops it when its signal aborts or the channel is closed. */
  #begin(signal: AbortSignal, onStop: (reason: Error) => void): { readonly stop: Stop; readonly end: () => void } {
    const stop = new Stop(onStop);
    const end = this.#calls.begin((reason) => stop.with(reason));
    if (this.#calls.size > this.#options.maxPending) {
      end();
      throw new TransportError(
        "ERR_OVERLOADED",
        "unavailable",
        `${this.#options.maxPending} calls of ${this.peer} are under way already`,
      );
    }
    const onAbort = (): void => stop.with(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    return {
      stop,
      end: () => {
        signal.removeEventListener("abort", onAbort);
        end();
      },
    };
  }
}

/** Where the library is to connect, and what it needs for that. */
function targetOf({ address, registry, filter, clock, peer, service = peer }: GrpcChannelOptions): {
  readonly address: string;
  readonly found: ChannelOptions;
} {
  if ((address === undefined) === (registry === undefined))
    throw new OptionError("ERR_OPTION_TYPE", "invalid_argument", "give one of address and registry, and not both");
  if (registry) return { address: `plinth:///${service}`, found: discovered({ registry, filter, clock }) };
  if (address?.startsWith("plinth:")) registerScheme();
  return { address: address ?? "", found: address?.startsWith("plinth:") ? { "grpc.enable_http_proxy": 0 } : {} };
}

/** Why a call is not waited for any more; the first reason counts. */
class Stop {
  reason: Error | undefined;
  readonly #onStop: (reason: Error) => void;

  constructor(onStop: (reason: Error) => void) {
    this.#onStop = onStop;
  }

  with(reason: unknown): void {
    if (this.reason) return;
    this.reason = reason instanceof Error ? reason : new Error("aborted", { cause: reason });
    this.#onStop(this.reason);
  }

  throwIfStopped(): void {
    if (this.reason) throw this.reason;
  }
}

/** In milliseconds since the Unix epoch. */
function deadlineOf({ timeoutMs }: ChannelCall<DescMethod>): number {
  return timeoutMs === Infinity ? Infinity : Date.now() + timeoutMs;
}

interface Told {
  cancel(): void;
  on(event: "metadata", listener: (metadata: GrpcMetadata) => void): unknown;
  on(event: "status", listener: (status: StatusObject) => void): unknown;
}

/** @returns What a listener has thrown: the stream ends, and is to fail with that. */
function listen(
  under: Told,
  { onHeaders, onTrailers }: ChannelCall<DescMethod>,
): { readonly failure: Error | undefined } {
  let failure: Error | undefined;
  const tell = (listener: (told: RpcMetadata) => void, metadata: GrpcMetadata): void => {
    try {
      listener(fromGrpc(metadata));
    } catch (thrown) {
      failure ??= errorOf(thrown);
      under.cancel();
    }
  };
  if (onHeaders) under.on("metadata", (metadata) => tell(onHeaders, metadata));
  if (onTrailers) under.on("status", ({ metadata }) => tell(onTrailers, metadata));
  return {
    get failure() {
      return failure;
    },
  };
}
