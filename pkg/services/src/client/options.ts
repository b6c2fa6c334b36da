import type { DescMethod } from "@bufbuild/protobuf";
import type { Clock, Logger, Metrics, Tracing } from "@plinth/kernel";
import type { InstanceFilter, Registry } from "@plinth/registry";
import type {
  BalancerOptions,
  BreakerOptions,
  HedgingOptions,
  RetryBudgetOptions,
  RetryOptions,
} from "@plinth/resilience";
import type { ClientTls, RpcChannel, RpcMetadata } from "@plinth/transport";
import type { ChannelDescription } from "./describe.ts";

/** What carries the messages: `grpc` over HTTP/2; `http` by the Connect protocol over HTTP/1.1. */
export type ServiceTransport = "grpc" | "http";

/** Where the instances of a service are: told by a registry, a fixed list of `host:port`, or one URL. */
export type FindInstances =
  | { readonly registry: Pick<Registry, "watch"> }
  | { readonly addresses: readonly string[] }
  | {
      /** `http` or `https`, host and port; over `http` also a path that stands before those of the methods. `https` without `tls` trusts Node's authorities. */
      readonly url: string | URL;
    };

/** One call, as whoever adds to its headers is told of it. */
export interface CredentialCall {
  /** Name of the service that is called. */
  readonly service: string;
  readonly method: DescMethod;
  /** Aborts when nobody waits for the call any more. */
  readonly signal: AbortSignal;
}

/** Adds to the headers of calls what says who calls. */
export interface CallCredentials {
  /** Headers for one call; they replace its own of the same name. The call fails as this does. */
  headers(call: CredentialCall): RpcMetadata | Promise<RpcMetadata>;
  /** Told when the service refused a call as `unauthenticated` that went with these headers. */
  refused?(headers: RpcMetadata): void;
}

/** How {@link createBalancedChannel} finds the instances of a service, and calls them. */
export interface BalancedChannelOptions {
  /** Who is called, as it is registered. It names the service in errors, metrics and spans too. */
  readonly service: string;
  readonly find: FindInstances;
  /** Default `grpc`. */
  readonly transport?: ServiceTransport | undefined;
  /**
   * Longest time for a call with one reply, in milliseconds above 0, all its attempts together; never more than its client gives it.
   * Default: what its client gives it, and 2_000 where that is `Infinity`.
   */
  readonly timeoutMs?: number | undefined;
  /** Kept back of the caller's time for the way back, in milliseconds from 0: an instance is told that it has so much less. Default 5. */
  readonly marginMs?: number | undefined;
  /** Longest time for one attempt of an idempotent call, in milliseconds from 1, so that there is time for another. Default `Infinity`. */
  readonly attemptTimeoutMs?: number | undefined;
  /** When a call is tried again, by its method's `idempotency_level`; `false`: never. A `budget` in it takes the place of {@link budget}. */
  readonly retries?: RetryOptions | false | undefined;
  /** How much of the traffic may be repeated, by retries and hedges together. */
  readonly budget?: Omit<RetryBudgetOptions, "clock"> | undefined;
  /** Sends slow calls of idempotent methods to a second instance. Default false. */
  readonly hedging?: Omit<HedgingOptions, "budget" | "clock"> | false | undefined;
  /** When a method is not called at an instance for a while; `false`: never. */
  readonly breaker?: Omit<BreakerOptions, "clock"> | false | undefined;
  /** How the instance for a call is chosen, and when one is left out. */
  readonly balancing?: Omit<BalancerOptions, "clock" | "random" | "zone"> | undefined;
  /** Gives the key of a call for the policy `consistent-hash`. Default: the header `plinth-key`. */
  readonly keyOf?:
    | ((call: { readonly method: DescMethod; readonly headers: RpcMetadata }) => string | undefined)
    | undefined;
  /** Calls go to so many instances of a large fleet, from 1. Default `Infinity`: all. */
  readonly subsetSize?: number | undefined;
  /** Who calls, unique for each process: decides which subset it is. Default: random. */
  readonly clientId?: string | undefined;
  /** The zone that we are in: its instances come first. Default: all zones are one. */
  readonly zone?: string | undefined;
  /** With a registry: which instances. Default: all that speak the transport. */
  readonly filter?: InstanceFilter | undefined;
  /** How long the first call waits for the registry's first answer, in milliseconds from 1. Default 3_000. */
  readonly firstAnswerMs?: number | undefined;
  /** Calls under way at one time, from 1, streams included; more wait. Default 1_024. */
  readonly maxInFlight?: number | undefined;
  /** Calls that wait for a place at most, from 0; one more fails at once as `ERR_OVERLOADED`. Default 1_024. */
  readonly maxQueue?: number | undefined;
  /** Encrypts the connections. Default: they are not, but for a URL of `https`. `{}` trusts Node's authorities. */
  readonly tls?: ClientTls | undefined;
  /** Over `http`: how messages are written. Default `proto`. */
  readonly codec?: "proto" | "json" | undefined;
  /** Over `http`: takes replies that are compressed by gzip. Default false: it costs more than it saves between neighbours. */
  readonly compression?: boolean | undefined;
  /**
   * Messages sent that have at least so many bytes are compressed by gzip, from 1: for long ways, not between neighbours. The service must be
   * able to read them, as those of Plinth are. The limits of either side are of what they are uncompressed. Default `Infinity`: none.
   */
  readonly gzipFromBytes?: number | undefined;
  /** Largest message sent, in bytes from 1. Default 4_194_304. */
  readonly maxRequestBytes?: number | undefined;
  /** Largest message received, inflated, in bytes from 1. Default 4_194_304. */
  readonly maxReplyBytes?: number | undefined;
  /** Says who calls. Those given later replace headers of those given earlier. Default none. */
  readonly credentials?: CallCredentials | readonly CallCredentials[] | undefined;
  /** Default: the system's. */
  readonly clock?: Clock | undefined;
  /** Source of choice and jitter, in [0, 1). Default `Math.random`. */
  readonly random?: (() => number) | undefined;
  /** Has the calls and attempts of this channel, and what its connections count. Absent: nothing is counted. */
  readonly metrics?: Metrics | undefined;
  /** Makes a span of each attempt. Default: what made that of the request being served. */
  readonly tracing?: Tracing | undefined;
  /** Told of attempts that are made again, at `debug`, and of what goes wrong apart from calls. Absent: nobody is. */
  readonly log?: Logger | undefined;
}

/** Calls a service at whichever of its instances is best, and again at another where that is safe. */
export interface BalancedChannel extends RpcChannel {
  /** What it knows and does now, for operators: plain data, without secrets. */
  describe(): ChannelDescription;
}
