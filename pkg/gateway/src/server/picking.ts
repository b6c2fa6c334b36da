import { cacheDirectives } from "../headers/cache-control.ts";
import { reasonOf } from "../reasons.ts";
import { headerOf } from "../router/conditions.ts";
import type { InstanceWish } from "../upstream/instance-choice.ts";
import type { Endpoint } from "../upstream/service-pool.ts";
import type { FailureKind } from "../upstream/upstream.ts";
import type { Exchange } from "./exchange.ts";
import { reasonOfFailure } from "./outcomes.ts";
import type { Route } from "./route.ts";

/** There is no instance, or none that a breaker lets a request through to. */
export function refuseUnpicked(exchange: Exchange, { pool, name }: Route): void {
  const shutMs = pool.shutForMs(name);
  const reason = shutMs === undefined ? "no_instance" : "breaker_open";
  exchange.refuse(reason, undefined, ["retry-after", `${Math.max(1, Math.ceil((shutMs ?? 0) / 1e3))}`]);
}

/**
 * Where a cookie keeps callers with their instance: has it say who has answered, unless it does. A reply that caches share goes without,
 * and one with it is no longer for them: else all who get it from there would go to one instance.
 *
 * @param lines - Of the reply's head, name and value by turns; changed in place.
 */
export function keepCaller(
  exchange: Exchange,
  lines: string[],
  member: Endpoint | undefined,
  wish: InstanceWish | undefined,
): void {
  const { taken, origin, core } = exchange;
  const isTls = (origin?.scheme ?? core.scheme) === "https";
  const line = wish && taken?.pool.choice?.setCookie(wish, member?.token, isTls);
  if (line === undefined) return;
  const directives = cacheDirectives(headerOf(lines, "cache-control"));
  if (directives.has("public") || directives.has("s-maxage")) return;
  lines.push("set-cookie", line);
  if (!directives.has("private") && !directives.has("no-store")) lines.push("cache-control", "private");
}

/** There is no other try. */
export function refuseFailed(exchange: Exchange, kind: FailureKind): void {
  const reason = reasonOfFailure[kind];
  exchange.refuse(reason, undefined, reasonOf(reason).status === 503 ? ["retry-after", "1"] : undefined);
}
