import { type Clock, type Metrics, requireNumber, requireWhole, type Secret } from "@plinth/kernel";
import { maxFrameBytes, minReportBytes } from "./body.ts";
import type { WebhookSource } from "./payload.ts";

/** Where reports go, and how hard it is tried. */
export interface WebhookOptions {
  /** http or https; may hold a token, or a user and a password. */
  readonly url: Secret;
  /** Sent as `Authorization: Bearer …`. Default none. */
  readonly token?: Secret | undefined;
  /** Names it in messages and in the bus. Default `webhook`. */
  readonly name?: string;
  /** Limit of one request, from connecting to the end of the reply, in milliseconds, above 0. Default 2_000. */
  readonly timeoutMs?: number;
  /** Further tries of a batch after a failure that may pass: no connection, no answer, 408, 429, 5xx. 0: none. Default 2. */
  readonly retries?: number;
  /** Retries for each batch in the long run, 0 to 1; some 10 are free. More are not made, whatever `retries` says. Default 0.2. */
  readonly retryRatio?: number;
  /** A pause that an answer asks for by `Retry-After` is kept up to so long, in milliseconds, 0 or more. Default 60_000. */
  readonly maxRetryAfterMs?: number;
  /** Most reports in one request, 1 or more; fewer where `maxBodyBytes` has no room for so many. Default 50. */
  readonly maxBatch?: number;
  /** Larger bodies are cut, the largest reports first, in bytes, 4_096 or more. Default 262_144. */
  readonly maxBodyBytes?: number;
  /** Certificates to trust instead of Node's own, as PEM. Default: Node's, and those in `NODE_EXTRA_CA_CERTS`. */
  readonly ca?: string | undefined;
  /** What runs, for the receiver. Default nothing. */
  readonly source?: WebhookSource;
  /** Where `error_webhook_*` are declared. Default: nowhere. */
  readonly metrics?: Metrics | undefined;
  readonly clock?: Clock;
  /** Source of jitter in [0, 1). Tests pass a fixed one. Default `Math.random`. */
  readonly random?: () => number;
}

export type WebhookLimits = Readonly<
  Required<
    Pick<WebhookOptions, "timeoutMs" | "retries" | "retryRatio" | "maxRetryAfterMs" | "maxBatch" | "maxBodyBytes">
  >
>;

export const webhookDefaults: WebhookLimits = Object.freeze({
  timeoutMs: 2_000,
  retries: 2,
  retryRatio: 0.2,
  maxRetryAfterMs: 60_000,
  maxBatch: 50,
  maxBodyBytes: 262_144,
});

/** @throws {@link OptionError} `ERR_OPTION_RANGE` when a limit is out of range. */
export function checkLimits(limits: WebhookLimits): WebhookLimits {
  requireNumber("timeoutMs", limits.timeoutMs, { min: 1 });
  requireWhole("retries", limits.retries, { min: 0, max: 10 });
  requireNumber("retryRatio", limits.retryRatio, { min: 0, max: 1 });
  requireNumber("maxRetryAfterMs", limits.maxRetryAfterMs, { min: 0 });
  requireWhole("maxBatch", limits.maxBatch, { min: 1 });
  requireWhole("maxBodyBytes", limits.maxBodyBytes, { min: 4_096 });
  const fitting = Math.floor((limits.maxBodyBytes - maxFrameBytes) / (minReportBytes + 1));
  return { ...limits, maxBatch: Math.min(limits.maxBatch, fitting) };
}
