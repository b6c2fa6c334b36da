import { bearerToken, type Revocations } from "@plinth/transport/jwt";
import { matchersOf } from "../config/schema-routing.ts";
import { toWebSocketLimits } from "../config/schema-websocket.ts";
import type { ServiceConfig } from "../config/schema-services.ts";
import type { ParsedDocument, RouteConfig } from "../config/schema.ts";
import { TokenSource } from "../auth/token-source.ts";
import { addForwardingHeaders } from "../headers/outgoing.ts";
import { handlingOf } from "../headers/names.ts";
import { readRequestHead, type RequestHead } from "../headers/request-head.ts";
import { edit, fillRules, toHeaderRules } from "../headers/rules.ts";
import { type Reason, reasonOf } from "../reasons.ts";
import { createRouteTable } from "../router/route-table.ts";
import { AddressRules } from "../server/edge.ts";
import { forwardedPath } from "../server/forwarded-path.ts";
import { type AuthExplanation, explainCaller } from "./auth.ts";
import type { PluginStage } from "../plugins/define.ts";
import { pluginsOf } from "./plugins.ts";
import { toRaw } from "./raw-request.ts";
import { type ConfiguredEntry, type LostRoute, lostRoutes } from "./lost.ts";

/** A request that nobody has sent. */
export interface ExplainedRequest {
  readonly method: string;
  /** A path, or a URL with `http` or `https`; exactly as it would be sent. */
  readonly url: string;
  /** Names and values. Host is that of the URL, or `localhost`, where it is not among them. */
  readonly headers?: readonly (readonly [name: string, value: string])[];
  /** The client's address, which lists of addresses look at. Default 127.0.0.1. */
  readonly from?: string | undefined;
  /** Those of the gateway, for the order in which they are asked. Default: not known, and none is told. */
  readonly plugins?: readonly PluginPlace[] | undefined;
  /** Those of the gateway. Default: not known, and a token is not looked for among them. */
  readonly revocations?: Pick<Revocations, "revokes"> | undefined;
  /** Milliseconds since the Unix epoch: whether a token has expired. */
  readonly nowMs: number;
}

/** What a gateway with a document would do with a request. */
export interface Explanation {
  readonly request: {
    readonly method: string;
    readonly host: string | undefined;
    /** Canonical: what it is matched, authorised, rewritten and forwarded by. */
    readonly path: string | undefined;
    readonly query: string;
  };
  readonly outcome: Outcome;
  /** Undefined when no route was found. */
  readonly route: RouteExplanation | undefined;
  /** Routes whose path fits, and what was against each. */
  readonly lost: readonly LostRoute[];
  /** Patterns whose path does not fit. */
  readonly otherPaths: number;
  readonly auth: AuthExplanation | undefined;
  readonly forwarded: Forwarded | undefined;
}

/** The last thing that happens here. */
export type Outcome =
  | { readonly kind: "forward" }
  | { readonly kind: "redirect"; readonly status: 308; readonly location: string }
  | { readonly kind: "refuse"; readonly status: number; readonly reason: Reason; readonly detail: string };

export interface RouteExplanation {
  readonly name: string;
  readonly pattern: string;
  readonly service: string;
  /** Those that share its requests, where there are several. */
  readonly backends: RouteConfig["backends"];
  readonly priority: number;
  /** In ms; 0: none. */
  readonly timeoutMs: number;
  readonly maxBodyBytes: number;
  /** What the document says of the service, and so of whom its requests go to; undefined where it says nothing. */
  readonly serviceSettings: ServiceConfig | undefined;
  readonly retries: RouteConfig["retries"];
  readonly hedging: RouteConfig["hedging"];
  readonly websocket: RouteConfig["websocket"];
  readonly limits: readonly LimitExplanation[];
  /** In the order in which they are asked. What they would say is not known here. */
  readonly plugins: readonly PluginPlace[];
}

/** A plugin that is asked about the request; stage and order are undefined where the program does not know it. */
export interface PluginPlace {
  readonly name: string;
  readonly stage?: PluginStage | undefined;
  readonly order?: number | undefined;
}

export interface LimitExplanation {
  readonly name: string;
  readonly limit: number;
  readonly windowMs: number;
  readonly cost: number;
  readonly by: unknown;
  readonly shadow: boolean;
}

/** What the service gets. */
export interface Forwarded {
  readonly service: string;
  /** Path and query. */
  readonly target: string;
  readonly removed: readonly { readonly name: string; readonly why: string }[];
  readonly added: readonly { readonly name: string; readonly value: string }[];
}

/** As many header lines as a gateway takes unless its settings say otherwise. */
const maxHeaderLines = 80;

/**
 * Tells what a gateway would do with a request, step by step, without one: no service, key or store is asked, nothing is counted.
 * It says which route wins and why others lose, the path and the headers that the service gets, and what a token meets but for its
 * signature.
 */
export function explainRequest(document: ParsedDocument, request: ExplainedRequest): Explanation {
  const { method } = request;
  const raw = toRaw(request);
  const head = readRequestHead(raw, maxHeaderLines);
  if ("reason" in head) {
    const from = { method, host: undefined, path: undefined, query: "" };
    const outcome = refuse(head.reason, head.detail);
    return { request: from, outcome, route: undefined, lost: [], otherPaths: 0, auth: undefined, forwarded: undefined };
  }
  const { from = "127.0.0.1" } = request;
  const entries = document.routes.flatMap((route): ConfiguredEntry[] =>
    matchersOf(route, () => undefined).map((matcher) => ({ ...matcher, route })),
  );
  const { hostName: host, path, query } = head;
  const found = createRouteTable(entries, document).table.find(host, method, path, head);
  const hit = found !== undefined && "route" in found ? found : undefined;
  const winner = hit && entries.find(({ route, pattern }) => route === hit.route && pattern.text === hit.template);
  const common = {
    request: { method, host, path, query },
    ...lostRoutes(entries, { host, method, path, facts: head }, winner, document),
  };
  if (!hit || !admits(document.addresses, from)) {
    const outcome = !admits(document.addresses, from)
      ? refuse("address_refused")
      : found && "allow" in found
        ? refuse("method_not_allowed", `it takes ${found.allow}`)
        : refuse("route_not_found");
    return { ...common, outcome, route: undefined, auth: undefined, forwarded: undefined };
  }
  const config = hit.route;
  const route = describeRoute(config, hit.template, document, request.plugins);
  const caller = explainCaller(config, document, tokenIn(head, config), request);
  const auth = caller.explanation;
  if (!admits(config.addresses, from)) {
    return { ...common, outcome: refuse("address_refused"), route, auth, forwarded: undefined };
  }
  if (hit.redirect !== undefined) {
    const outcome = { kind: "redirect", status: 308, location: hit.redirect + query } as const;
    return { ...common, outcome, route, auth, forwarded: undefined };
  }
  const rewritePrefix = config.rewrite?.prefix?.replace(/\/$/, "");
  const target = forwardedPath({ ...hit, route: { rewritePrefix } }, path);
  const reason = refusalOf(head, config, target) ?? caller.refusal;
  if (reason !== undefined || target === undefined) {
    return { ...common, outcome: refuse(reason ?? "invalid_target"), route, auth, forwarded: undefined };
  }
  const headers = headersFor(head, config, request, caller);
  if (!headers) return { ...common, outcome: refuse("header_invalid"), route, auth, forwarded: undefined };
  const forwarded = {
    service: config.service,
    target: hit.binding ? target : target + query,
    ...changes(raw.rawHeaders, headers, config),
  };
  return { ...common, outcome: { kind: "forward" }, route, auth, forwarded };
}

function admits(addresses: RouteConfig["addresses"], from: string): boolean {
  return addresses === undefined || new AddressRules(addresses).admits(from);
}

/** Takes the token out of the head, as the gateway does. */
function tokenIn(head: RequestHead, { auth }: RouteConfig): ReturnType<TokenSource["take"]> {
  if (auth?.tokenFrom) {
    return new TokenSource(auth.tokenFrom, auth.forwardToken).take(head);
  }
  return { token: bearerToken(head.authorization) };
}

/** What speaks against the request before anybody looks at who sends it. */
function refusalOf(
  head: RequestHead,
  { websocket, maxBodyBytes }: RouteConfig,
  target: string | undefined,
): Reason | undefined {
  if (
    head.upgrade !== undefined &&
    head.upgrade !== "h2c" &&
    (toWebSocketLimits(websocket) === undefined || head.upgrade !== "websocket")
  )
    return "upgrade_unsupported";
  if ((head.bodyLength ?? 0) > maxBodyBytes) return "body_too_large";
  return target === undefined ? "invalid_target" : undefined;
}

function describeRoute(
  route: RouteConfig,
  pattern: string,
  document: ParsedDocument,
  plugins: readonly PluginPlace[] | undefined,
): RouteExplanation {
  const { rateLimits } = document;
  const {
    name,
    service,
    backends,
    priority,
    timeoutMs,
    maxBodyBytes,
    retries,
    hedging,
    websocket,
    rateLimit,
    rateLimitCost: cost,
  } = route;
  const limits =
    typeof rateLimit === "object" && "limit" in rateLimit
      ? [[name, rateLimit] as const]
      : [rateLimit ?? []].flat().map((each) => [each, rateLimits[each]] as const);
  return {
    name,
    pattern,
    service,
    backends,
    priority,
    timeoutMs,
    maxBodyBytes,
    serviceSettings: document.services[service],
    retries,
    hedging,
    websocket,
    plugins: pluginsOf(route, document, plugins),
    limits: limits.flatMap(([each, config]) => {
      if (!config) return [];
      const { limit, windowMs, by, shadow } = config;
      return [{ name: each, limit, windowMs, cost, by, shadow }];
    }),
  };
}

/** The headers that the service gets, name and value by turns; what differs each time stands in angle brackets. */
function headersFor(
  head: RequestHead,
  { name, auth, headers: rules, rewrite, timeoutMs }: RouteConfig,
  { from = "127.0.0.1", url }: ExplainedRequest,
  caller: ReturnType<typeof explainCaller>,
): readonly string[] | undefined {
  const own = toHeaderRules(rules?.request);
  const facts = { requestId: "<new>", routeName: name, clientAddress: from, claims: caller.claims };
  const edits = own && fillRules(own, facts);
  if (own && !edits) return undefined;
  if (edits) edit(head.headers, edits);
  return addForwardingHeaders(head, {
    host: rewrite?.host ?? head.host,
    forwardedFor: from,
    forwardedHost: head.host,
    scheme: /^https:/i.test(url) ? "https" : "http",
    via: head.via === "" ? "1.1 <gateway>" : `${head.via}, 1.1 <gateway>`,
    requestId: "<new>",
    traceparent: "<new>",
    timeoutMs: timeoutMs === 0 ? undefined : timeoutMs,
    identity: caller.headers,
    instance: "<instance>",
    authorization: auth === undefined || auth.forwardToken ? head.authorization : undefined,
  });
}

/** Of what the document sets no value is shown: a secret between gateway and service may be among it. */
function changes(
  before: readonly string[],
  after: readonly string[],
  { headers }: RouteConfig,
): Pick<Forwarded, "removed" | "added"> {
  const ruled = new Set(Object.keys({ ...headers?.request?.set, ...headers?.request?.add }));
  const [came, goes] = [linesOf(before), linesOf(after)];
  const has = (lines: typeof came, [name, value]: readonly [string, string]): boolean =>
    lines.some(([other, text]) => other === name && text === value);
  return {
    removed: came.filter((line) => !has(goes, line)).map(([name]) => ({ name, why: whyRemoved(name, goes) })),
    added: goes
      .filter((line) => !has(came, line))
      .map(([name, value]) => ({ name, value: ruled.has(name) || secret.test(name) ? "***" : value })),
  };
}

function linesOf(flat: readonly string[]): (readonly [name: string, value: string])[] {
  return flat.flatMap((name, at) => (at % 2 === 0 ? [[name.toLowerCase(), flat[at + 1] ?? ""] as const] : []));
}

const secret = /authorization|cookie|secret|password|token|api-?key/i;

function whyRemoved(name: string, goes: readonly (readonly [string, string])[]): string {
  if (goes.some(([other]) => other === name)) return "the gateway's own takes its place";
  switch (handlingOf(name)) {
    case "pass":
      return "Connection names it, or a rule of the route removes it";
    case "authorization":
      return "the service gets what the token says, and not the token";
    case "drop":
      return "it is of the connection, or a claim that only the gateway may make";
    default:
      return "it is of the connection";
  }
}

function refuse(reason: Reason, detail?: string): Outcome {
  const { status, detail: usual } = reasonOf(reason);
  return { kind: "refuse", status, reason, detail: detail ?? usual };
}
