import { OptionError, requireNumber, requireWhole, systemClock } from "@plinth/kernel";
import { type ConsulConfigListener, warnOfFailure } from "./config-events.ts";
import type { ConsulConnectionOptions } from "./connection.ts";
import { kvDefaults, type KvSelector } from "./kv.ts";
import { requireKey } from "./kv-key.ts";

/**
 * How {@link consulConfig} asks, beside its connection. What of that is not given is taken from the settings' own variables, as
 * `PLINTH_CONSUL_ADDR`, `PLINTH_CONSUL_TOKEN` and `PLINTH_CONSUL_TLS_CA_FILE`, and then from Consul's.
 */
export interface ConsulConfigTuning extends Omit<ConsulConnectionOptions, "onEvent"> {
  /** Whether an absent key, or a folder without one, is a fault. Default false: an empty document. */
  readonly required?: boolean | undefined;
  /** A load tries so often when the agent cannot be reached or answers 429 or 5xx, 1 or more. Default 5. */
  readonly maxTries?: number | undefined;
  /** No try begins later than this after the first, and none ends later, in milliseconds, above 0. Default 8_000. */
  readonly loadTimeoutMs?: number | undefined;
  /** Limit of one request, and of what a watch takes beyond its wait, in milliseconds, above 0. Default 2_000. */
  readonly requestTimeoutMs?: number | undefined;
  /** Larger answers are refused, in bytes, 1 or more; values come as base64. Default 1 MiB, enough for one value of 512 KiB, Consul's limit. */
  readonly maxResponseBytes?: number | undefined;
  /** How long the agent may hold a watch while nothing changes, in milliseconds, 1 to 600_000; also how long a stalled agent goes unnoticed. Default 60_000. */
  readonly waitMs?: number | undefined;
  /** Ceiling for the requests of a watch, whatever the agent does, above 0. Default 2. */
  readonly maxRequestsPerSecond?: number | undefined;
  /** No failed watch waits longer than this before the next try, in milliseconds, above 0. Default 10_000. */
  readonly maxBackoffMs?: number | undefined;
  /** Source of jitter in [0, 1). Default `Math.random`. */
  readonly random?: (() => number) | undefined;
  /** Told how watches fare; must not throw. Default: a process warning when one begins to fail. */
  readonly onEvent?: ConsulConfigListener | undefined;
}

/**
 * What {@link consulConfig} reads: `key` holds a whole YAML or JSON document; under `prefix`, which ends in `/`, each key holds
 * one value, so that `config/notes/http/port` under `config/notes/` is `http.port`.
 */
export type ConsulConfigOptions = ConsulConfigTuning & KvSelector;

/** All of it but where and what. */
export type ResolvedTuning = {
  readonly [
    K in
      | "required"
      | "maxTries"
      | "loadTimeoutMs"
      | "requestTimeoutMs"
      | "maxResponseBytes"
      | "waitMs"
      | "maxRequestsPerSecond"
      | "maxBackoffMs"
      | "clock"
      | "random"
      | "onEvent"
  ]-?: NonNullable<ConsulConfigTuning[K]>;
};

export const configDefaults: ResolvedTuning = Object.freeze({
  required: false,
  maxTries: 5,
  loadTimeoutMs: 8_000,
  requestTimeoutMs: 2_000,
  maxResponseBytes: kvDefaults.maxResponseBytes,
  waitMs: 60_000,
  maxRequestsPerSecond: 2,
  maxBackoffMs: 10_000,
  clock: systemClock,
  random: Math.random,
  onEvent: warnOfFailure,
});

/** @throws {@link OptionError} `ERR_OPTION_RANGE` */
export function toSelector(key: string | undefined, prefix: string | undefined): KvSelector {
  if (key !== undefined && prefix === undefined) {
    requireKey("key", key);
    if (!key.endsWith("/")) return { key };
    throw new OptionError(
      "ERR_OPTION_RANGE",
      "invalid_argument",
      `key must not end in a slash, as ${key}; that is a prefix`,
    );
  }
  if (prefix !== undefined && key === undefined) {
    requireKey("prefix", prefix);
    if (prefix.endsWith("/")) return { prefix };
    throw new OptionError(
      "ERR_OPTION_RANGE",
      "invalid_argument",
      `prefix must end in a slash, as ${prefix}/; else it is a key`,
    );
  }
  throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", "key or prefix must be given, and not both");
}

/** @throws {@link OptionError} `ERR_OPTION_RANGE` */
export function requireRanges(options: ResolvedTuning): void {
  requireWhole("maxTries", options.maxTries, { min: 1 });
  requireNumber("loadTimeoutMs", options.loadTimeoutMs, { min: Number.MIN_VALUE });
  requireNumber("requestTimeoutMs", options.requestTimeoutMs, { min: Number.MIN_VALUE });
  requireNumber("maxResponseBytes", options.maxResponseBytes, { min: 1 });
  requireNumber("waitMs", options.waitMs, { min: 1, max: 600_000 });
  requireNumber("maxRequestsPerSecond", options.maxRequestsPerSecond, { min: Number.MIN_VALUE });
  requireNumber("maxBackoffMs", options.maxBackoffMs, { min: Number.MIN_VALUE });
}
