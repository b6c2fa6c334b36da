import type { Clock, Logger, Metrics, Tracing } from "@plinth/kernel";
import type { InstanceFilter, Registry } from "@plinth/registry";
import type { ClientTls } from "../../tls/client.ts";

export interface ConnectChannelOptions {
  /** Who is called, from a small fixed set: the name of a service, never an address. */
  readonly peer: string;
  /** Where it is: `http` or `https`, host and port, and a path that stands before those of the methods, if any. This, or {@link registry}. */
  readonly url?: string | URL;
  /** Tells who serves {@link service}: calls go to the less loaded of its instances, by `https` where `tls` is given. It outlives the channel. */
  readonly registry?: Pick<Registry, "watch">;
  /** With `registry`: the service, as it is registered. Default `peer`. */
  readonly service?: string;
  /** With `registry`: which instances. Default: all that speak HTTP. */
  readonly filter?: InstanceFilter | undefined;
  /** How messages are written: `proto` is smaller and cheaper, `json` can be read on the way. Default `proto`. */
  readonly codec?: "proto" | "json";
  /** Calls methods without side effects by GET, which caches on the way understand; by POST where the URL would be too long. Default false. */
  readonly useGet?: boolean;
  /** Takes replies that are compressed by gzip. Default false: it costs more than it saves between neighbours. */
  readonly acceptGzip?: boolean;
  /**
   * Messages sent that have at least so many bytes are compressed by gzip, from 1: for long ways, not between neighbours. The service must be
   * able to read them, as those of Plinth are; others answer `unimplemented`. Limits of either side are of the message as it is uncompressed.
   * Default `Infinity`: none.
   */
  readonly gzipFromBytes?: number;
  /** Largest request, in bytes from 1. Default 4_194_304. */
  readonly maxRequestBytes?: number;
  /** Largest reply, or message of a stream, inflated, in bytes from 1. Default 4_194_304. */
  readonly maxReplyBytes?: number;
  /** Connections at most, with `registry` to each instance, from 1; each has one call at a time, a stream until its end, and more calls wait for one. Default 64. */
  readonly maxConnections?: number;
  /** Calls under way at most, waiting ones included, from 1; one more fails at once as `ERR_OVERLOADED`. Default 1_024. */
  readonly maxPending?: number;
  /** Longest time for a connection to be made, in milliseconds from 1; looked at about twice a second. Default 1_000. */
  readonly connectTimeoutMs?: number;
  /** How long an idle connection is kept, in milliseconds from 1: less than the server keeps it. Default 4_000. */
  readonly keepAliveMs?: number;
  /** For `https`. Default: Node's authorities, and no certificate of our own. */
  readonly tls?: ClientTls;
  /** Told of new certificates in the files of `tls`, and of those that cannot be used. Absent: the metrics alone are. */
  readonly log?: Logger;
  /** Has `http_client_request_duration_seconds` of this peer. Absent: nothing is counted. */
  readonly metrics?: Metrics;
  /** Makes the spans of calls. Default: what made that of the request being served. */
  readonly tracing?: Tracing;
  /** Default: the system's. */
  readonly clock?: Clock;
}

export const connectChannelDefaults = Object.freeze({
  codec: "proto",
  useGet: false,
  acceptGzip: false,
  gzipFromBytes: Infinity,
  maxRequestBytes: 4_194_304,
  maxReplyBytes: 4_194_304,
  maxConnections: 64,
  maxPending: 1_024,
  connectTimeoutMs: 1_000,
  keepAliveMs: 4_000,
});
