import type { AuthRefusal, Caller } from "../auth/authenticator.ts";
import { challengeFor } from "../auth/challenge.ts";
import { edit, fillRules } from "../headers/rules.ts";
import type { TemplateFacts } from "../headers/template.ts";
import { readRequestHead, type RequestHead } from "../headers/request-head.ts";
import { takePlace } from "../limits/concurrency.ts";
import type { LimitOutcome } from "../limits/route-limits.ts";
import type { Reason } from "../reasons.ts";
import type { Found } from "../router/entry.ts";
import type { Exchange } from "./exchange.ts";
import { forwardedPath } from "./forwarded-path.ts";
import { Forwarding } from "./forwarding.ts";
import { answerPreflight, passEdge } from "./pass-edge.ts";
import { RequestBody } from "./request-body.ts";
import type { Route } from "./route.ts";

/** What is known of a request when its route has been found. */
interface Matched {
  readonly route: Route;
  readonly head: RequestHead;
  /** Path and query for the service. */
  readonly target: string;
}

/** What a request must pass before it is forwarded, in order: head, route, token, limit. */
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
  if (exchange.generation.edge && !passEdge(exchange, exchange.generation.edge, head)) return;
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
  route.deadlines?.add(exchange, exchange.startedAtMs);
  if (head.upgrade !== undefined && head.upgrade !== "h2c" && !mayUpgrade(exchange, route)) return;
  if (head.bodyLength !== undefined && head.bodyLength > route.maxBodyBytes) {
    exchange.refuse("body_too_large");
    return;
  }
  const path = forwardedPath(found, head.path);
  if (path === undefined) {
    exchange.refuse("invalid_target", "the path cannot be rewritten in one way only");
    return;
  }
  const matched = { route, head, target: head.query === "" ? path : path + head.query };
  if (route.auth) authenticate(exchange, matched);
  else checkLimit(exchange, matched, undefined);
}

function mayUpgrade(exchange: Exchange, route: Route): boolean {
  const { upgrade, core } = exchange;
  const { webSocket } = route;
  if (!upgrade || !webSocket) exchange.refuse("upgrade_unsupported");
  else if (upgrade.take(core.webSockets, route.name, webSocket.maxConnections)) return true;
  else exchange.refuse("websockets_full", undefined, ["retry-after", "1"]);
  return false;
}

function authenticate(exchange: Exchange, matched: Matched): void {
  const { authenticator } = exchange.generation;
  const taken = matched.route.auth?.source?.take(matched.head);
  if (taken === "ambiguous") {
    exchange.refuse("token_ambiguous");
    return;
  }
  const verdict = taken ? authenticator.verifyToken(taken.token) : authenticator.verify(matched.head.authorization);
  if (!(verdict instanceof Promise)) {
    checkCaller(exchange, matched, verdict);
    return;
  }
  verdict
    .then((settled) => {
      // The client may have left, or the time may be up, while the token was checked.
      if (!exchange.isFinished && !exchange.response.headersSent) checkCaller(exchange, matched, settled);
    })
    .catch((error: unknown) => exchange.fault(error));
}

function checkCaller(exchange: Exchange, matched: Matched, verdict: Caller | AuthRefusal): void {
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
  if (refusal === undefined) checkLimit(exchange, matched, verdict);
  else refuseCaller(exchange, refusal, requirement?.scopes ?? []);
}

function refuseCaller(exchange: Exchange, reason: Reason, needed: readonly string[]): void {
  const challenge = challengeFor(reason, needed);
  exchange.refuse(reason, undefined, challenge === undefined ? ["retry-after", "1"] : ["www-authenticate", challenge]);
}

function checkLimit(exchange: Exchange, matched: Matched, caller: Caller | undefined): void {
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
  if (outcome.allowed) enter(exchange, matched, caller);
  else {
    const reason = outcome.isUnavailable ? "limits_unavailable" : "rate_limited";
    exchange.refuse(reason, undefined, ["retry-after", `${Math.ceil(outcome.retryAfterMs / 1e3)}`]);
  }
}

function enter(exchange: Exchange, matched: Matched, caller: Caller | undefined): void {
  const { cap } = matched.route;
  if (cap === undefined) forward(exchange, matched, caller);
  else takePlace(exchange, cap, () => forward(exchange, matched, caller));
}

function forward(exchange: Exchange, { route: own, head, target }: Matched, caller: Caller | undefined): void {
  const route = own.backends?.choose(head.headers, caller?.known.limitKey) ?? own;
  exchange.taken = route;
  if ((route.requestRules || route.replyRules) && !changeHeaders(exchange, route, head, caller?.known.claims)) {
    exchange.refuse("header_invalid");
    return;
  }
  if (head.bodyLength !== 0) {
    exchange.body = new RequestBody({
      request: exchange.request,
      maxBytes: route.maxBodyBytes,
      onStart: () => {
        if (exchange.expectsContinue) exchange.response.writeContinue();
      },
      onTooLarge: () => exchange.refuse("body_too_large"),
    });
  }
  exchange.forwarding = new Forwarding(exchange, route, head, { target, identity: caller?.known.headers });
  exchange.forwarding.send();
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
