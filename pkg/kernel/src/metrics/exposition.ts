import { chooseFormat, contentTypes } from "./format.ts";
import { type ExpositionFormat, renderSnapshot } from "./render.ts";
import { shareRuns } from "./shared-run.ts";
import type { MetricsSnapshot } from "./snapshot.ts";

/** What a scrape is answered with: of one process its own metrics, of several what they are together. */
export interface MetricsExposition {
  /**
   * Metrics as text, made in slices that let everything else have its turn. Scrapes at the same time share one reading and one text.
   * @throws the signal's reason soon after it aborts.
   */
  expose(options?: ExposeOptions): Promise<ExposedMetrics>;
}

export interface ExposeOptions {
  /** The `Accept` header of the scrape: OpenMetrics 1.0 for who prefers it, else Prometheus text 0.0.4. Default none. */
  readonly accept?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The same object for all scrapes that share it. */
export interface ExposedMetrics {
  readonly contentType: string;
  readonly body: string;
  /** The same in UTF-8, where it was made so: then asking for `body` decodes it. */
  readonly bytes?: Buffer;
}

/** @param read - Called for each scrape that does not share one; `signal` aborts when nobody waits any longer. */
export function createExposition(read: (signal: AbortSignal) => Promise<MetricsSnapshot>): MetricsExposition {
  const snapshot = shareRuns(read);
  const inFormat = (format: ExpositionFormat): ((signal?: AbortSignal) => Promise<ExposedMetrics>) =>
    shareRuns(async (signal) => {
      const bytes = await renderSnapshot(await snapshot(signal), format, { signal });
      return {
        contentType: contentTypes[format],
        bytes,
        get body() {
          return bytes.toString();
        },
      };
    });
  const texts = { prometheus: inFormat("prometheus"), openmetrics: inFormat("openmetrics") };
  return { expose: ({ accept, signal } = {}) => texts[chooseFormat(accept)](signal) };
}
