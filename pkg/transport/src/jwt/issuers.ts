import type { Clock, Logger, Metrics } from "@plinth/kernel";
import { instrumentFetch } from "../http/client-metrics.ts";
import { FetchBudget } from "./fetch-budget.ts";
import { KeyKeeper, type UnknownKeyOutcome } from "./key-keeper.ts";
import { KeySnapshot } from "./key-snapshot.ts";
import { keySourceOf } from "./key-source.ts";
import type { TokenProvider } from "./provider.ts";
import type { Issuer } from "./verifier.ts";

export interface IssuersOptions {
  readonly clock: Clock;
  readonly log: Logger | undefined;
  readonly metrics: Metrics;
  /** Told of each fetch: `failure` says why it failed, if it did. */
  readonly onFetch: (provider: string, failure: string | undefined) => void;
  /** Told of each token whose key id is not in the set. */
  readonly onUnknown?: (provider: string, outcome: UnknownKeyOutcome) => void;
  /** Folder for the last good sets of issuers with a URL, for a start while those are down. Default: none are kept. */
  readonly snapshots?: string | undefined;
  /** Bounds the fetches for unknown key ids over all issuers that share it. Default: one for these. */
  readonly budget?: FetchBudget;
}

/** Issuers by name, each with a keeper of its keys that has yet to be started. */
export function createIssuers(
  providers: Readonly<Record<string, TokenProvider>>,
  { clock, log, metrics, onFetch, onUnknown, snapshots, budget = new FetchBudget(clock) }: IssuersOptions,
): Issuer[] {
  return Object.entries(providers).map(([name, provider]): Issuer => {
    const { issuer, refreshMs, keepMs } = provider;
    const send = instrumentFetch({ metrics, peer: `jwks:${name}`, clock, propagation: "none" });
    const { kind, place, read, watch } = keySourceOf(provider.jwks, { clock, send });
    const about = { provider: name, place };
    let isFailing = false;
    const keys = new KeyKeeper({
      fetchText: read,
      clock,
      refreshMs,
      keepMs,
      fixed: kind === "inline",
      strict: kind !== "url",
      watch,
      onFetch: (failure) => {
        onFetch(name, failure);
        if (failure !== undefined && !isFailing)
          log?.warn("key set cannot be fetched, trying again", { ...about, failure });
        if (failure === undefined && isFailing) log?.info("key set can be fetched again", about);
        isFailing = failure !== undefined;
      },
      onUnknown: (outcome) => onUnknown?.(name, outcome),
      ...(kind === "url" ? { budget } : {}),
      ...(kind === "url" && snapshots !== undefined
        ? { snapshot: new KeySnapshot({ folder: snapshots, name, issuer, url: place }) }
        : {}),
      onSnapshot: (what, detail) => log?.warn(snapshotTexts[what], { ...about, detail }),
    });
    return { name, rules: provider, keys };
  });
}

const snapshotTexts = {
  used: "keys are those of the snapshot until the issuer can be reached",
  refused: "snapshot of the key set is not taken",
  unwritten: "snapshot of the key set cannot be written",
} as const;
