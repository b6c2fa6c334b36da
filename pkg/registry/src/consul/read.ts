import { RegistryError } from "../errors.ts";
import {
  type BlockingAnswer,
  blockingParameters,
  type BlockingQuery,
  blockingTimeoutMs,
  parseIndex,
} from "./blocking.ts";
import type { ConsulAnswer } from "./http.ts";

/**
 * Which server may answer. `stale`: any, also without a leader, with what it has. `default`: the leader, which may be deposed and not
 * know it yet. `consistent`: the leader, once a majority has confirmed it.
 * @see https://developer.hashicorp.com/consul/api-docs/features/consistency
 */
export type ConsulConsistency = "stale" | "default" | "consistent";

export interface ConsulReadOptions {
  /** Waits while the index of the last answer is the newest: 1 or more. Default 0: an answer at once. */
  readonly index?: number | undefined;
  /** How long the agent may wait, in milliseconds, 1 to 600_000; it adds up to a sixteenth. Default 60_000. */
  readonly waitMs?: number | undefined;
  /** Default `stale`, for keys `default`. */
  readonly consistency?: ConsulConsistency | undefined;
  /** What entries must be like, in Consul's own language, as `"v2" in Service.Tags`. Default: all. */
  readonly filter?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How far an answer can be trusted. */
export interface ConsulReadAnswer extends BlockingAnswer {
  /** How long ago the server that answered had heard from the leader, in milliseconds, 0 from the leader; undefined when it did not say. */
  readonly lastContactMs: number | undefined;
  /** Whether that server knew of a leader; undefined when it did not say. */
  readonly knownLeader: boolean | undefined;
  /** True when the agent left out what the token may not read. Consul before 1.11 does not say so. */
  readonly filteredByAcls: boolean;
}

const defaultWaitMs = 60_000;

/** Query parameters of a read, and how long it may take. */
export function readRequest(
  { index = 0, waitMs = defaultWaitMs, consistency, filter }: ConsulReadOptions,
  requestTimeoutMs: number,
): { readonly query: Record<string, string>; readonly timeoutMs: number } {
  const blocking: BlockingQuery = { index, waitMs };
  return {
    query: {
      ...(consistency === undefined || consistency === "default" ? {} : { [consistency]: "" }),
      ...(filter === undefined ? {} : { filter }),
      ...blockingParameters(blocking),
    },
    timeoutMs: blockingTimeoutMs(blocking, requestTimeoutMs),
  };
}

export function parseRead(headers: ConsulAnswer["headers"]): ConsulReadAnswer {
  const contact = headers["x-consul-lastcontact"];
  const leader = headers["x-consul-knownleader"];
  return {
    index: parseIndex(headers["x-consul-index"]),
    lastContactMs: typeof contact === "string" && /^\d{1,15}$/.test(contact) ? Number(contact) : undefined,
    knownLeader: leader === "true" ? true : leader === "false" ? false : undefined,
    filteredByAcls: headers["x-consul-results-filtered-by-acls"] === "true",
  };
}

/**
 * For an answer that holds nothing: a token that may read none of it gets an empty list, which must not pass for the truth.
 * @throws {@link RegistryError} `ERR_REGISTRY_DENIED`
 */
export function requireSeen({ filteredByAcls }: ConsulReadAnswer, what: string): void {
  if (!filteredByAcls) return;
  const message = `the agent left out all ${what}, which the token may not read; it needs service:read and node:read`;
  throw new RegistryError("ERR_REGISTRY_DENIED", "permission_denied", message);
}

/**
 * Why an answer must be taken for stale: the server had no leader, or had not heard from it for longer than `maxStaleMs`.
 * @returns a {@link RegistryError} `ERR_REGISTRY_STALE`; undefined when the answer is as good as new.
 */
export function staleError(
  { lastContactMs = 0, knownLeader }: ConsulReadAnswer,
  what: string,
  maxStaleMs: number,
): RegistryError | undefined {
  const why =
    knownLeader === false
      ? "a server that knows no leader"
      : lastContactMs > maxStaleMs
        ? `a server that had not heard from the leader for ${lastContactMs} ms, more than consul.maxStaleMs`
        : undefined;
  if (why === undefined) return undefined;
  const message = `what is known of ${what} is from ${why}; look at the Consul servers`;
  return new RegistryError("ERR_REGISTRY_STALE", "unavailable", message);
}
