import type { Clock, Logger, Metrics } from "@plinth/kernel";
import { instrumentFetch } from "@plinth/transport";
import { keySetUrlProblem } from "../config/document.ts";
import type { ParsedDocument } from "../config/schema.ts";
import { GatewayConfigError } from "../errors.ts";
import type { Issuer } from "./authenticator.ts";
import { fetchKeySet } from "./fetch-key-set.ts";
import { KeyKeeper } from "./key-keeper.ts";

const fetchTimeoutMs = 5_000;

export interface IssuersOptions {
  /** URLs that take the place of the document's, by provider name. */
  readonly jwksUrls: Readonly<Record<string, string>>;
  readonly clock: Clock;
  readonly log: Logger | undefined;
  readonly metrics: Metrics;
}

/**
 * The issuers of the document, each with a keeper of its keys that has yet to be started.
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` when `jwksUrls` has a name that the document lacks, or a URL that is not taken.
 */
export function createIssuers(jwt: ParsedDocument["jwt"], options: IssuersOptions): Issuer[] {
  const { jwksUrls, clock, log, metrics } = options;
  const faults = Object.entries(jwksUrls).flatMap(([name, url]) => {
    const problem = name in jwt ? keySetUrlProblem(url) : "the document has no provider of this name under `jwt`";
    return problem === undefined ? [] : [{ key: `gateway.jwksUrls.${name}`, problem, source: "settings" }];
  });
  if (faults.length > 0) throw new GatewayConfigError(faults);

  const fetches = metrics.counter({
    name: "gateway_jwks_fetches_total",
    help: "Fetches of key sets.",
    labels: ["provider", "outcome"],
  });
  const issuers = Object.entries(jwt).map(([name, provider]): Issuer => {
    const url = jwksUrls[name] ?? provider.jwks;
    let isFailing = false;
    const onFetch = (failure: string | undefined): void => {
      fetches.inc({ provider: name, outcome: failure === undefined ? "ok" : "failed" });
      if (failure !== undefined && !isFailing)
        log?.warn("key set cannot be fetched, trying again", { provider: name, url, failure });
      if (failure === undefined && isFailing) log?.info("key set can be fetched again", { provider: name, url });
      isFailing = failure !== undefined;
    };
    const { issuer, audiences, algorithms, clockSkewMs, refreshMs, keepMs } = provider;
    const send = instrumentFetch({ metrics, peer: `jwks:${name}`, clock });
    const keys = new KeyKeeper({
      fetchText: ({ signal }) => fetchKeySet(url, { timeoutMs: fetchTimeoutMs, signal, fetch: send }),
      clock,
      refreshMs,
      keepMs,
      onFetch,
    });
    return { name, rules: { issuer, audiences, algorithms, clockSkewMs }, keys };
  });
  metrics.gauge({
    name: "gateway_jwks_age_seconds",
    help: "Age of the key set in use. Absent before the first one.",
    labels: ["provider"],
    aggregate: "max",
    collect: (gauge) => {
      for (const { name, keys } of issuers)
        if (Number.isFinite(keys.ageMs)) gauge.set({ provider: name }, keys.ageMs / 1e3);
    },
  });
  return issuers;
}
