import type { ReadableSpan, SpanExporter } from "@opentelemetry/sdk-trace";
import type { Logger } from "@plinth/kernel";
import type { Meters } from "./meters.ts";

type Done = Parameters<SpanExporter["export"]>[1];

/** Counts what is exported and lost, and says once when the collector goes away and once when it is back. */
export class WatchedExporter implements SpanExporter {
  readonly #exporter: SpanExporter;
  readonly #log: Logger;
  readonly #meters: Meters;
  /** Batches under way, and when each began. */
  readonly #pending = new Map<ReadableSpan[], number>();
  #isFailing = false;

  constructor(exporter: SpanExporter, { log, meters }: { readonly log: Logger; readonly meters: Meters }) {
    this.#exporter = exporter;
    this.#log = log;
    this.#meters = meters;
  }

  export(spans: ReadableSpan[], done: Done): void {
    this.#pending.set(spans, performance.now());
    this.#exporter.export(spans, (result) => {
      const { code }: { readonly code: number } = result;
      if (this.#count(spans, code === 0 ? "exported" : "failed")) this.#tell(code !== 0, result.error);
      done(result);
    });
  }

  /** Gives up what is under way. Returns how many spans that were. */
  abandon(): number {
    let lost = 0;
    for (const spans of this.#pending.keys()) {
      lost += spans.length;
      this.#count(spans, "failed");
    }
    return lost;
  }

  shutdown(): Promise<void> {
    return this.#exporter.shutdown();
  }

  async forceFlush(): Promise<void> {
    await this.#exporter.forceFlush?.();
  }

  /** False when it has been given up before. */
  #count(spans: ReadableSpan[], outcome: "exported" | "failed"): boolean {
    const startedAtMs = this.#pending.get(spans);
    if (startedAtMs === undefined) return false;
    this.#pending.delete(spans);
    this.#meters.exported(outcome, spans.length, performance.now() - startedAtMs);
    return true;
  }

  #tell(isFailing: boolean, error: Error | undefined): void {
    if (isFailing === this.#isFailing) return;
    this.#isFailing = isFailing;
    if (isFailing) {
      this.#log.warn("spans cannot be exported; they are dropped until the collector answers", { error });
    } else this.#log.info("spans are exported again");
  }
}
