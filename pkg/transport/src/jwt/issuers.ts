import type { Clock, Logger, Metrics } from "@plinth/kernel";
import { instrumentFetch } from "../http/client-metrics.ts";
import { fetchKeySet } from "./fetch-key-set.ts";
import { KeyKeeper } from "./key-keeper.ts";
import type { TokenProvider } from "./provider.ts";
import type { Issuer } from "./verifier.ts";

const fetchTimeoutMs = 5_000;

export interface IssuersOptions {
  readonly clock: Clock;
  readonly log: Logger | undefined;
  readonly metrics: Metrics;
  /** Told of each fetch: `failure` says why it failed, if it did. */
  readonly onFetch: (provider: string, failure: string | undefined) => void;
}

/** Issuers by name, each with a keeper of its keys that has yet to be started. */
export function createIssuers(
  providers: Readonly<Record<string, TokenProvider>>,
  { clock, log, metrics, onFetch }: IssuersOptions,
): Issuer[] {
  return Object.entries(providers).map(([name, provider]): Issuer => {
    const { jwks: url, issuer, audiences, algorithms, clockSkewMs, refreshMs, keepMs } = provider;
    let isFailing = false;
    const fetched = (failure: string | undefined): void => {
      onFetch(name, failure);
      if (failure !== undefined && !isFailing)
        log?.warn("key set cannot be fetched, trying again", { provider: name, url, failure });
      if (failure === undefined && isFailing) log?.info("key set can be fetched again", { provider: name, url });
      isFailing = failure !== undefined;
    };
    const send = instrumentFetch({ metrics, peer: `jwks:${name}`, clock, propagation: "none" });
    const keys = new KeyKeeper({
      fetchText: ({ signal }) => fetchKeySet(url, { timeoutMs: fetchTimeoutMs, signal, fetch: send }),
      clock,
      refreshMs,
      keepMs,
      onFetch: fetched,
    });
    return { name, rules: { issuer, audiences, algorithms, clockSkewMs }, keys };
  });
}
