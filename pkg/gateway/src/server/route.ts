import type { ConcurrencyCap, RateLimiter } from "@plinth/resilience";
import type { RemoteAuth } from "../auth/remote-auth.ts";
import type { Requirement } from "../auth/requirement.ts";
import type { TokenSource } from "../auth/token-source.ts";
import type { CompressionRules } from "../config/schema-compression.ts";
import type { Importance } from "../config/schema-limits.ts";
import type { HeaderRules } from "../headers/rules.ts";
import type { RouteLimits } from "../limits/route-limits.ts";
import { canonicalPath } from "../path.ts";
import type { ServicePool } from "../upstream/service-pool.ts";
import type { WebSocketLimits } from "../config/schema-websocket.ts";
import type { Backends } from "./backends.ts";
import type { DeadlineList } from "./deadlines.ts";
import type { Edge } from "./edge.ts";
import type { PluginChains } from "../plugins/open-plugins.ts";
import type { HedgingPolicy } from "./hedges.ts";
import type { RetryPolicy } from "./retry-policy.ts";

/** What a route asks of a token, and what becomes of that. */
export interface RouteAuth {
  readonly requirement: Requirement;
  /** Undefined: the Authorization header. */
  readonly source: TokenSource | undefined;
  readonly forwardToken: boolean;
  /** Undefined: nobody else is asked. */
  readonly remote: RemoteAuth | undefined;
}

/** A route with everything worked out that does not depend on the request. */
export interface Route {
  readonly name: string;
  readonly pool: ServicePool;
  /** Undefined: anybody may call it. */
  readonly auth: RouteAuth | undefined;
  readonly limits: RouteLimits | undefined;
  /** They come before Auth is asked who calls: made-up tokens cost it no more questions than the limits let through. */
  readonly limitsFirst: boolean;
  /** Undefined: as many at one time as come. */
  readonly cap: ConcurrencyCap | undefined;
  readonly importance: Importance;
  /** Undefined: no limit on its time. */
  readonly deadlines: DeadlineList | undefined;
  readonly maxBodyBytes: number;
  /** Longest pause within the body of a reply, in milliseconds; undefined for that of all routes. */
  readonly bodyGapMs: number | undefined;
  /** Undefined: sent again only where nothing has reached an instance. */
  readonly retries: RetryPolicy | undefined;
  /** Undefined: one instance at a time. */
  readonly hedging: HedgingPolicy | undefined;
  /** Undefined: no WebSocket is opened. */
  readonly webSocket: WebSocketLimits | undefined;
  /** What stands in place of the prefix, without a slash at its end. */
  readonly rewritePrefix: string | undefined;
  /** Host for the service; undefined: the client's. */
  readonly hostHeader: string | undefined;
  /** Those that share its requests; undefined: its own pool has them all. */
  readonly backends?: Backends | undefined;
  /** Who is let in, and what replies say to browsers; undefined: everybody, and nothing. */
  readonly edge: Edge | undefined;
  /** Undefined: no plugin is asked, and none sees the reply. */
  readonly plugins: PluginChains | undefined;
  /** Undefined: replies go as they are. */
  readonly compression: CompressionRules | undefined;
  readonly requestRules: HeaderRules | undefined;
  readonly replyRules: HeaderRules | undefined;
}

/**
 * The path that the service gets.
 * @param prefixSegments - Segments that the rewrite replaces.
 * @returns Undefined when the result would not be canonical: then a later stage would see another path than was authorised.
 */
export function rewritePath(path: string, prefixSegments: number, replacement: string): string | undefined {
  let from = 0;
  for (let segment = 0; segment < prefixSegments; segment++) {
    const next = path.indexOf("/", from + 1);
    from = next < 0 ? path.length : next;
  }
  const rewritten = `${replacement}${path.slice(from)}` || "/";
  return canonicalPath(rewritten) === rewritten ? rewritten : undefined;
}

/** An item of the RateLimit-Policy field. @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/ */
export function policyHeader(name: string, { limit, windowMs }: Pick<RateLimiter, "limit" | "windowMs">): string {
  return `"${name}";q=${limit};w=${Math.ceil(windowMs / 1e3)}`;
}

/** Who a limit by address counts: an IPv4 address, or the /64 that an IPv6 customer has to itself. */
export function addressKey(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", tail = ""] = address.replace(/%.*$/, "").split("::", 2);
  const left = head === "" ? [] : head.split(":");
  const right = tail === "" ? [] : tail.split(":");
  const zeros = address.includes("::") ? Math.max(0, 8 - left.length - right.length) : 0;
  const groups = [...left, ...Array.from({ length: zeros }, () => "0"), ...right];
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":");
}

/** The address of a socket, an IPv4 address in IPv6 form as plain IPv4. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return "unknown";
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}
