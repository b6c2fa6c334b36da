import type { Clock, PrimaryLink, WorkersTeam } from "@plinth/kernel";
import type { RateAsk, RateStore, RateVerdict } from "@plinth/resilience";
import { channels, partsOf } from "./team.ts";

/** `[id, name, key, limit, windowMs, cost, owed]`; a negative id asks for no answer, and gives back. */
type Ask = readonly [number, string, string, number, number, number, number];
/** `[id, allowed, remaining, retryAfterMs, resetMs]` */
type Answer = readonly [number, 0 | 1, number, number, number];

/** Of one that does not answer so many questions are kept; those after them fail at once. */
const maxWaiting = 50_000;
/** Whoever asked has gone on without an answer long before, in milliseconds. */
const forgetMs = 15_000;

interface Waiting {
  readonly sinceMs: number;
  readonly resolve: (verdict: RateVerdict) => void;
  readonly reject: (error: Error) => void;
}

/** Counts of rate limits in the primary, for one worker: what comes in one turn of the event loop is asked in one message. */
export class PrimaryRateStore implements RateStore {
  readonly name = "primary";
  readonly #link: PrimaryLink;
  readonly #clock: Clock;
  readonly #waiting = new Map<number, Waiting>();
  readonly #endListening: () => void;
  #asks: Ask[] = [];
  #lastId = 0;

  constructor(link: PrimaryLink, clock: Clock) {
    this.#link = link;
    this.#clock = clock;
    this.#endListening = link.listen(channels.rates, {
      onMessage: (data) => this.#receive(data),
      onGone: () => this.#failAll(),
    });
  }

  get isReady(): boolean {
    return this.#link.isOpen;
  }

  get lastError(): unknown {
    return this.isReady ? undefined : new Error("the primary has gone");
  }

  take({ name, key, limit, windowMs, cost, owed }: RateAsk): Promise<RateVerdict> {
    const { promise, resolve, reject } = Promise.withResolvers<RateVerdict>();
    const sinceMs = this.#clock.monotonicMs();
    this.#forget(sinceMs);
    if (!this.isReady) reject(new Error("the primary has gone"));
    else if (this.#waiting.size >= maxWaiting)
      reject(new Error(`the primary has not answered ${maxWaiting} questions`));
    else {
      const id = ++this.#lastId;
      this.#waiting.set(id, { sinceMs, resolve, reject });
      this.#ask([id, name, key, limit, windowMs, cost, owed]);
    }
    return promise;
  }

  async giveBack({ name, key, limit, windowMs, cost }: RateAsk): Promise<void> {
    this.#ask([-1, name, key, limit, windowMs, cost, 0]);
  }

  async close(): Promise<void> {
    this.#endListening();
    this.#failAll();
  }

  #ask(ask: Ask): void {
    this.#asks.push(ask);
    if (this.#asks.length > 1) return;
    setImmediate(() => {
      this.#link.send(channels.rates, this.#asks);
      this.#asks = [];
    });
  }

  #receive(data: unknown): void {
    if (!Array.isArray(data)) return;
    for (const answer of data) {
      if (!isAnswer(answer)) continue;
      const [id, allowed, remaining, retryAfterMs, resetMs] = answer;
      this.#waiting.get(id)?.resolve({ allowed: allowed === 1, remaining, retryAfterMs, resetMs });
      this.#waiting.delete(id);
    }
  }

  /** The oldest come first. */
  #forget(nowMs: number): void {
    for (const [id, { sinceMs, reject }] of this.#waiting) {
      if (nowMs - sinceMs < forgetMs) return;
      this.#waiting.delete(id);
      reject(new Error(`no answer of the primary within ${forgetMs} ms`));
    }
  }

  #failAll(): void {
    for (const { reject } of this.#waiting.values()) reject(new Error("the primary has gone"));
    this.#waiting.clear();
  }
}

/** Answers the workers out of `store`, in the primary. Returns how to end it. */
export function answerRates(team: WorkersTeam, store: RateStore): () => void {
  return team.listen(channels.rates, {
    onMessage: (member, data) => {
      if (!Array.isArray(data)) return;
      const asked = data.filter(isAsk);
      void Promise.all(asked.map((ask) => answer(store, ask))).then((answers) => {
        const told = answers.filter((each) => each !== undefined);
        if (told.length > 0) member.send(channels.rates, told);
      });
    },
  });
}

/** Undefined where none is wanted, or there is none: a worker that asks for nonsense goes on without. */
async function answer(store: RateStore, ask: Ask): Promise<Answer | undefined> {
  const [id, name, key, limit, windowMs, cost, owed] = ask;
  const question: RateAsk = { name, key, limit, windowMs, cost, owed };
  try {
    if (id < 0) {
      await store.giveBack(question);
      return undefined;
    }
    const { allowed, remaining, retryAfterMs, resetMs } = await store.take(question);
    return [id, allowed ? 1 : 0, remaining, retryAfterMs, resetMs];
  } catch {
    return undefined;
  }
}

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value);

function isAsk(value: unknown): value is Ask {
  const [id, name, key, ...numbers] = partsOf(value, 7);
  return isWhole(id) && typeof name === "string" && typeof key === "string" && numbers.every(isWhole);
}

function isAnswer(value: unknown): value is Answer {
  const parts = partsOf(value, 5);
  return parts.length > 0 && parts.every(Number.isFinite);
}
