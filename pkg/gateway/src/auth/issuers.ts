import type { Clock, Logger, Metrics } from "@plinth/kernel";
import { createIssuers, FetchBudget, type Issuer, keySetUrlProblem } from "@plinth/transport/jwt";
import type { ParsedDocument } from "../config/schema.ts";
import { GatewayConfigError } from "../errors.ts";

export interface IssuerKeepersOptions {
  /** URLs that take the place of the document's, by provider name. */
  readonly jwksUrls: Readonly<Record<string, string>>;
  /** Folder for the last good key sets. Default: none are kept. */
  readonly snapshots?: string | undefined;
  readonly clock: Clock;
  readonly log: Logger | undefined;
  readonly metrics: Metrics;
  /** Those in use. */
  readonly current: () => readonly Issuer[];
  /** So many processes share what may be fetched for unknown key ids, each its part. Default 1. */
  readonly processes?: number | undefined;
}

/** Makes the issuers of one document after the other, each with a keeper of its keys. */
export interface IssuerKeepers {
  /**
   * The issuers of a document; what `before` has for the same provider is the same object, one whose rules alone have changed has the
   * same keys, and others have yet to be started.
   * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` when `jwksUrls` has a name that the document lacks, or a URL that is not taken.
   */
  issuersOf(jwt: ParsedDocument["jwt"], before?: readonly Issuer[]): readonly Issuer[];
}

/** Over all processes of a gateway: so many fetches for unknown key ids at one time, and one more in each such time, in milliseconds. */
const maxUnknownFetches = 10;
const unknownRefillMs = 6_000;

export function createIssuerKeepers(options: IssuerKeepersOptions): IssuerKeepers {
  const { jwksUrls, snapshots, clock, log, metrics, current, processes = 1 } = options;
  const budget = new FetchBudget(clock, {
    max: Math.max(1, Math.floor(maxUnknownFetches / processes)),
    refillMs: unknownRefillMs * processes,
  });
  const forms = new WeakMap<Issuer, string>();
  /** Of what a keeper of keys is made from: other rules of the same issuer go on with its keys. */
  const keyForms = new WeakMap<Issuer["keys"], string>();
  const fetches = metrics.counter({
    name: "gateway_jwks_fetches_total",
    help: "Fetches of key sets.",
    labels: ["provider", "outcome"],
  });
  const unknown = metrics.counter({
    name: "gateway_jwks_unknown_keys_total",
    help: "Tokens whose key id is in no set at hand, by whether the issuer was asked for it.",
    labels: ["provider", "outcome"],
  });
  metrics.gauge({
    name: "gateway_jwks_from_snapshot",
    help: "Whether the key set in use is that of the snapshot on disk (1): its issuer has not been reached since the start.",
    labels: ["provider"],
    aggregate: "max",
    collect: (gauge) => {
      for (const { name, keys } of current()) gauge.set({ provider: name }, keys.isFromSnapshot ? 1 : 0);
    },
  });
  metrics.gauge({
    name: "gateway_jwks_age_seconds",
    help: "Age of the key set in use. Absent before the first one.",
    labels: ["provider"],
    aggregate: "max",
    collect: (gauge) => {
      for (const { name, keys } of current())
        if (Number.isFinite(keys.ageMs)) gauge.set({ provider: name }, keys.ageMs / 1e3);
    },
  });
  return {
    issuersOf: (jwt, before = []) => {
      const faults = Object.entries(jwksUrls).flatMap(([name, url]) => {
        const problem = name in jwt ? keySetUrlProblem(url) : "the document has no provider of this name under `jwt`";
        return problem === undefined ? [] : [{ key: `gateway.jwksUrls.${name}`, problem, source: "settings" }];
      });
      if (faults.length > 0) throw new GatewayConfigError(faults);
      return Object.entries(jwt).flatMap(([name, provider]) => {
        const given = { ...provider, jwks: jwksUrls[name] ?? provider.jwks };
        const form = JSON.stringify([name, given]);
        const known = before.find((issuer) => forms.get(issuer) === form);
        if (known) return [known];
        const { issuer, jwks, refreshMs, keepMs } = given;
        const keyForm = JSON.stringify([name, issuer, jwks, refreshMs, keepMs]);
        const kept = before.find(({ keys }) => keyForms.get(keys) === keyForm);
        if (kept) {
          const other: Issuer = { name, rules: given, keys: kept.keys };
          forms.set(other, form);
          return [other];
        }
        const made = createIssuers(
          { [name]: given },
          {
            clock,
            log,
            metrics,
            snapshots,
            budget,
            onUnknown: (of, outcome) => unknown.inc({ provider: of, outcome }),
            onFetch: (of, failure) => fetches.inc({ provider: of, outcome: failure === undefined ? "ok" : "failed" }),
          },
        );
        for (const own of made) {
          forms.set(own, form);
          keyForms.set(own.keys, keyForm);
        }
        return made;
      });
    },
  };
}
