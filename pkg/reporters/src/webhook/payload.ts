import { type ErrorReport, type SerializedError, serializeError } from "@plinth/kernel";

/** The body of one request. Fields may be added within a version; none is removed or changes its meaning. */
export interface WebhookPayload {
  readonly version: 1;
  /** The same when the batch is sent again, and in the header `idempotency-key`: a receiver that has seen it drops the repeat. */
  readonly id: string;
  readonly source: WebhookSource;
  /** The oldest first. */
  readonly reports: readonly WebhookReport[];
}

/** What runs, where there are several. */
export interface WebhookSource {
  /** Version of the app. */
  readonly version?: string;
  readonly instanceId?: string;
}

/** One error, or several that are the same. */
export interface WebhookReport {
  /** When it was reported, the last of them if there are several, as ISO 8601 in UTC. */
  readonly time: string;
  readonly service: string;
  readonly severity: "warning" | "error" | "fatal";
  readonly handled: boolean;
  readonly origin: string;
  /** The same for errors that are the same fault. */
  readonly fingerprint: string;
  /** How many errors it stands for, 1 or more. */
  readonly count: number;
  readonly traceId?: string;
  readonly spanId?: string;
  readonly requestId?: string;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  /** Type, code, status, message, stack, metadata, and what led to it: at most 6 levels and 30 errors, texts of 16 384 characters. */
  readonly error: SerializedError;
  /** Present when texts, causes or attributes were cut so that the batch fits. */
  readonly truncated?: true;
}

export function toWebhookReport(report: ErrorReport): WebhookReport {
  const { time, service, severity, handled, origin, fingerprint, count, attributes, error } = report;
  const { traceId, spanId, requestId } = report;
  return {
    time: new Date(time).toISOString(),
    service,
    severity,
    handled,
    origin,
    fingerprint,
    count,
    ...(traceId === undefined ? {} : { traceId }),
    ...(spanId === undefined ? {} : { spanId }),
    ...(requestId === undefined ? {} : { requestId }),
    attributes,
    error: serializeError(error),
  };
}
