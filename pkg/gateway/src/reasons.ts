import { entry, type ReasonEntry } from "./reason-entry.ts";

export type { ReasonEntry };

/**
 * Every reason there is: the same word in reply, access log, metric and span. Words are stable; texts may change.
 * `docs/reasons.md` is made from this table.
 */
export const reasons = Object.freeze({
  malformed_request: entry(
    400,
    "the request is not well-formed HTTP/1.1",
    "The bytes or headers of the request break the protocol. Look for a broken client, or somebody probing.",
    { closes: true },
  ),
  invalid_host: entry(
    400,
    "there must be exactly one valid Host",
    "Host is missing, repeated, empty or malformed, or differs from an absolute target.",
    { closes: true },
  ),
  invalid_target: entry(
    400,
    "the path cannot be read in one way only",
    "The path holds an escaped slash, a malformed escape or something else that servers read differently.",
  ),
  duplicate_authorization: entry(
    400,
    "there must be at most one Authorization header",
    "More than one Authorization header arrived; taking any one of them would be a guess.",
  ),
  token_ambiguous: entry(
    400,
    "there must be one token in one place",
    "The place that the route's `auth.tokenFrom` names holds two tokens, or there is one in Authorization as well; taking any one of them would be a guess.",
  ),
  target_too_long: entry(414, "the request target is too long", "The request target has more than 8192 characters.", {
    closes: true,
  }),
  headers_too_large: entry(
    431,
    "the request header fields are too large or too many",
    "The request head is larger than `gateway.maxHeaderBytes`, or has more lines than `gateway.maxHeaderLines`.",
    { closes: true },
  ),
  body_too_large: entry(413, "the request body is too large", "The body is larger than the route's `maxBodyBytes`.", {
    closes: true,
  }),
  request_timeout: entry(
    408,
    "the request took too long to arrive",
    "Head or body did not arrive within `gateway.headersTimeoutMs` or `gateway.requestTimeoutMs`.",
    { closes: true },
  ),
  body_too_slow: entry(
    408,
    "the request body came too slowly",
    "The body came more slowly than `gateway.minBodyRateBytesPerS`. Look for a client on a bad line, or one that holds requests open on purpose.",
    { closes: true },
  ),
  expectation_failed: entry(417, "the expectation cannot be met", "Expect holds something other than 100-continue."),
  coding_unsupported: entry(
    501,
    "the transfer coding is not supported",
    "Transfer-Encoding holds something other than the one word chunked.",
    { closes: true },
  ),
  upgrade_unsupported: entry(
    501,
    "the protocol cannot be changed to that here",
    "The client asked to change the protocol: to another than WebSocket, or where the route has no `websocket`, or not by a GET without a body after all earlier replies.",
  ),
  grpc_unsupported: entry(
    501,
    "the service is not called by gRPC",
    "A call of gRPC came by a route to a service without `protocol: http2`.",
  ),
  media_unsupported: entry(
    415,
    "the body must be application/json, in UTF-8 and not compressed",
    "A route with `grpc` takes JSON, or bytes where the method does: the request has another content-type, a content-encoding, or is a call of gRPC itself.",
  ),
  message_invalid: entry(
    400,
    "the request does not fit what the method takes",
    "On a route with `grpc` the path, the query or the body does not fit the method's contract: the reply's `detail` names the field.",
  ),
  websockets_full: entry(
    503,
    "too many WebSockets are open",
    "As many WebSockets of the route are open as its `websocket.maxConnections` allows in one process.",
    { retryable: true },
  ),
  origin_refused: entry(
    403,
    "pages of this origin may not open a WebSocket here",
    "Origin names a page that is not among the route's `websocket.origins`.",
  ),
  websocket_idle: entry(
    408,
    "nothing came for too long",
    "Nothing came from either side of an open WebSocket for the route's `websocket.idleTimeoutMs`, or one did not take what came; it was closed. The access log shows 101.",
  ),
  loop_detected: entry(
    508,
    "the request has come through this gateway before",
    "Via names this process: a route leads back to the gateway.",
  ),
  route_not_found: entry(404, "there is no route for this path", "No route matches host and path."),
  method_not_allowed: entry(
    405,
    "the method is not allowed for this path",
    "Routes match the path, but none takes the method.",
  ),
  address_refused: entry(
    403,
    "requests from this address are not taken",
    "The client's address is in `addresses.deny`, or not in `addresses.allow`, of the route or the document.",
  ),
  cors_refused: entry(
    403,
    "pages of this origin may not send such a request here",
    "A browser asked first (a preflight), and the route's `cors` does not allow the origin, the method or a header.",
  ),
  header_invalid: entry(
    400,
    "a header that this route needs cannot be made of the request",
    "A value of the route's `headers`, such as a claim of the token, holds a line break, NUL or another control character, or more than 4096 characters.",
  ),
  token_missing: entry(401, "a bearer token is required", "The route needs a token and none came."),
  token_invalid: entry(
    401,
    "the bearer token is not valid",
    "The token is malformed, not signed by a known key, or has a claim that is not accepted; the access log's `auth` field tells which.",
  ),
  token_expired: entry(401, "the bearer token has expired", "The token's `exp` is more than the clock skew ago."),
  scope_missing: entry(
    403,
    "the token lacks a scope that is needed",
    "The token is valid but has not all of the route's scopes, or not one of `scopes.any`.",
  ),
  role_missing: entry(
    403,
    "the caller lacks a role that is needed",
    "The token is valid but the provider's `rolesClaim` does not hold the route's `auth.roles`.",
  ),
  claim_refused: entry(
    403,
    "the caller may not do this",
    "The token is valid but its claims do not meet the route's rule `auth.claims`.",
  ),
  claim_unusable: entry(
    500,
    "who calls cannot be passed on to the service",
    "A claim that the provider's `headers` name is no text, number, boolean or list of those, holds control characters or is too long; the access log's `auth` field has the header's name.",
  ),
  keys_unavailable: entry(
    503,
    "tokens cannot be checked right now",
    "No key set could be fetched from the issuer yet; see the log for why.",
    { retryable: true },
  ),
  auth_unavailable: entry(
    503,
    "tokens cannot be checked right now",
    "The service Auth did not say in time whether the token is active; the access log's `auth` field has the code of the client's error.",
    { retryable: true },
  ),
  permission_denied: entry(
    403,
    "the caller may not do this",
    "The token is valid but Authz, asked by the route's `auth.authorize`, does not permit it, or the path's segment can be no resource's id.",
  ),
  authz_unavailable: entry(
    503,
    "permissions cannot be checked right now",
    "The service Authz did not answer in time; the access log's `auth` field has the code of the client's error.",
    { retryable: true },
  ),
  rate_limited: entry(429, "too many requests", "The caller has used up the route's rate limit.", { retryable: true }),
  concurrency_limited: entry(
    503,
    "too many requests are under way",
    "As many requests of the route are under way as its `concurrency.maxInFlight` allows, and no place came free in time.",
    { retryable: true },
  ),
  gateway_overloaded: entry(
    503,
    "the gateway has too much to do",
    "The event loop runs later than `gateway.maxLoopDelayMs` allows for routes of this `importance`, or more of the heap is in use than `gateway.maxHeapRatio`: the log tells of that.",
    { retryable: true },
  ),
  limits_unavailable: entry(
    503,
    "limits cannot be checked right now",
    "The store that gateways share counts in does not answer, and a limit of the route has `onStoreFailure: closed`.",
    { retryable: true },
  ),
  no_instance: entry(
    503,
    "the service is not available",
    "The registry knows no instance of the service that speaks HTTP.",
    { retryable: true },
  ),
  breaker_open: entry(
    503,
    "the service fails too often",
    "Too many requests of the route have failed at each instance of the service, and its `breaker` lets none through for now; Retry-After tells when it will.",
    { retryable: true },
  ),
  instances_busy: entry(
    503,
    "the service is too busy",
    "Every connection that the gateway may open to the instance is in use, the instance refuses another stream of HTTP/2, or to all of them where the service has `caps`, and no place came free in time.",
    { retryable: true },
  ),
  upstream_unreachable: entry(
    502,
    "the service could not be reached",
    "Connecting to the instance failed, on another try as well if there was one.",
    { retryable: true },
  ),
  upstream_misdirected: entry(
    502,
    "the service could not be reached",
    "Another instance answers at the address that the registry gave, and refused, as did what was tried besides; or the body of the request was on its way. The registry takes such an entry out when its checks fail.",
    { retryable: true },
  ),
  upstream_untrusted: entry(
    502,
    "the service could not be verified",
    "TLS with the instance failed: its certificate has expired, is of another name or of an authority that is not trusted, or it does not take the gateway's. See the service's `tls`.",
  ),
  upstream_connect_timeout: entry(
    504,
    "the service could not be reached in time",
    "The instance did not accept a connection within `gateway.upstream.connectTimeoutMs`.",
    { retryable: true },
  ),
  upstream_timeout: entry(
    504,
    "the service did not answer in time",
    "The instance sent no reply head within `gateway.upstream.headersTimeoutMs`.",
    { retryable: true },
  ),
  upstream_reset: entry(
    502,
    "the service broke off the connection",
    "The instance closed or reset the connection before it replied.",
    { retryable: true },
  ),
  upstream_invalid: entry(
    502,
    "the service sent an invalid reply",
    "What the instance sent is no valid reply of HTTP; or, on a route with `grpc`, none that fits its descriptors and `maxReplyBytes`.",
    { retryable: true },
  ),
  deadline_exceeded: entry(
    504,
    "the request took longer than allowed",
    "The route's `timeoutMs` passed before the instance replied.",
    { retryable: true },
  ),
  reply_cut_off: entry(
    502,
    "the service broke off its reply",
    "The instance failed in the middle of a reply; the client's connection was reset so that it cannot take it for complete.",
  ),
  reply_stalled: entry(
    504,
    "the service stopped sending",
    "The instance sent nothing for `gateway.upstream.bodyGapMs` in the middle of a reply, or `timeoutMs` passed; the client's connection was reset.",
  ),
  reply_untaken: entry(
    408,
    "the reply was not taken fast enough",
    "The client took the reply more slowly than `gateway.minReplyRateBytesPerS`; its connection was reset.",
  ),
  client_gone: entry(
    499,
    "the client has gone",
    "The client closed its connection before the reply was complete. Nobody saw this status.",
  ),
  gateway_stopped: entry(
    503,
    "the gateway is stopping",
    "The request was still unanswered at the end of the drain and was cut off, a call of gRPC with UNAVAILABLE; or a WebSocket was open when the drain began, and was closed.",
  ),
  gateway_error: entry(
    500,
    "the gateway failed at this",
    "A fault in the gateway itself; the error bus and the log have it.",
  ),
} satisfies Record<string, ReasonEntry>);

export type Reason = keyof typeof reasons;

/** Why a plugin refused: its name, a dot, and its own word. None of ours has a dot. */
export type PluginReasonName = `${string}.${string}`;

export function reasonOf(reason: Reason): ReasonEntry {
  return reasons[reason];
}

export function pluginReasonOf(plugin: string, reason: string): PluginReasonName {
  return `${plugin}.${reason}`;
}

/** What the access log shows of a request that ended so without a whole reply. @param replied - Status that had gone out, which is that of a plugin's reason. */
export function statusOf(reason: Reason | PluginReasonName, replied: number): number {
  return isOwn(reason) ? reasons[reason].status : replied;
}

function isOwn(reason: string): reason is Reason {
  return Object.hasOwn(reasons, reason);
}
