import type { Clock, Logger, Metrics } from "@plinth/kernel";
import { createIssuers as issuersOf, type Issuer, keySetUrlProblem } from "@plinth/transport/jwt";
import type { ParsedDocument } from "../config/schema.ts";
import { GatewayConfigError } from "../errors.ts";

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
  const providers = Object.fromEntries(
    Object.entries(jwt).map(([name, provider]) => [name, { ...provider, jwks: jwksUrls[name] ?? provider.jwks }]),
  );
  const issuers = issuersOf(providers, {
    clock,
    log,
    metrics,
    onFetch: (provider, failure) => fetches.inc({ provider, outcome: failure === undefined ? "ok" : "failed" }),
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
