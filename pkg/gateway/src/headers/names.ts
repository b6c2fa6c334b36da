/** What is done with a header of the client's request. */
export type Handling =
  | "pass"
  /** Never forwarded: of the connection, or a claim about the caller that only the gateway may make. */
  | "drop"
  | "host"
  | "connection"
  | "content-length"
  | "transfer-encoding"
  | "authorization"
  | "upgrade"
  | "expect"
  | "te"
  | "via";

/** Headers of one connection, never of the message. @see https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1 */
const hopByHop = [
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "alt-svc",
] as const;

/**
 * Claims about who the caller is, where it comes from or what it really asks for. Services believe them, so a client's copies
 * are deleted on every route. Beside these: all that begins with one of {@link claimPrefixes}, and every name with a `_`,
 * which many servers read as `-`.
 */
const claims = [
  "forwarded",
  "x-real-ip",
  "x-client-ip",
  "x-cluster-client-ip",
  "true-client-ip",
  "cf-connecting-ip",
  "fastly-client-ip",
  "x-http-method",
  "x-http-method-override",
  "x-method-override",
  "x-rewrite-url",
  "x-request-id",
  "traceparent",
  "tracestate",
  "baggage",
] as const;

const claimPrefixes = ["plinth-", "x-plinth-", "x-forwarded-", "x-original-"] as const;

const special: ReadonlyMap<string, Handling> = new Map<string, Handling>([
  ["host", "host"],
  ["connection", "connection"],
  ["content-length", "content-length"],
  ["transfer-encoding", "transfer-encoding"],
  ["authorization", "authorization"],
  ["upgrade", "upgrade"],
  ["expect", "expect"],
  ["te", "te"],
  ["via", "via"],
]);

const dropped: ReadonlySet<string> = new Set([...hopByHop, ...claims]);

/** Names seen so far as they were spelled. Bounded: junk names fill it once and are then worked out each time. */
const seen = new Map<string, Handling>();
const maxSeen = 2_048;

/** How a header of a client's request is treated, by its name in any case. */
export function handlingOf(name: string): Handling {
  const known = seen.get(name);
  if (known !== undefined) return known;
  const lower = name.toLowerCase();
  const handling = special.get(lower) ?? (isClaim(lower) ? "drop" : "pass");
  if (seen.size < maxSeen && name.length <= 64) seen.set(name, handling);
  return handling;
}

function isClaim(lower: string): boolean {
  return dropped.has(lower) || lower.includes("_") || claimPrefixes.some((prefix) => lower.startsWith(prefix));
}

const notForClients: ReadonlySet<string> = new Set([...hopByHop, "x-request-id"]);

/** Whether a header of a service's reply reaches the client. @param name - Lower case. */
export function isForClient(name: string): boolean {
  return !notForClients.has(name);
}

/** Fields that say how a reply is to be framed, taken, kept or shown: they come ahead of it or not at all. RFC 9110, 6.5.1. */
const notInTrailers: ReadonlySet<string> = new Set([
  "age",
  "authorization",
  "cache-control",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "date",
  "expires",
  "host",
  "location",
  "retry-after",
  "set-cookie",
  "strict-transport-security",
  "vary",
  "www-authenticate",
]);

/** Whether a field behind the body of a service's reply reaches the client. @param name - Lower case. */
export function isTrailerForClient(name: string): boolean {
  return isForClient(name) && !notInTrailers.has(name);
}

/** Lower-case names in Connection, of headers that end with this connection as well. */
export function connectionTokens(value: string): readonly string[] {
  if (value === "keep-alive" || value === "close") return none;
  return value
    .toLowerCase()
    .split(",")
    .map((token) => token.trim())
    .filter((token) => token !== "" && token !== "keep-alive" && token !== "close");
}

const none: readonly string[] = Object.freeze([]);
