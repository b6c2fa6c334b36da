// A call tree of three layers in a brown-out, event by event on a clock of its own: nothing waits, and the same seed gives the same numbers.
import type { Clock, Scheduled } from "@plinth/kernel";
import { attemptTimeoutMs, createRetries, createRetryBudget, type Retries } from "@plinth/resilience";

/** How the clients of every layer try again. */
export interface RetryHabit {
  readonly name: string;
  readonly maxAttempts: number;
  /** Whether each client keeps to a budget: a fifth of its calls. */
  readonly hasBudget: boolean;
  /** Whether the error of a call that was given up tells the layer above to try all of it again. */
  readonly handsOnRetryable: boolean;
}

export interface BrownOutPlan {
  readonly seed: number;
  /** Requests a second at the top; each makes two calls, and each of those two. */
  readonly requestsPerSecond: number;
  readonly seconds: number;
  /** From when to when, in seconds, the lowest layer has only part of its capacity, and a share of its answers are errors. */
  readonly brownOut: {
    readonly from: number;
    readonly to: number;
    readonly capacityRatio: number;
    readonly errorRatio: number;
  };
  /** Calls a second that the lowest layer can serve. */
  readonly capacity: number;
}

export interface BrownOutOutcome {
  readonly name: string;
  /** Attempts that reached each layer by those that would have without retries, over the whole run, from the top down. */
  readonly load: readonly number[];
  /** The same at the lowest layer in the worst second. */
  readonly worstLoad: number;
  /** Share of requests answered before the brown-out, during it and after it. */
  readonly answered: { readonly before: number; readonly during: number; readonly after: number };
}

/** Top, middle and lowest layer. */
const layers = 3;
const fanOut = 2;
const deadlineMs = 1_000;
/** Processes to a layer; each has clients, and so budgets, of its own. */
const processes = 4;
/** With more work waiting than this the lowest layer says no, which costs it a part of an answer. */
const maxBacklogMs = 100;
const refusalCost = 0.25;
const hopMs = 2;

/** Undefined: it was answered. */
type Failure = { readonly isRetryable: boolean } | undefined;
type Done = (failure: Failure) => void;

/** Runs the plan once. @param random - Numbers in [0, 1), the same in each run that is to be compared. */
export function runBrownOut(plan: BrownOutPlan, habit: RetryHabit, random: () => number): BrownOutOutcome {
  const run = new Run(plan, habit, random);
  run.toTheEnd();
  return run.outcome();
}

class Run {
  readonly #plan: BrownOutPlan;
  readonly #habit: RetryHabit;
  readonly #random: () => number;
  readonly #clock = new EventClock();
  /** By layer that is called, and process that calls. */
  readonly #clients: readonly (readonly Retries[])[];
  readonly #sent = Array.from({ length: layers }, () => 0);
  /** By second. */
  readonly #sentToLowest: number[];
  readonly #asked = { before: 0, during: 0, after: 0 };
  readonly #answered = { before: 0, during: 0, after: 0 };
  #lowestBusyUntilMs = 0;

  constructor(plan: BrownOutPlan, habit: RetryHabit, random: () => number) {
    this.#plan = plan;
    this.#habit = habit;
    this.#random = random;
    this.#sentToLowest = Array.from({ length: plan.seconds + 2 }, () => 0);
    const clock = this.#clock;
    const { maxAttempts, hasBudget } = habit;
    const toClient = (): Retries =>
      createRetries({ maxAttempts, random, budget: hasBudget ? createRetryBudget({ clock }) : undefined });
    this.#clients = Array.from({ length: layers }, () => Array.from({ length: processes }, toClient));
  }

  toTheEnd(): void {
    this.#arrive();
    this.#clock.runAll();
  }

  outcome(): BrownOutOutcome {
    const { before, during, after } = this.#answered;
    const perSecond = this.#plan.requestsPerSecond * fanOut ** (layers - 1);
    const requests = this.#asked.before + this.#asked.during + this.#asked.after;
    return {
      name: this.#habit.name,
      load: this.#sent.map((count, layer) => count / (requests * fanOut ** layer)),
      worstLoad: Math.max(...this.#sentToLowest) / perSecond,
      answered: {
        before: before / this.#asked.before,
        during: during / this.#asked.during,
        after: after / this.#asked.after,
      },
    };
  }

  /** One request at the top, and the next a while later. */
  #arrive(): void {
    const { seconds, requestsPerSecond, brownOut } = this.#plan;
    const second = this.#clock.monotonicMs() / 1_000;
    if (second >= seconds) return;
    const part = second < brownOut.from ? "before" : second < brownOut.to ? "during" : "after";
    this.#asked[part]++;
    this.#call(0, this.#clock.monotonicMs() + deadlineMs, (failure) => {
      if (!failure) this.#answered[part]++;
    });
    this.#clock.schedule((-Math.log(1 - this.#random()) * 1_000) / requestsPerSecond, () => this.#arrive());
  }

  /** One call to a layer, with as many attempts as the habit allows. */
  #call(layer: number, untilMs: number, done: Done): void {
    const client = this.#clients[layer]?.[Math.floor(this.#random() * processes)];
    if (!client) throw new RangeError(`there is no layer ${layer}`);
    client.begin();
    const attempt = (attempts: number): void => {
      const timeoutMs = attemptTimeoutMs(untilMs - this.#clock.monotonicMs());
      if (timeoutMs === 0) return done({ isRetryable: false });
      this.#send(layer, timeoutMs, (failure) => {
        if (!failure) return done(undefined);
        const remainingMs = untilMs - this.#clock.monotonicMs();
        const known = { isUnsent: false, isIdempotent: true, hasReplyBegun: false, isCancelled: false };
        const verdict = client.next({ attempts, remainingMs, ...known, isRetryable: failure.isRetryable });
        if (verdict.retry) this.#clock.schedule(verdict.delayMs, () => attempt(attempts + 1));
        else done({ isRetryable: this.#habit.handsOnRetryable && failure.isRetryable });
      });
    };
    attempt(1);
  }

  /** One attempt: what comes back in time, or the end of the time. */
  #send(layer: number, timeoutMs: number, done: Done): void {
    this.#sent[layer] = (this.#sent[layer] ?? 0) + 1;
    let isOver = false;
    const end: Done = (failure) => {
      if (isOver) return;
      isOver = true;
      timer.cancel();
      done(failure);
    };
    const timer = this.#clock.schedule(timeoutMs, () => end({ isRetryable: false }));
    this.#clock.schedule(hopMs, () => {
      if (layer === layers - 1) this.#serveLowest(end);
      else this.#serve(layer, this.#clock.monotonicMs() + timeoutMs - hopMs, end);
    });
  }

  /** Calls the next layer twice at the same time, and needs both. */
  #serve(layer: number, untilMs: number, done: Done): void {
    let open = fanOut;
    let failed: Failure;
    for (let call = 0; call < fanOut; call++)
      this.#call(layer + 1, untilMs, (failure) => {
        failed ??= failure;
        if (--open === 0) done(failed);
      });
  }

  #serveLowest(done: Done): void {
    const nowMs = this.#clock.monotonicMs();
    const second = Math.floor(nowMs / 1_000);
    this.#sentToLowest[second] = (this.#sentToLowest[second] ?? 0) + 1;
    const { brownOut, capacity } = this.#plan;
    const isBrown = second >= brownOut.from && second < brownOut.to;
    const costMs = 1_000 / (capacity * (isBrown ? brownOut.capacityRatio : 1));
    const busyUntilMs = Math.max(nowMs, this.#lowestBusyUntilMs);
    const isRefused = busyUntilMs - nowMs > maxBacklogMs;
    this.#lowestBusyUntilMs = busyUntilMs + (isRefused ? costMs * refusalCost : costMs);
    if (isRefused) this.#clock.schedule(hopMs, () => done({ isRetryable: true }));
    else {
      const isError = isBrown && this.#random() < brownOut.errorRatio;
      this.#clock.schedule(this.#lowestBusyUntilMs - nowMs, () => done(isError ? { isRetryable: true } : undefined));
    }
  }
}

interface Event extends Scheduled {
  readonly atMs: number;
  run: (() => void) | undefined;
}

/** Time goes from event to event. A binary heap: an overload makes a million of them. */
class EventClock implements Clock {
  readonly #heap: Event[] = [];
  #nowMs = 0;

  now(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  schedule(delayMs: number, task: () => void): Scheduled {
    const event: Event = { atMs: this.#nowMs + delayMs, run: task, cancel: () => (event.run = undefined) };
    let at = this.#heap.push(event) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = this.#heap[above];
      if (!parent || parent.atMs <= event.atMs) break;
      this.#heap[at] = parent;
      at = above;
    }
    this.#heap[at] = event;
    return event;
  }

  runAll(): void {
    for (let event = this.#take(); event; event = this.#take()) {
      this.#nowMs = event.atMs;
      event.run?.();
    }
  }

  #take(): Event | undefined {
    const heap = this.#heap;
    const [first] = heap;
    const last = heap.pop();
    if (!last || first === last) return first;
    let at = 0;
    for (;;) {
      const left = heap[2 * at + 1];
      const right = heap[2 * at + 2];
      const isRight = right !== undefined && left !== undefined && right.atMs < left.atMs;
      const least = isRight ? right : left;
      if (!least || least.atMs >= last.atMs) break;
      heap[at] = least;
      at = 2 * at + (isRight ? 2 : 1);
    }
    heap[at] = last;
    return first;
  }
}
