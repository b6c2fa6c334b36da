import { type Clock, type ErrorBus, type Logger, messageOf, type Metrics, type Scheduled } from "@plinth/kernel";
import type { SharedText, SharedTexts, TextChange } from "@plinth/resilience";
import { parseRevocation, type RevocationChange, type Revocations, revocationText } from "@plinth/transport/jwt";

export interface SharedRevocationsOptions {
  /** It stays the caller's, to be closed later. */
  readonly store: SharedTexts;
  /** The copy of this process. */
  readonly revocations: Revocations;
  /** How often the store is asked for what others have changed, in milliseconds. */
  readonly pollMs: number;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger | undefined;
  readonly errors: ErrorBus;
}

/** How long one answer of the store is waited for, in milliseconds. */
const answerMs = 1_000;
/** All is read anew so often, in milliseconds: what the store has lost without a sign is put back. */
const wholeMs = 60_000;
/** So many rounds in a row without the store, and it is told. */
const maxFailed = 3;
/** Told to the store at one time. */
const maxAtOnce = 500;

/**
 * Keeps the revocations of this process and those of other gateways the same, through a store that all of them ask. A request asks nobody
 * but the copy here, which goes on alone while the store is away. After that, as at the start, everything is read; what the copy
 * has, and the store neither has nor has seen taken back, is put there again: a store that forgets lets no token in.
 */
export class SharedRevocations {
  /** Resolves once everything has been read for the first time. */
  readonly whole: Promise<void>;
  readonly #options: SharedRevocationsOptions;
  readonly #pending = new Map<string, RevocationChange>();
  readonly #endListening: () => void;
  readonly #rounds;
  readonly #firstWhole = Promise.withResolvers<void>();
  /** What to ask with for what follows; undefined: everything is to be read. */
  #next: number | undefined;
  #wholeAtMs = 0;
  #readAtMs: number | undefined;
  #failed = 0;
  #isDegraded = false;
  #isFull = false;
  #timer: Scheduled | undefined;
  #running: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: SharedRevocationsOptions) {
    const { revocations, metrics, clock } = options;
    this.#options = options;
    this.whole = this.#firstWhole.promise;
    this.#endListening = revocations.onChange((change) => {
      this.#pending.set(revocationText(change.revocation), change);
      this.#soon();
    });
    this.#rounds = metrics.counter({
      name: "gateway_revocation_rounds_total",
      help: "Times that the store of shared revocations was told and asked what is new.",
      labels: ["outcome"],
    });
    metrics.gauge({
      name: "gateway_revocations_unshared",
      help: "Revocations made or taken back here that the store does not know of yet.",
      aggregate: "sum",
      collect: (gauge) => gauge.set({}, this.#pending.size),
    });
    metrics.gauge({
      name: "gateway_revocations_age_seconds",
      help: "How long ago the store of shared revocations last said what is new. Absent before the first time.",
      aggregate: "max",
      collect: (gauge) => {
        if (this.#readAtMs !== undefined) gauge.set({}, (clock.monotonicMs() - this.#readAtMs) / 1e3);
      },
    });
  }

  get isDegraded(): boolean {
    return this.#isDegraded;
  }

  start(): void {
    this.#soon();
  }

  /** Tells what has not been told, where the store answers, and ends. Safe to call twice. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#endListening();
    this.#timer?.cancel();
    await this.#running;
    if (this.#pending.size === 0) return;
    try {
      await this.#tell();
    } catch (error) {
      const attributes = { unshared: this.#pending.size, cause: messageOf(error) };
      this.#options.log?.warn("revocations end with this process: their store does not answer", attributes);
    }
  }

  /** A round at once, or after the one that goes on. */
  #soon(): void {
    if (this.#isClosed || this.#running) return;
    this.#timer?.cancel();
    this.#running = this.#round()
      .catch((error: unknown) => void this.#options.errors.report(error, { origin: "timer" }))
      .finally(() => {
        this.#running = undefined;
        this.#later();
      });
  }

  #later(): void {
    if (this.#isClosed) return;
    const { clock, pollMs } = this.#options;
    const waitMs = this.#pending.size > 0 && this.#failed === 0 ? 0 : pollMs * (0.8 + Math.random() * 0.2);
    this.#timer = clock.schedule(waitMs, () => this.#soon(), { keepAlive: false });
  }

  async #round(): Promise<void> {
    const { clock } = this.#options;
    try {
      await this.#tell();
      // 0: there was nothing, and may be nothing once more after what was put back
      const isWholeDue =
        this.#next === undefined || this.#next === 0 || clock.monotonicMs() - this.#wholeAtMs >= wholeMs;
      if (isWholeDue || !(await this.#read(this.#next ?? 0))) await this.#readAll();
      this.#readAtMs = clock.monotonicMs();
      this.#ended(undefined);
    } catch (error) {
      this.#next = undefined;
      this.#ended(error);
    }
  }

  /** Tells what was changed here. What is changed again meanwhile is told again. */
  async #tell(): Promise<void> {
    for (const op of ["remove", "add"] as const) {
      const all = [...this.#pending].filter(([, change]) => change.op === op);
      for (let at = 0; at < all.length; at += maxAtOnce) {
        const some = all.slice(at, at + maxAtOnce);
        const texts = some.map(([text, { revocation }]) => ({ text, untilMs: revocation.untilMs }));
        if (op === "add") await this.#add(texts);
        else await this.#ask((store) => store.remove(texts.map(({ text }) => text)));
        for (const [text, change] of some) if (this.#pending.get(text) === change) this.#pending.delete(text);
      }
    }
  }

  async #add(texts: readonly SharedText[], onlyMissing = false): Promise<void> {
    const refused = await this.#ask((store) => store.add(texts, { onlyMissing }));
    if (refused > 0) this.#full(`${refused} of ${texts.length} found no place in ${this.#options.store.name}`);
  }

  /** Told once for each time that everything is read. */
  #full(problem: string): void {
    this.#rounds.inc({ outcome: "full" });
    if (!this.#isFull) this.#options.log?.error("there are too many shared revocations", { problem });
    this.#isFull = true;
  }

  /** @returns False when it knows less than it did. */
  async #read(since: number, seen?: Set<string>): Promise<boolean> {
    for (let next = since; ;) {
      const from = next;
      const answer = await this.#ask((store) => store.changesSince(from));
      if (answer.head < from) return false;
      for (const change of answer.changes) {
        seen?.add(change.text);
        this.#apply(change);
      }
      next = answer.next;
      this.#next = next;
      if (this.#isClosed || next >= answer.head || answer.changes.length === 0) return true;
    }
  }

  async #readAll(): Promise<void> {
    const { revocations, clock, log, store } = this.#options;
    const seen = new Set<string>();
    this.#isFull = false;
    if (!(await this.#read(0, seen))) throw new Error("the store forgets while it is read");
    if (this.#isClosed) return;
    this.#wholeAtMs = clock.monotonicMs();
    this.#firstWhole.resolve();
    const missing = revocations.added().flatMap((revocation): SharedText[] => {
      const text = revocationText(revocation);
      return seen.has(text) || this.#pending.has(text) ? [] : [{ text, untilMs: revocation.untilMs }];
    });
    for (let at = 0; at < missing.length; at += maxAtOnce) await this.#add(missing.slice(at, at + maxAtOnce), true);
    if (missing.length > 0)
      log?.info("revocations put where gateways share them again", { store: store.name, count: missing.length });
  }

  #apply({ op, text, untilMs }: TextChange): void {
    const { revocations } = this.#options;
    if (this.#pending.has(text)) return; // it is told later than this was
    const revocation = parseRevocation(text, untilMs);
    if (!revocation) {
      this.#rounds.inc({ outcome: "unreadable" });
      return;
    }
    try {
      revocations.apply({ op, revocation });
    } catch (error) {
      this.#full(messageOf(error));
    }
  }

  /** @throws When there is no answer in time, or none at all. */
  async #ask<T>(question: (store: SharedTexts) => Promise<T>): Promise<T> {
    const { store, clock } = this.#options;
    const late = Promise.withResolvers<never>();
    const timer = clock.schedule(answerMs, () => late.reject(new Error(`no answer within ${answerMs} ms`)));
    try {
      return await Promise.race([question(store), late.promise]);
    } finally {
      timer.cancel();
    }
  }

  #ended(error: unknown): void {
    const { store, log } = this.#options;
    const ok = error === undefined;
    this.#rounds.inc({ outcome: ok ? "ok" : "failed" });
    this.#failed = ok ? 0 : this.#failed + 1;
    if (this.#isDegraded === this.#failed >= maxFailed) return;
    this.#isDegraded = !ok;
    const attributes = { store: store.name, unshared: this.#pending.size };
    if (ok) log?.info("revocations are shared with other gateways again", attributes);
    else {
      const cause = messageOf(store.lastError ?? error);
      log?.warn("revocations of other gateways are not known of: their store does not answer", {
        ...attributes,
        cause,
      });
    }
  }
}
