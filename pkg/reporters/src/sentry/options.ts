import {
  type Clock,
  type ErrorReport,
  type ErrorReporter,
  type Metrics,
  requireNumber,
  type Secret,
} from "@plinth/kernel";

/** Which project of Sentry hears of errors, and as what. */
export interface SentryOptions {
  /** As Sentry shows it among the keys of a project. */
  readonly dsn: Secret;
  /** Such as `staging`. Default `production`, which is Sentry's own. */
  readonly environment?: string | undefined;
  /** Such as `notes@1.2.3`. Default none. */
  readonly release?: string | undefined;
  /** This instance, among those of the app. Default none. */
  readonly serverName?: string | undefined;
  /** Share of reports that is sent, 0 to 1; fatal ones always are. Default 1. */
  readonly sampleRatio?: number;
  /** Limit of one request, from connecting to the end of the reply, in milliseconds, above 0. Default 3_000. */
  readonly timeoutMs?: number;
  /** Certificates to trust instead of Node's own, as PEM. Default: Node's, and those in `NODE_EXTRA_CA_CERTS`. */
  readonly ca?: string | undefined;
  /** Where `error_sentry_events_total` is declared. Default: nowhere. */
  readonly metrics?: Metrics | undefined;
  readonly clock?: Clock;
  /** What sampling is decided by, in [0, 1). Tests pass a fixed one. Default `Math.random`. */
  readonly random?: () => number;
}

export interface SentryReporter extends ErrorReporter {
  /**
   * Resolves when Sentry has taken all of them, those left out by sampling aside.
   * @throws {@link ReporterError} `ERR_REPORTER_REFUSED`, `_UNAVAILABLE`, `_TIMEOUT`, `_PAUSED`, `_DROPPED`, `_CLOSED`; the signal's
   *   reason. Of several failures the first, when all others have ended.
   */
  report(reports: readonly ErrorReport[], context: { readonly signal: AbortSignal }): Promise<void>;
  /** Takes no more. Waits for events under way, each at most `timeoutMs`, and cuts them when `signal` aborts. Safe to call twice. */
  close(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}

export type SentryLimits = Readonly<Required<Pick<SentryOptions, "sampleRatio" | "timeoutMs">>>;

export const sentryDefaults: SentryLimits = Object.freeze({ sampleRatio: 1, timeoutMs: 3_000 });

/** @throws {@link OptionError} `ERR_OPTION_RANGE` when a limit is out of range. */
export function checkSentryLimits(limits: SentryLimits): SentryLimits {
  requireNumber("sampleRatio", limits.sampleRatio, { min: 0, max: 1 });
  requireNumber("timeoutMs", limits.timeoutMs, { min: 1 });
  return limits;
}
