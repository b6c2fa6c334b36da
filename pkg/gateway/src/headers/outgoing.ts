import type { RequestHead } from "./request-head.ts";

/** What the gateway says about a caller it has authenticated. */
export interface Identity {
  readonly issuer: string;
  /** The token's `sub`. */
  readonly subject: string;
  readonly scopes: readonly string[];
}

/** An identity as header values, made once for each token. */
export interface IdentityHeaders {
  readonly subject: string;
  readonly scopes: string;
  readonly issuer: string;
  /** Of claims: name and value by turns. */
  readonly claims: readonly string[];
}

/** What the gateway adds to a request that it forwards. */
export interface Additions {
  /** Host for the service. */
  readonly host: string;
  /** Address of the client's socket; behind trusted proxies the list of who came before, with them at its end. */
  readonly forwardedFor: string;
  /** The host that the client asked for. */
  readonly forwardedHost: string;
  /** How the client came. */
  readonly scheme: "http" | "https";
  /** Value of Via: this gateway after whoever was there before. */
  readonly via: string;
  readonly requestId: string;
  readonly traceparent: string;
  /** Milliseconds left of the route's time; undefined when it has no limit. */
  readonly timeoutMs: number | undefined;
  /** Undefined on anonymous routes. */
  readonly identity: IdentityHeaders | undefined;
  /** The instance that it is for; undefined for one that does not look at that. */
  readonly instance: string | undefined;
  /** Authorization to pass on; undefined to keep it from the service. */
  readonly authorization: string | undefined;
}

/** Appends what services get from the gateway, and only from it: the client's copies are gone from `head.headers`. */
export function addForwardingHeaders(head: RequestHead, additions: Additions): string[] {
  const { headers } = head;
  const { identity, authorization, timeoutMs, instance } = additions;
  if (head.hasLength) headers.push("content-length", `${head.bodyLength}`);
  if (authorization !== undefined) headers.push("authorization", authorization);
  headers.push(
    "host",
    additions.host,
    "x-forwarded-for",
    additions.forwardedFor,
    "x-forwarded-proto",
    additions.scheme,
    "x-forwarded-host",
    additions.forwardedHost,
    "via",
    additions.via,
    "x-request-id",
    additions.requestId,
    "traceparent",
    additions.traceparent,
  );
  if (head.takesTrailers) headers.push("te", "trailers");
  if (instance !== undefined) headers.push("plinth-instance", instance);
  if (timeoutMs !== undefined) headers.push("plinth-timeout-ms", `${timeoutMs}`);
  if (identity) {
    headers.push(
      "plinth-subject",
      identity.subject,
      "plinth-scopes",
      identity.scopes,
      "plinth-issuer",
      identity.issuer,
      ...identity.claims,
    );
  }
  return headers;
}

/**
 * An identity as header values. What a header cannot hold, and `%`, is escaped as in a URL: `decodeURIComponent` gives the
 * value back. Ordinary names stay as they are.
 */
export function toIdentityHeaders(
  { issuer, subject, scopes }: Identity,
  claims: readonly string[] = [],
): IdentityHeaders {
  return { issuer: headerText(issuer), subject: headerText(subject), scopes: scopes.map(headerText).join(" "), claims };
}

/** A text as a header value, with what that cannot hold escaped as in a URL. */
export function headerText(text: string): string {
  return text.isWellFormed() ? text.replaceAll(/[^!-~]|%/gu, encodeURIComponent) : headerText(text.toWellFormed());
}
