import type { Clock, Logger, Metrics, Tracing } from "@plinth/kernel";
import type { InstanceFilter, Registry } from "@plinth/registry";
import type { ClientTls } from "../../tls/client.ts";

export interface GrpcChannelOptions {
  /** Who is called, from a small fixed set: the name of a service, never an address. */
  readonly peer: string;
  /** Where it is: `host:port`, `[::1]:port`, `unix:/path`, or `plinth:///service`. This, or {@link registry}. */
  readonly address?: string;
  /** Tells who serves {@link service}: calls go to the less loaded of its instances, by weight. It outlives the channel. */
  readonly registry?: Pick<Registry, "watch">;
  /** With `registry`: the service, as it is registered. Default `peer`. */
  readonly service?: string;
  /** With `registry`: which instances. Default: all that speak gRPC. */
  readonly filter?: InstanceFilter | undefined;
  /** Calls wait for an instance, and for a connection, as long as they have time, where they would fail as unavailable. Default false. */
  readonly waitForReady?: boolean;
  /** Encrypts the connection. Default: it is not. `{}` trusts Node's authorities. */
  readonly tls?: ClientTls;
  /** Largest message received, in bytes from 1. Default 4_194_304. */
  readonly maxReplyBytes?: number;
  /** Largest message sent, in bytes from 1. Default 4_194_304. */
  readonly maxRequestBytes?: number;
  /**
   * Messages sent that have at least so many bytes are compressed by gzip, from 1: for long ways, not between neighbours. The service must be
   * able to read them, as those of Plinth are; others answer `unimplemented`. Limits of either side are of the message as it is uncompressed.
   * Default `Infinity`: none.
   */
  readonly gzipFromBytes?: number;
  /** Calls under way at most, from 1; one more fails at once as `ERR_OVERLOADED`. Default 1_024. */
  readonly maxPending?: number;
  /** A connection with calls on it is asked this often whether it lives, in milliseconds from 1_000. Default 30_000. */
  readonly keepAliveMs?: number;
  /** Without an answer for so long, it is given up, in milliseconds from 1. Default 10_000. */
  readonly keepAliveTimeoutMs?: number;
  /** The first wait before a connection is tried again, in milliseconds from 1; calls fail meanwhile. Default 100. */
  readonly minReconnectMs?: number;
  /** No wait between two tries grows past this, in milliseconds from 1. Default 2_000. */
  readonly maxReconnectMs?: number;
  /** Told of new certificates in the files of `tls`, and of those that cannot be used. Absent: the metrics alone are. */
  readonly log?: Logger;
  /** Has `grpc_client_call_duration_seconds` of this peer. Absent: nothing is counted. */
  readonly metrics?: Metrics;
  /** Makes the spans of calls. Default: what made that of the request being served. */
  readonly tracing?: Tracing;
  /** Default: the system's. */
  readonly clock?: Clock;
}

export const grpcChannelDefaults = Object.freeze({
  maxReplyBytes: 4_194_304,
  maxRequestBytes: 4_194_304,
  gzipFromBytes: Infinity,
  maxPending: 1_024,
  keepAliveMs: 30_000,
  keepAliveTimeoutMs: 10_000,
  minReconnectMs: 100,
  maxReconnectMs: 2_000,
  waitForReady: false,
});
