import { bearerToken } from "@plinth/transport/jwt";
import type { AuthRefusal, Caller } from "../auth/authenticator.ts";
import { challengeFor } from "../auth/challenge.ts";
import type { RemoteAuth, RemoteRefusal } from "../auth/remote-auth.ts";
import { GrpcCall, grpcCallOf } from "../protocols/grpc.ts";
import { edit, fillRules } from "../headers/rules.ts";
import type { TemplateFacts } from "../headers/template.ts";
import { readRequestHead, type RequestHead } from "../headers/request-head.ts";
import { takePlace } from "../limits/concurrency.ts";
import type { LimitOutcome } from "../limits/route-limits.ts";
import type { Reason } from "../reasons.ts";
import { passPlugins } from "../plugins/run.ts";
import type { Found } from "../router/entry.ts";
import type { Exchange } from "./exchange.ts";
import { forwardedPath } from "./forwarded-path.ts";
import { Forwarding } from "./forwarding.ts";
import { answerPreflight, passEdge } from "./pass-edge.ts";
import { RequestBody } from "./request-body.ts";
import type { OriginList } from "./origin-list.ts";
import type { Route } from "./route.ts";
import type { Binding } from "../transcoding/binding.ts";
import { transcode } from "../transcoding/transcoding.ts";

/** What is known of a request when its route has been found. */
interface Matched {
  readonly route: Route;
  readonly head: RequestHead;
  /** Path and query for the service. */
  readonly target: string;
  /** Undefined: it goes as it is. */
  readonly binding: Binding | undefined;
}

/** What a request must pass before it is forwarded, in order: head, route, token, limit; where Auth alone tells whose token it is, the limit first if it can be. */
export function admit(exchange: Exchange): void {
  const { core } = exchange;
  const head = readRequestHead(exchange.request, core.maxHeaderLines);
  if ("reason" in head) {
    exchange.refuse(head.reason, head.detail);
    return;
  }
  exchange.path = head.path;
  if (head.via !== "" && head.via.includes(core.viaName)) {
    exchange.refuse("loop_detected");
    return;
  }
  if (exchange.response.isStream && !takeGrpc(exchange, head)) return;
  if (exchange.generation.edge && !passEdge(exchange, exchange.generation.edge, head)) return;
  const plugins = exchange.generation.plugins?.edge;
  if (plugins) passPlugins(exchange, plugins, { head, caller: undefined }, () => findRoute(exchange, head));
  else findRoute(exchange, head);
}

/** @returns False when it is none that can be understood. */
function takeGrpc(exchange: Exchange, head: RequestHead): boolean {
  const call = grpcCallOf(head, exchange.startedAtMs);
  if (call !== "malformed") {
    exchange.grpc = call;
    if (call) exchange.core.grpcCalls.began(exchange);
    return true;
  }
  exchange.grpc = new GrpcCall(Infinity);
  exchange.refuse("malformed_request", "grpc-timeout takes up to eight digits, and one of H, M, S, m, u and n");
  return false;
}

function findRoute(exchange: Exchange, head: RequestHead): void {
  if (exchange.method === "OPTIONS" && answerPreflight(exchange, head)) return;
  const found = exchange.generation.table.find(head.hostName, exchange.method, head.path, head);
  if (found === undefined) exchange.refuse("route_not_found");
  else if ("allow" in found) exchange.refuse("method_not_allowed", undefined, ["allow", found.allow]);
  else checkRoute(exchange, found, head);
}

function checkRoute(exchange: Exchange, found: Found<Route>, head: RequestHead): void {
  const { route, template } = found;
  exchange.taken = route;
  exchange.template = template;
  if (exchange.core.limits.shedder.refuses(route.importance)) {
    exchange.refuse("gateway_overloaded", undefined, ["retry-after", "1"]);
    return;
  }
  exchange.edge = undefined; // the route's own holds what is the document's
  if (route.edge && !passEdge(exchange, route.edge, head)) return;
  if (found.redirect !== undefined) {
    exchange.answerEmpty(308, ["location", found.redirect + head.query]);
    return;
  }
  // The list is in the order of time: where plugins came before, its time begins behind them, and they have times of their own.
  route.deadlines?.add(exchange, exchange.pluginRun ? exchange.core.clock.monotonicMs() : exchange.startedAtMs);
  exchange.grpc?.begin(exchange);
  if (head.upgrade !== undefined && head.upgrade !== "h2c" && !mayUpgrade(exchange, route, head)) return;
  if (head.bodyLength !== undefined && head.bodyLength > route.maxBodyBytes) {
    exchange.refuse("body_too_large");
    return;
  }
  const path = forwardedPath(found, head.path);
  if (path === undefined) {
    exchange.refuse("invalid_target", "the path cannot be rewritten in one way only");
    return;
  }
  const { binding } = found;
  const matched = { route, head, target: head.query === "" || binding ? path : path + head.query, binding };
  if (!route.auth) admitted(exchange, matched, undefined);
  else if (route.limitsFirst) checkLimit(exchange, matched, undefined);
  else authenticate(exchange, matched);
}

function mayUpgrade(exchange: Exchange, route: Route, head: RequestHead): boolean {
  const { upgrade, core } = exchange;
  const { webSocket } = route;
  if (!upgrade || !webSocket) exchange.refuse("upgrade_unsupported");
  else if (!isOfOrigin(webSocket.origins, head)) exchange.refuse("origin_refused");
  else if (upgrade.take(core.webSockets, route.name, webSocket.maxConnections)) return true;
  else exchange.refuse("websockets_full", undefined, ["retry-after", "1"]);
  return false;
}

/** Pages may open WebSockets to anywhere, cookies and all, without a question before: RFC 6455, 10.2. Who says no origin is no page. */
function isOfOrigin(origins: OriginList | undefined, { headers }: RequestHead): boolean {
  if (origins === undefined) return true;
  for (let at = 0; at < headers.length; at += 2)
    if (headers[at]?.toLowerCase() === "origin" && !origins.has(headers[at + 1] ?? "")) return false;
  return true;
}

function authenticate(exchange: Exchange, matched: Matched): void {
  const { authenticator } = exchange.generation;
  const taken = matched.route.auth?.source?.take(matched.head);
  if (taken === "ambiguous") {
    exchange.refuse("token_ambiguous");
    return;
  }
  const token = taken ? taken.token : bearerToken(matched.head.authorization);
  const remote = matched.route.auth?.remote;
  const verdict = remote?.isInstead ? remote.callerOf(exchange, token) : authenticator.verifyToken(token);
  if (!(verdict instanceof Promise)) {
    checkCaller(exchange, matched, verdict, token);
    return;
  }
  verdict
    .then((settled) => {
      // The client may have left, or the time may be up, while the token was checked.
      if (!exchange.isFinished && !exchange.response.headersSent) checkCaller(exchange, matched, settled, token);
    })
    .catch((error: unknown) => exchange.fault(error));
}

/** @param token - Taken from where the route looks for it: it is not there any more. */
function checkCaller(
  exchange: Exchange,
  matched: Matched,
  verdict: Caller | AuthRefusal | RemoteRefusal,
  token: string | undefined,
): void {
  const requirement = matched.route.auth?.requirement;
  if ("reason" in verdict) {
    exchange.authFault = verdict.fault;
    refuseCaller(exchange, verdict.reason, requirement?.scopes ?? []);
    return;
  }
  if (verdict.known.unusable !== undefined) {
    exchange.authFault = verdict.known.unusable;
    exchange.refuse("claim_unusable");
    return;
  }
  const refusal = requirement?.refusalOf(verdict.known);
  if (refusal !== undefined) refuseCaller(exchange, refusal, requirement?.scopes ?? []);
  else if (!matched.route.auth?.remote) admitted(exchange, matched, verdict);
  else askOthers(exchange, matched, verdict, { remote: matched.route.auth.remote, token });
}

/** The token is good, and its caller may as far as can be told here. */
function askOthers(
  exchange: Exchange,
  matched: Matched,
  caller: Caller,
  { remote, token }: { readonly remote: RemoteAuth; readonly token: string | undefined },
): void {
  remote
    .refusalOf(exchange, token, caller.known)
    .then((refusal) => {
      if (exchange.isFinished || exchange.response.headersSent) return;
      if (refusal === undefined) admitted(exchange, matched, caller);
      else {
        exchange.authFault = refusal.fault;
        refuseCaller(exchange, refusal.reason, []);
      }
    })
    .catch((error: unknown) => exchange.fault(error));
}

function refuseCaller(exchange: Exchange, reason: Reason, needed: readonly string[]): void {
  const challenge = challengeFor(reason, needed);
  exchange.refuse(reason, undefined, challenge === undefined ? ["retry-after", "1"] : ["www-authenticate", challenge]);
}

/** The token is good, or none is needed. */
function admitted(exchange: Exchange, matched: Matched, caller: Caller | undefined): void {
  const plugins = matched.route.plugins?.auth;
  if (!plugins) checkLimit(exchange, matched, caller);
  else {
    const facts = { head: matched.head, caller: caller?.known.identity };
    passPlugins(exchange, plugins, facts, () => checkLimit(exchange, matched, caller));
  }
}

function checkLimit(exchange: Exchange, matched: Matched, caller: Caller | undefined): void {
  if (matched.route.limitsFirst && caller) {
    enter(exchange, matched, caller); // they were asked before
    return;
  }
  const outcome = matched.route.limits?.check(exchange, matched.head, caller);
  if (outcome === undefined) enter(exchange, matched, caller);
  else if (!(outcome instanceof Promise)) limited(exchange, matched, caller, outcome);
  else {
    outcome
      .then((settled) => {
        if (!exchange.isFinished && !exchange.response.headersSent) limited(exchange, matched, caller, settled);
      })
      .catch((error: unknown) => exchange.fault(error));
  }
}

function limited(exchange: Exchange, matched: Matched, caller: Caller | undefined, outcome: LimitOutcome): void {
  if (outcome.allowed && matched.route.limitsFirst) authenticate(exchange, matched);
  else if (outcome.allowed) enter(exchange, matched, caller);
  else {
    const reason = outcome.isUnavailable ? "limits_unavailable" : "rate_limited";
    exchange.refuse(reason, undefined, ["retry-after", `${Math.ceil(outcome.retryAfterMs / 1e3)}`]);
  }
}

function enter(exchange: Exchange, matched: Matched, caller: Caller | undefined): void {
  const { cap } = matched.route;
  if (cap === undefined) beforeForward(exchange, matched, caller);
  else takePlace(exchange, cap, () => beforeForward(exchange, matched, caller));
}

function beforeForward(exchange: Exchange, matched: Matched, caller: Caller | undefined): void {
  const plugins = matched.route.plugins?.forward;
  if (!plugins) forward(exchange, matched, caller);
  else {
    const facts = { head: matched.head, caller: caller?.known.identity };
    passPlugins(exchange, plugins, facts, () => forward(exchange, matched, caller));
  }
}

function forward(exchange: Exchange, matched: Matched, caller: Caller | undefined): void {
  const { route: own, head, binding } = matched;
  const route = own.backends?.choose(head.headers, caller?.known.limitKey) ?? own;
  exchange.taken = route;
  if (exchange.grpc && !route.pool.isHttp2) {
    exchange.refuse("grpc_unsupported");
    return;
  }
  if ((route.requestRules || route.replyRules) && !changeHeaders(exchange, route, head, caller?.known.claims)) {
    exchange.refuse("header_invalid");
    return;
  }
  if (binding) {
    const { maxBodyBytes } = route;
    transcode(exchange, binding, {
      head,
      maxBodyBytes,
      next: (head) => sendOn(exchange, { ...matched, route, head }, caller),
    });
    return;
  }
  if (head.bodyLength !== 0) {
    exchange.body = new RequestBody({
      request: exchange.request,
      maxBytes: route.maxBodyBytes,
      onStart: () => {
        if (exchange.expectsContinue) exchange.response.writeContinue();
      },
      onRefused: (reason) => exchange.refuse(reason),
      slow: exchange.core.slowClients,
      // Calls of gRPC say something now and then; once their reply has begun, its pauses count, in which neither side says anything.
      mayRest: exchange.grpc && (() => exchange.response.headersSent),
      longestRestMs: route.bodyGapMs ?? exchange.core.bodyGapMs,
    });
  }
  sendOn(exchange, route === own ? matched : { ...matched, route }, caller);
}

function sendOn(exchange: Exchange, { route, head, target }: Matched, caller: Caller | undefined): void {
  const wish = route.pool.choice?.wishOf({
    headers: head.headers,
    subject: caller?.known.limitKey,
    address: exchange.clientAddress,
  });
  const forwarding = new Forwarding(exchange, route, head, { target, identity: caller?.known.headers, wish });
  exchange.forwarding = forwarding;
  const cap = route.pool.busyCap();
  if (cap === undefined) forwarding.send();
  else takePlace(exchange, cap, () => forwarding.send(), "servicePlace");
}

/** @returns False when a value holds what no header may. Those of the reply are known now: nothing has been asked of the service yet. */
function changeHeaders(exchange: Exchange, route: Route, head: RequestHead, claims: TemplateFacts["claims"]): boolean {
  const { requestId, clientAddress } = exchange;
  const { requestRules, replyRules } = route;
  const facts = { requestId, clientAddress, routeName: route.name, claims };
  if (requestRules) {
    const edits = fillRules(requestRules, facts);
    if (!edits) return false;
    edit(head.headers, edits);
  }
  if (!replyRules) return true;
  exchange.replyEdits = fillRules(replyRules, facts);
  return exchange.replyEdits !== undefined;
}
