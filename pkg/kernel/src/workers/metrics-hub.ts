import type { Clock } from "../clock.ts";
import { messageOf } from "../errors/app-error.ts";
import type { Logger } from "../logger/logger.ts";
import { createExposition, type MetricsExposition } from "../metrics/exposition.ts";
import { contentTypes } from "../metrics/format.ts";
import type { MetricsSnapshot } from "../metrics/snapshot.ts";
import type { WorkerMessage } from "./messages.ts";
import type { RunningWorker } from "./slot.ts";
import { readSnapshot } from "./snapshot-text.ts";
import { Totals } from "./totals.ts";

export interface MetricsHubOptions {
  readonly clock: Clock;
  /** How long a worker has to tell its metrics, in milliseconds. */
  readonly scrapeMs: number;
  readonly log: Logger;
  /** What the primary shows of itself and its workers; told, by number, those that did not answer this time. */
  readonly own: (missing: ReadonlySet<number>) => Promise<MetricsSnapshot>;
}

/** What is known of one app in one worker. */
interface Source {
  readonly worker: RunningWorker;
  last: MetricsSnapshot | undefined;
  /** The question that it has not answered. */
  owes: { readonly round: number; readonly askedAtMs: number } | undefined;
  /** While it is waited for: called when it has answered, with its metrics or without, or has ended. */
  onAnswer: ((hasTold: boolean) => void) | undefined;
}

/** A worker that owes an answer is not asked another time, nor waited for, until this has passed. */
const askAgainMs = 30_000;

/** One app, in all workers. */
interface Shared {
  readonly sources: Map<RunningWorker, Source>;
  readonly dead: Totals;
  readonly exposition: MetricsExposition;
}

/** Of apps that workers tell of so many are known: a main runs a few, and a worker gone wrong must not fill the primary. */
const maxApps = 100;
const maxComplaints = 100;

/**
 * Puts the metrics of all workers together, in the primary, for whichever worker was asked for them. Simultaneous scrapes share
 * one round of questions; a worker that does not answer in time is shown as it was last known; what the dead had counted stays.
 */
export class MetricsHub {
  readonly #options: MetricsHubOptions;
  readonly #apps = new Map<string, Shared>();
  readonly #complaints = new Set<string>();
  #round = 0;

  constructor(options: MetricsHubOptions) {
    this.#options = options;
  }

  receive(worker: RunningWorker, message: WorkerMessage): void {
    if (message.type === "app") this.#join(worker, message.app);
    if (message.type === "snapshot") this.#learn(worker, message);
    if (message.type === "scrape") void this.#answer(worker, message);
  }

  /** The worker has ended: what it last told is kept, but for its gauges. */
  leave(worker: RunningWorker): void {
    for (const { sources, dead } of this.#apps.values()) {
      const source = sources.get(worker);
      if (!source) continue;
      sources.delete(worker);
      if (source.last) dead.add(source.last);
      source.onAnswer?.(true);
    }
  }

  #join(worker: RunningWorker, name: string): void {
    let app = this.#apps.get(name);
    if (!app) {
      if (this.#apps.size >= maxApps) return;
      const exposition = createExposition(() => this.#gather(name));
      app = { sources: new Map(), dead: new Totals((what) => this.#complain(what)), exposition };
      this.#apps.set(name, app);
    }
    if (!app.sources.has(worker))
      app.sources.set(worker, { worker, last: undefined, owes: undefined, onAnswer: undefined });
  }

  #learn(worker: RunningWorker, { app, text, round }: Extract<WorkerMessage, { type: "snapshot" }>): void {
    const source = this.#apps.get(app)?.sources.get(worker);
    if (!source) return;
    const told = text === undefined ? undefined : this.#read(text, worker, app);
    if (text === undefined) this.#complain(`worker ${worker.index} has more metrics of ${app} than can be sent`);
    source.last = told ?? source.last;
    if (round === undefined || round !== source.owes?.round) return;
    source.owes = undefined;
    source.onAnswer?.(told !== undefined);
  }

  #read(text: string, worker: RunningWorker, app: string): MetricsSnapshot | undefined {
    try {
      return readSnapshot(text);
    } catch (error) {
      this.#complain(`what worker ${worker.index} sent as metrics of ${app} is none: ${messageOf(error)}`);
      return undefined;
    }
  }

  async #answer(worker: RunningWorker, { id, app, format }: Extract<WorkerMessage, { type: "scrape" }>): Promise<void> {
    try {
      const shared = this.#apps.get(app);
      const answer = await shared?.exposition.expose({ accept: contentTypes[format] });
      worker.process.send({ type: "scraped", id, ...answer });
    } catch (error) {
      this.#complain(`the metrics of ${app} cannot be put together: ${messageOf(error)}`);
      worker.process.send({ type: "scraped", id });
    }
  }

  async #gather(name: string): Promise<MetricsSnapshot> {
    const { own, log } = this.#options;
    const app = this.#apps.get(name);
    if (!app) return { families: [] };
    const missing = await this.#ask(name, [...app.sources.values()]);
    const silent = new Set(
      [...missing].filter(({ worker }) => app.sources.has(worker)).map(({ worker }) => worker.index),
    );
    if (silent.size > 0) log.debug("workers did not tell their metrics in time", { app: name, workers: [...silent] });
    const primary = await own(silent);
    // At one moment: whoever ends later is counted among the living alone.
    const living = [...app.sources.values()].toSorted((a, b) => a.worker.index - b.worker.index);
    return app.dead.with([...living.flatMap(({ last }) => last ?? []), primary]);
  }

  /** Returns those that have not told theirs in time. */
  async #ask(app: string, sources: readonly Source[]): Promise<ReadonlySet<Source>> {
    const { clock, scrapeMs } = this.#options;
    const round = ++this.#round;
    const askedAtMs = clock.monotonicMs();
    const missing = new Set(sources);
    const asked = sources.filter(({ owes }) => owes === undefined || askedAtMs - owes.askedAtMs >= askAgainMs);
    const answers = asked.map((source) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      source.owes = { round, askedAtMs };
      source.onAnswer = (hasTold) => {
        if (hasTold) missing.delete(source);
        resolve();
      };
      source.worker.process.send({ type: "collect", app, round });
      return promise;
    });
    const late = Promise.withResolvers<void>();
    const limit = clock.schedule(scrapeMs, late.resolve);
    await Promise.race([Promise.all(answers), late.promise]);
    limit.cancel();
    for (const source of sources) source.onAnswer = undefined;
    return missing;
  }

  /** Once each: a scrape comes every few seconds. */
  #complain(what: string): void {
    if (this.#complaints.has(what) || this.#complaints.size >= maxComplaints) return;
    this.#complaints.add(what);
    this.#options.log.warn("metrics of workers are left out", { why: what });
  }
}
