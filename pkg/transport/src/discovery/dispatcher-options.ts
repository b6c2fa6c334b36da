import type { Clock, Logger, Metrics } from "@plinth/kernel";
import type { InstanceFilter, Registry } from "@plinth/registry";
import type { Dispatcher } from "undici";
import type { ClientTls } from "../tls/client.ts";

/** What a host name in a URL means, where it is not simply the name of a service. */
export interface ServiceAlias {
  /** As it is registered. A URL has lower case alone, so names with capitals are reached by an alias. */
  readonly service: string;
  /** Which of its instances. Default: all that speak HTTP. */
  readonly filter?: InstanceFilter | undefined;
}

export interface ServiceDispatcherOptions {
  /** Tells who serves what. It stays open until the dispatcher is closed; closed before, what it told last is used on. */
  readonly registry: Pick<Registry, "watch">;
  /** Host names that mean something else than the service of that name. In lower case. Default none. */
  readonly services?: Readonly<Record<string, ServiceAlias>>;
  /** Services that are followed at once, from 1: the one not used for longest makes room, and where all are in use one more fails as `ERR_OVERLOADED`. Default 128. */
  readonly maxServices?: number;
  /** Connections to one instance, from 1; requests beyond wait for one. Default 64. */
  readonly maxConnections?: number;
  /** Requests under way to one service, waiting ones included, from 1; one more fails at once as `ERR_OVERLOADED`. Default 1_024. */
  readonly maxPending?: number;
  /** Instances that are tried for a request as long as nothing of it was sent, from 1. Default 3. */
  readonly maxTries?: number;
  /** How long the first request of a service waits for the registry's first answer, in milliseconds from 1. Default 3_000. */
  readonly firstAnswerMs?: number;
  /** Longest time for a connection to be made, in milliseconds from 1; looked at about twice a second. Default 1_000. */
  readonly connectTimeoutMs?: number;
  /** Longest wait for the head of a reply, in milliseconds; 0 is forever. A request may have its own. Default 30_000. */
  readonly headersTimeoutMs?: number;
  /** Longest pause within the body of a reply, in milliseconds; 0 is forever. A request may have its own. Default 30_000. */
  readonly bodyTimeoutMs?: number;
  /** Largest head of a reply, in bytes from 1. Default 16_384. */
  readonly maxHeadBytes?: number;
  /** Largest body of a reply as it comes over the wire, in bytes from 1. `Infinity`: none, as bodies are not kept here. Default `Infinity`. */
  readonly maxReplyBytes?: number;
  /** How long an idle connection is kept, in milliseconds from 1: less than the servers keep it. Default 4_000. */
  readonly keepAliveMs?: number;
  /** For URLs with `https`. The certificate has to be of the service's name, or of `serverName`. Default: Node's authorities. */
  readonly tls?: ClientTls;
  /** Told of new certificates in the files of `tls`. Absent: nobody is. */
  readonly log?: Logger;
  /** Has the metrics of certificates. Absent: nothing is counted. */
  readonly metrics?: Metrics;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Source of choice among instances, in [0, 1). Default `Math.random`. */
  readonly random?: () => number;
}

export const serviceDispatcherDefaults = Object.freeze({
  services: Object.freeze({}),
  maxServices: 128,
  maxConnections: 64,
  maxPending: 1_024,
  maxTries: 3,
  firstAnswerMs: 3_000,
  connectTimeoutMs: 1_000,
  headersTimeoutMs: 30_000,
  bodyTimeoutMs: 30_000,
  maxHeadBytes: 16_384,
  maxReplyBytes: Infinity,
  keepAliveMs: 4_000,
});

/** What the types of Node's own `fetch` take for a dispatcher: the same class, in a copy of its own. */
type FetchDispatcher = RequestInit extends { dispatcher?: infer D } ? NonNullable<D> : unknown;

/** Sends requests to instances of the service that the host of their URL names; for `fetch` and for all of undici. */
export type ServiceDispatcher = Dispatcher & Closable & FetchDispatcher;

interface Closable {
  /**
   * Takes no more requests, resolves when those under way have ended, and breaks off what is left when `signal` aborts. Safe to call twice.
   * @param options.signal - Default: never.
   */
  close(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}
