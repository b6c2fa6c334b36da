import {
  type DescMethod,
  type MessageInitShape,
  type MessageShape,
  create,
  fromBinary,
  toBinary,
} from "@bufbuild/protobuf";
import {
  type CallOptions,
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  type Interceptor,
  Metadata as GrpcMetadata,
  type StatusObject,
} from "@grpc/grpc-js";
import { messageOf, OptionError, requireWhole, withDefaults } from "@plinth/kernel";
import { optionsOf as discovered, registerScheme } from "../../discovery/grpc-resolver.ts";
import { TransportError } from "../../errors.ts";
import type {
  ChannelCall,
  RpcMetadata,
  RpcChannel,
  StreamChannelCall,
  UnaryChannelCall,
} from "../../rpc/client/channel.ts";
import { badCall, badReply, type CallTarget, wasMisdirected } from "../../rpc/client/errors.ts";
import { InFlight } from "../../rpc/client/in-flight.ts";
import { methodName } from "../../rpc/service.ts";
import { type GrpcChannelOptions, grpcChannelDefaults } from "./options.ts";
import { credentialsOf, type SwappingCredentials } from "./credentials.ts";
import { isServiceError, toCallError } from "./failure.ts";
import { asBytes, feed } from "./feed.ts";

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
  readonly #credentials: SwappingCredentials;
  readonly #calls: InFlight;
  readonly #maxTries: number;
  #closed: Promise<void> | undefined;

  constructor(options: GrpcChannelOptions, interceptors: Interceptor[]) {
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
    this.peer = options.peer;
    this.#options = settings;
    this.#calls = new InFlight(options.peer);
    const { address, found } = targetOf(options);
    this.#maxTries = address.startsWith("plinth:") ? maxTries : 1;
    this.#credentials = credentialsOf({ ...options, address });
    this.#client = new Client(address, this.#credentials.credentials, {
      ...found,
      interceptors,
      "grpc.max_receive_message_length": settings.maxReplyBytes,
      "grpc.max_send_message_length": settings.maxRequestBytes,
      "grpc.keepalive_time_ms": settings.keepAliveMs,
      "grpc.keepalive_timeout_ms": settings.keepAliveTimeoutMs,
      "grpc.initial_reconnect_backoff_ms": settings.minReconnectMs,
      "grpc.max_reconnect_backoff_ms": Math.max(settings.minReconnectMs, settings.maxReconnectMs),
      // closing it closes its connection, whoever else calls the same address
      "grpc.use_local_subchannel_pool": 1,
      // nobody's DNS record tells this client to try again
      "grpc.service_config_disable_resolution": 1,
      ...(options.tls?.serverName === undefined ? {} : { "grpc.ssl_target_name_override": options.tls.serverName }),
    });
  }

  async unary<M extends DescMethod>(call: UnaryChannelCall<M>): Promise<MessageShape<M["output"]>> {
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
    const answer = Promise.withResolvers<Buffer>();
    const { stop, end } = this.#begin(signal, (reason) => {
      answer.reject(reason);
      under?.cancel();
    });
    let under: { cancel(): void } | undefined;
    try {
      stop.throwIfStopped();
      const started = this.#client.makeUnaryRequest(
        `/${target.method}`,
        asBytes,
        asBytes,
        bytes,
        this.#metadataOf(call),
        optionsOf(call),
        (error, reply) => {
          if (error) answer.reject(error);
          else if (reply === undefined) answer.reject(badReply(target, "neither an error nor a reply"));
          else answer.resolve(reply);
        },
      );
      under = started;
      listen(started, call);
      return decode(method, await answer.promise, target);
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
    try {
      stop.throwIfStopped();
      under = this.#client.makeBidiStreamRequest(
        `/${target.method}`,
        asBytes,
        asBytes,
        this.#metadataOf(call),
        optionsOf(call),
      );
      listen(under, call);
      feeding = feed(under, requests, (message: MessageInitShape<M["input"]>) => encode(method, message, target));
      const replies: AsyncIterable<Buffer> = under;
      for await (const bytes of replies) yield decode(method, bytes, target);
    } catch (error) {
      throw (
        stop.reason ??
        feeding?.failure ??
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

  #metadataOf({ headers }: ChannelCall<DescMethod>): GrpcMetadata {
    const metadata = toGrpc(headers);
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

function optionsOf({ timeoutMs }: ChannelCall<DescMethod>): CallOptions {
  return timeoutMs === Infinity ? {} : { deadline: Date.now() + timeoutMs };
}

function toGrpc(headers: RpcMetadata): GrpcMetadata {
  const metadata = new GrpcMetadata();
  for (const [name, value] of Object.entries(headers))
    metadata.set(name, name.endsWith("-bin") ? Buffer.from(value, "base64") : value);
  return metadata;
}

function fromGrpc(metadata: GrpcMetadata): RpcMetadata {
  return Object.fromEntries(
    Object.keys(metadata.getMap()).map((name): [string, string] => [
      name,
      metadata
        .get(name)
        .map((value) => (typeof value === "string" ? value : value.toString("base64")))
        .join(", "),
    ]),
  );
}

interface Told {
  on(event: "metadata", listener: (metadata: GrpcMetadata) => void): unknown;
  on(event: "status", listener: (status: StatusObject) => void): unknown;
}

function listen(under: Told, { onHeaders, onTrailers }: ChannelCall<DescMethod>): void {
  if (onHeaders) under.on("metadata", (metadata) => onHeaders(fromGrpc(metadata)));
  if (onTrailers) under.on("status", ({ metadata }) => onTrailers(fromGrpc(metadata)));
}

function encode<M extends DescMethod>(method: M, request: MessageInitShape<M["input"]>, target: CallTarget): Buffer {
  const input: M["input"] = method.input;
  try {
    const { buffer, byteOffset, byteLength } = toBinary(input, create(input, request));
    return Buffer.from(buffer, byteOffset, byteLength);
  } catch (cause) {
    throw badCall(target, `its request is no ${input.typeName}: ${messageOf(cause)}`, cause);
  }
}

function decode<M extends DescMethod>(method: M, bytes: Buffer, target: CallTarget): MessageShape<M["output"]> {
  const output: M["output"] = method.output;
  try {
    return fromBinary(output, bytes);
  } catch (cause) {
    throw badReply(target, `what is no ${output.typeName}`, { cause });
  }
}
