import type { ConfigSource, ErrorBus, Logger, Metrics } from "@plinth/kernel";
import type { DocumentChanges } from "./changes.ts";
import { checkAside } from "./check-aside.ts";
import { loadDocument } from "./document-source.ts";
import type { KnownPlugins } from "./schema-plugins.ts";
import type { ParsedDocument } from "./schema.ts";

export interface DocumentKeeperOptions {
  readonly source: ConfigSource;
  /** Those that the document may name. Default: none. */
  readonly plugins?: KnownPlugins;
  /** Takes a document that is valid in itself; rejects to refuse it. */
  readonly apply: (document: ParsedDocument) => Promise<DocumentChanges>;
  readonly log: Logger;
  readonly errors: ErrorBus;
  readonly metrics: Metrics;
}

/** Keeps a running gateway to the document of its place: whole, or not at all. A fault is told, and what was stays. */
export class DocumentKeeper {
  readonly #options: DocumentKeeperOptions;
  readonly #closing = new AbortController();
  readonly #reloads;
  #running: Promise<void> | undefined;
  /** Asked for while one was running: however often, once more is enough. */
  #isAskedAgain = false;

  constructor(options: DocumentKeeperOptions) {
    this.#options = options;
    this.#reloads = options.metrics.counter({
      name: "gateway_document_reloads_total",
      help: "Times that the gateway's document was read anew.",
      labels: ["outcome"],
    });
  }

  /** Reads it whenever it may have changed, until closed; also once now, since it may have since it was first read. */
  watch(): void {
    const { source, errors } = this.#options;
    const { signal } = this.#closing;
    try {
      source.watch?.(() => void this.reload(), { signal });
    } catch (error) {
      errors.report(error, { origin: "lifecycle", severity: "warning", attributes: { document: source.name } });
    }
    void this.reload();
  }

  /** Reads it anew; resolves when what was there at the call has been applied or refused. Never rejects: the outcome is logged, counted and reported. */
  async reload(): Promise<void> {
    if (this.#running) {
      this.#isAskedAgain = true;
      return this.#running;
    }
    this.#running = this.#loop();
    await this.#running;
  }

  close(): void {
    this.#closing.abort(new Error("the gateway no longer reads its document"));
  }

  async #loop(): Promise<void> {
    do {
      this.#isAskedAgain = false;
      await this.#once();
    } while (this.#isAskedAgain && !this.#closing.signal.aborted);
    this.#running = undefined;
  }

  async #once(): Promise<void> {
    const { source, plugins, apply, log, errors } = this.#options;
    const { signal } = this.#closing;
    if (signal.aborted) return;
    try {
      const { any, ...routes } = await apply(await loadDocument(source, { signal, plugins, check: checkAside }));
      this.#reloads.inc({ outcome: any ? "changed" : "unchanged" });
      if (any) log.info("document applied", { document: source.name, ...routes });
    } catch (error) {
      if (signal.aborted) return;
      this.#reloads.inc({ outcome: "refused" });
      errors.report(error, { origin: "lifecycle", attributes: { document: source.name } });
    }
  }
}
