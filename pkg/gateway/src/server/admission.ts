import type { AuthRefusal, Caller } from "../auth/authenticator.ts";
import { challengeFor } from "../auth/challenge.ts";
import { readRequestHead, type RequestHead } from "../headers/request-head.ts";
import type { Reason } from "../reasons.ts";
import type { Found } from "../router/entry.ts";
import type { Exchange } from "./exchange.ts";
import { forwardedPath } from "./forwarded-path.ts";
import { Forwarding } from "./forwarding.ts";
import { RequestBody } from "./request-body.ts";
import { addressKey, type Route } from "./route.ts";

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
  const found = exchange.generation.table.find(head.hostName, exchange.method, head.path, head);
  if (found === undefined) exchange.refuse("route_not_found");
  else if ("allow" in found) exchange.refuse("method_not_allowed", undefined, ["allow", found.allow]);
  else checkRoute(exchange, found, head);
}

function checkRoute(exchange: Exchange, found: Found<Route>, head: RequestHead): void {
  const { route, template } = found;
  exchange.taken = route;
  exchange.template = template;
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
  const verdict = exchange.generation.authenticator.verify(matched.head.authorization);
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
  const refusal = requirement?.refusalOf(verdict.known);
  if (refusal === undefined) checkLimit(exchange, matched, verdict);
  else refuseCaller(exchange, refusal, requirement?.scopes ?? []);
}

function refuseCaller(exchange: Exchange, reason: Reason, needed: readonly string[]): void {
  const challenge = challengeFor(reason, needed);
  exchange.refuse(reason, undefined, challenge === undefined ? ["retry-after", "1"] : ["www-authenticate", challenge]);
}

function checkLimit(exchange: Exchange, matched: Matched, caller: Caller | undefined): void {
  const { limit } = matched.route;
  if (limit) {
    const key = (limit.by === "subject" && caller?.known.limitKey) || addressKey(exchange.clientAddress);
    const { allowed, remaining, resetMs, retryAfterMs } = limit.limiter.take(key);
    const state = `"${limit.name}";r=${remaining};t=${Math.ceil(resetMs / 1e3)}`;
    exchange.limitHeaders = ["ratelimit-policy", limit.policyHeader, "ratelimit", state];
    if (!allowed) {
      exchange.refuse("rate_limited", undefined, ["retry-after", `${Math.ceil(retryAfterMs / 1e3)}`]);
      return;
    }
  }
  forward(exchange, matched, caller);
}

function forward(exchange: Exchange, { route, head, target }: Matched, caller: Caller | undefined): void {
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
