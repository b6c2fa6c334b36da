import type { AccessLogConfig, AccessLogField } from "../config/schema-access-log.ts";
import { headerOf } from "../router/conditions.ts";
import { capped } from "./capped.ts";
import type { Exchange } from "./exchange.ts";
import { methodLabel } from "./observer.ts";

/** Why a request has a line, or none. */
export type LineVerdict = "written" | "sampled_out" | "not_slow";

type Value = string | number | undefined;
type Read = (exchange: Exchange, status: number, tookMs: number) => Value;

/** Which requests have a line, and what stands in it: worked out once for a document. */
export class AccessLogRules {
  readonly #fields: readonly (readonly [name: AccessLogField, read: Read])[];
  readonly #sample: number;
  readonly #slowOnlyMs: number;
  readonly #errorsFrom: number;

  constructor({ fields, sample, slowOnlyMs, errorsFrom }: AccessLogConfig) {
    this.#fields = fields.map((field) => [field, readers[field]]);
    this.#sample = sample;
    this.#slowOnlyMs = slowOnlyMs;
    this.#errorsFrom = errorsFrom;
  }

  /**
   * Asked before anything of a line is made.
   * @param status - Of the reply, or of the reason when none was given.
   */
  verdictOf({ span, upgrade }: Pick<Exchange, "span" | "upgrade">, status: number, tookMs: number): LineVerdict {
    if (status >= this.#errorsFrom) return "written";
    // A WebSocket is as slow as its opening: how long it was used says nothing.
    if (this.#slowOnlyMs > 0 && (upgrade?.tookMs ?? tookMs) < this.#slowOnlyMs) return "not_slow";
    if (this.#sample === 1) return "written";
    // Every request begins a trace of its own here: no client chooses whether it is seen.
    return Number.parseInt(span.traceId.slice(24), 16) < this.#sample * 2 ** 32 ? "written" : "sampled_out";
  }

  lineOf(exchange: Exchange, status: number, tookMs: number): Record<string, string | number> {
    const line: Record<string, string | number> = {};
    for (const [name, read] of this.#fields) {
      const value = read(exchange, status, tookMs);
      if (value !== undefined) line[name] = value;
    }
    return line;
  }
}

const readers: Readonly<Record<AccessLogField, Read>> = {
  method: ({ method }) => methodLabel(method),
  path: ({ path }) => capped(path),
  route: ({ taken }) => taken?.name ?? "unmatched",
  status: (_exchange, status) => status,
  reason: ({ reason }) => reason,
  auth: ({ authFault }) => authFault,
  limit: ({ limitedBy }) => limitedBy,
  shadow_limit: ({ shadowLimitedBy }) => shadowLimitedBy,
  upstream: ({ taken }) => taken?.pool.service,
  instance: ({ forwarding }) => forwarding?.instanceId,
  attempts: ({ forwarding }) => (forwarding && forwarding.attempts > 1 ? forwarding.attempts : undefined),
  duration_ms: (_exchange, _status, tookMs) => rounded(tookMs),
  bytes: ({ bytes }) => bytes,
  bytes_received: ({ upgrade }) => upgrade?.bytesFromClient,
  client: ({ clientAddress }) => clientAddress,
  template: ({ template }) => template,
  host: ({ origin, request }) => capped(origin?.host ?? withoutUser(headerOf(request.rawHeaders, "host"))),
  scheme: ({ origin, core }) => origin?.scheme ?? core.scheme,
  protocol: ({ request }) => `HTTP/${request.httpVersion}`,
  user_agent: ({ request }) => capped(headerOf(request.rawHeaders, "user-agent")),
  upstream_ms: ({ forwarding }) => forwarding?.latencyMs && rounded(forwarding.latencyMs),
};

/** A host with a user, who may have a password, is refused and has a line all the same. */
function withoutUser(host: string | undefined): string | undefined {
  return host?.slice(host.lastIndexOf("@") + 1);
}

function rounded(ms: number): number {
  return Math.round(ms * 1e3) / 1e3;
}
