import type { Metrics } from "@plinth/kernel";

/**
 * What became of a batch: `sent`; `refused` by an answer that trying again does not change; `failed` after all tries that were
 * allowed; `paused`, not tried since the receiver asked for none; `aborted` by the limit of its caller, or by closing.
 */
export type BatchOutcome = "sent" | "refused" | "failed" | "paused" | "aborted";

/** What a webhook tells of itself; nothing of it goes through the error bus. */
export interface WebhookMetrics {
  batch(outcome: BatchOutcome): void;
  lost(reports: number): void;
  retry(): void;
  /** @param status - Of the answer; undefined when there was none. */
  request(status: number | undefined, tookMs: number): void;
}

export function measureWebhook(metrics: Metrics | undefined): WebhookMetrics {
  if (metrics === undefined) return { batch() {}, lost() {}, retry() {}, request() {} };
  const batches = metrics.counter({
    name: "error_webhook_batches_total",
    help: "Batches of error reports for the webhook, by what became of them.",
    labels: ["outcome"],
  });
  const lost = metrics.counter({
    name: "error_webhook_reports_lost_total",
    help: "Error reports that the webhook did not get.",
  });
  const retries = metrics.counter({
    name: "error_webhook_retries_total",
    help: "Requests to the webhook that repeated one before.",
  });
  const durations = metrics.histogram({
    name: "error_webhook_request_duration_seconds",
    help: "Time from a request to the webhook to the head of its answer, or to giving up, by class of status.",
    labels: ["status"],
  });
  return {
    batch: (outcome) => batches.inc({ outcome }),
    lost: (reports) => lost.inc({}, reports),
    retry: () => retries.inc({}),
    request: (status, tookMs) => durations.observe({ status: classOf(status) }, tookMs / 1_000),
  };
}

function classOf(status: number | undefined): string {
  return status === undefined || status < 100 || status > 599 ? "none" : `${Math.floor(status / 100)}xx`;
}
