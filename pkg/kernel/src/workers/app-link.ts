import type { Clock } from "../clock.ts";
import { messageOf } from "../errors/app-error.ts";
import { createMetrics } from "../metrics/create-metrics.ts";
import {
  createExposition,
  type ExposedMetrics,
  type ExposeOptions,
  type MetricsExposition,
} from "../metrics/exposition.ts";
import { chooseFormat } from "../metrics/format.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { ExpositionFormat } from "../metrics/render.ts";
import { shareRuns } from "../metrics/shared-run.ts";
import { aggregateSnapshots, type MetricsSnapshot } from "../metrics/snapshot.ts";
import type { WorkerIdentity } from "./identity.ts";
import type { PrimaryMessage } from "./messages.ts";
import type { PrimaryPort } from "./primary-port.ts";
import { writeSnapshot } from "./snapshot-text.ts";
import { declareAggregated } from "./workers-metrics.ts";

export interface AppLinkOptions {
  readonly app: string;
  readonly own: Metrics;
  readonly identity: WorkerIdentity;
  readonly port: PrimaryPort;
  readonly clock: Clock;
  /** How long the app may take to stop, in milliseconds. */
  readonly stopMs: number;
}

/** What the primary has beyond the time of the workers, to put their metrics together, in milliseconds. */
const primaryMs = 1_000;

/**
 * The metrics of an app that runs in several workers: gives its own to the primary when asked, and asks it for those of all. When
 * the primary does not answer it shows its own, under a label that keeps them apart from the totals of all.
 */
export class AppLink implements MetricsExposition {
  readonly #options: AppLinkOptions;
  readonly #alone: MetricsExposition;
  readonly #scrapes: Readonly<Record<ExpositionFormat, (signal?: AbortSignal) => Promise<ExposedMetrics>>>;
  readonly #waiting = new Map<number, (answer: ExposedMetrics | undefined) => void>();
  readonly #endListening: () => void;
  #lastId = 0;
  #closed: Promise<void> | undefined;

  constructor(options: AppLinkOptions) {
    this.#options = options;
    const { app, port, stopMs } = options;
    const marker = createMetrics();
    declareAggregated(marker, 0);
    this.#alone = createExposition(() => this.#snapshotAlone(marker));
    const inFormat = (format: ExpositionFormat) => shareRuns(() => this.#scrape(format));
    this.#scrapes = { prometheus: inFormat("prometheus"), openmetrics: inFormat("openmetrics") };
    this.#endListening = port.listen({
      onMessage: (message) => this.#receive(message),
      onGone: () => this.#giveUp(),
    });
    void port.send({ type: "app", app, stopMs });
  }

  async expose({ accept, signal }: ExposeOptions = {}): Promise<ExposedMetrics> {
    const { port } = this.#options;
    const format = chooseFormat(accept);
    if (!port.isOpen || this.#closed) return this.#alone.expose({ accept, signal });
    return this.#scrapes[format](signal);
  }

  /** Tells the primary the last values, so that it counts all of them when this process has gone. Safe to call twice. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    const { app, port } = this.#options;
    if (port.isOpen) await this.#tell({ app });
    this.#endListening();
    this.#giveUp();
  }

  async #scrape(format: ExpositionFormat): Promise<ExposedMetrics> {
    const { app, port, clock, identity } = this.#options;
    const id = ++this.#lastId;
    const { promise, resolve } = Promise.withResolvers<ExposedMetrics | undefined>();
    this.#waiting.set(id, resolve);
    const limit = clock.schedule(identity.scrapeMs + primaryMs, () => resolve(undefined));
    void port.send({ type: "scrape", id, app, format });
    const answer = await promise;
    limit.cancel();
    this.#waiting.delete(id);
    return (
      answer ?? this.#alone.expose({ accept: format === "openmetrics" ? "application/openmetrics-text" : undefined })
    );
  }

  #receive(message: PrimaryMessage): void {
    const { app } = this.#options;
    if (message.type === "collect" && message.app === app) void this.#tell({ app, round: message.round });
    if (message.type !== "scraped") return;
    const { id, contentType, body } = message;
    this.#waiting.get(id)?.(contentType === undefined || body === undefined ? undefined : { contentType, body });
  }

  /** Answers in any case: who is asked and says nothing counts as hanging. */
  async #tell(of: { readonly app: string; readonly round?: number }): Promise<void> {
    const { own, port } = this.#options;
    let text: string | undefined;
    try {
      text = await writeSnapshot(await own.snapshot());
    } catch (error) {
      process.emitWarning(`the metrics of ${of.app} cannot be told to the primary: ${messageOf(error)}`);
    }
    await port.send({ type: "snapshot", ...of, ...(text === undefined ? {} : { text }) });
  }

  #giveUp(): void {
    for (const resolve of this.#waiting.values()) resolve(undefined);
  }

  async #snapshotAlone(marker: Metrics): Promise<MetricsSnapshot> {
    const { own, identity } = this.#options;
    const both = await aggregateSnapshots([await own.snapshot(), await marker.snapshot()]);
    return labelled(both, String(identity.worker));
  }
}

const label = "worker";

/** A total of one worker must not look like one of all workers that has fallen. */
function labelled({ families }: MetricsSnapshot, worker: string): MetricsSnapshot {
  const valuesOf = ({ values }: { readonly values: readonly string[] }): readonly string[] => [...values, worker];
  return {
    families: families.map((family) => {
      if (family.labels.includes(label)) return family;
      const labels = [...family.labels, label];
      return family.type === "histogram"
        ? { ...family, labels, series: family.series.map((sample) => ({ ...sample, values: valuesOf(sample) })) }
        : { ...family, labels, series: family.series.map((sample) => ({ ...sample, values: valuesOf(sample) })) };
    }),
  };
}
