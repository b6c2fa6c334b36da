import type { Runnable } from "../app/runnable.ts";
import { backoffDelayMs } from "../backoff.ts";
import type { Clock } from "../clock.ts";
import { AppError } from "../errors/app-error.ts";
import type { Logger } from "../logger/logger.ts";
import { WorkersError } from "./errors.ts";
import { toWorkerMessage, type WorkerMessage } from "./messages.ts";
import { describeEnd, reasonOf, RunningWorker, type RestartReason, Slot } from "./slot.ts";
import type { Fork, WorkerEnd } from "./worker-process.ts";

export interface SupervisorOptions {
  readonly name: string;
  readonly count: number;
  readonly maxFailedStarts: number;
  readonly fork: Fork;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** Hears of what a worker sends, and of its end, after which nothing more comes of it. */
  readonly onMessage: (worker: RunningWorker, message: WorkerMessage) => void;
  readonly onEnd: (worker: RunningWorker) => void;
  readonly onRestart: (reason: RestartReason) => void;
  /** Ends listening at a place for good; resolves when workers have taken all that was accepted there. */
  readonly unlisten: (place: string) => Promise<void>;
}

/** A worker that was up for so long has not ended because of how it began: the next wait is the shortest again. */
const stableMs = 30_000;
/** What a worker may take beside the stop of its apps: for a hook that was cancelled, the last lines, and what somebody left open. */
const besidesStopMs = 4_000;
/** How long a worker may take that is told to end at once. */
const atOnceMs = 1_000;
const restartDelays = { baseDelayMs: 200, maxDelayMs: 10_000 };

/**
 * Keeps a number of workers running: starts them side by side, puts a new one in the place of each that ends, waiting longer
 * each time in a row, and gives up when one of them does not get up at all. It stands for their apps in the primary.
 */
export class Supervisor implements Runnable {
  readonly name: string;
  readonly failure: Promise<unknown>;
  readonly slots: readonly Slot[];
  readonly #options: SupervisorOptions;
  readonly #failed = Promise.withResolvers<unknown>();
  readonly #firstReady = Promise.withResolvers<void>();
  readonly #allGone = Promise.withResolvers<void>();
  readonly #troubles: string[] = [];
  #isTold = false;
  #isStopping = false;
  #stopped: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.name = options.name;
    this.failure = this.#failed.promise;
    this.slots = Array.from({ length: options.count }, (_, index) => new Slot(index + 1));
    this.#firstReady.promise.catch(() => undefined); // told by whoever waits for it
  }

  /** Resolves when the first worker is ready. @throws {@link WorkersError} `ERR_WORKERS_CRASH_LOOP`; what `signal` aborts with. */
  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const onAbort = (): void => {
      const what = "the start of the workers was cancelled";
      this.#firstReady.reject(new WorkersError("ERR_WORKERS_STATE", "cancelled", what, { cause: signal.reason }));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      for (const slot of this.slots) this.#fork(slot);
      await this.#firstReady.promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Stops all in order; of one that overruns its limits the process is killed. @throws {@link WorkersError} `ERR_WORKERS_STOP`. */
  stop(): Promise<void> {
    return (this.#stopped ??= this.#stop());
  }

  fail(error: unknown): void {
    this.#failed.resolve(error);
  }

  /** Has each worker that is up read its config anew; those that are starting read it anyway. */
  reload(): void {
    for (const worker of this.#running()) if (worker.readyAtMs !== undefined) worker.process.send({ type: "reload" });
  }

  /** Ends all workers without order: they get a moment to write their last lines. */
  async endNow(code: number): Promise<void> {
    this.#cease();
    const running = this.#running();
    for (const worker of running) worker.process.send({ type: "exit", code });
    const limit = this.#options.clock.schedule(atOnceMs, () => this.killAll());
    await this.#allGone.promise;
    limit.cancel();
  }

  killAll(): void {
    for (const worker of this.#running()) worker.process.kill();
  }

  #running(): RunningWorker[] {
    return this.slots.flatMap(({ worker }) => worker ?? []);
  }

  #fork(slot: Slot): void {
    const { fork, clock, log } = this.#options;
    const worker = new RunningWorker(slot.index, clock.monotonicMs());
    slot.worker = worker;
    try {
      worker.process = fork(slot.index, {
        onMessage: (message) => this.#receive(slot, worker, message),
        onEnd: (end) => this.#ended(slot, worker, end),
      });
    } catch (error) {
      this.#ended(slot, worker, { code: null, signal: null, error: AppError.from(error) });
      return;
    }
    log.debug("worker forked", { worker: slot.index, pid: worker.process.pid });
  }

  #receive(slot: Slot, worker: RunningWorker, given: unknown): void {
    const message = toWorkerMessage(given);
    if (message === undefined || slot.worker !== worker) return;
    if (message.type === "ready") this.#ready(slot, worker);
    if (message.type === "ended") worker.ended = message;
    if (message.type === "app") worker.stopMs += message.stopMs;
    if (message.type === "unlisten") void this.#unlisten(worker, message);
    this.#options.onMessage(worker, message);
  }

  /** What comes while one worker stops alone is for the others; when all stop, nothing more may come. */
  async #unlisten(worker: RunningWorker, { id, at }: Extract<WorkerMessage, { type: "unlisten" }>): Promise<void> {
    const { unlisten, log } = this.#options;
    try {
      if (this.#isStopping) await unlisten(at);
    } catch (error) {
      log.warn("connections may be lost at the end", { at, error: AppError.from(error) });
    }
    worker.process.send({ type: "unlistened", id });
  }

  #ready(slot: Slot, worker: RunningWorker): void {
    if (worker.readyAtMs !== undefined) return;
    const { clock, log } = this.#options;
    worker.readyAtMs = clock.monotonicMs();
    slot.failedStarts = 0;
    log.info("worker ready", { worker: slot.index, pid: worker.process.pid });
    this.#firstReady.resolve();
    if (this.#isTold || this.slots.some((each) => each.worker?.readyAtMs === undefined)) return;
    this.#isTold = true;
    log.info("all workers ready", { count: this.slots.length });
  }

  #ended(slot: Slot, worker: RunningWorker, end: WorkerEnd): void {
    const { clock, log, onEnd } = this.#options;
    slot.worker = undefined;
    onEnd(worker);
    const how = describeEnd(worker, end);
    const facts = { worker: slot.index, pid: worker.process.pid, exitCode: end.code, signal: end.signal };
    if (this.#isStopping) {
      if (!worker.isOrderly(end)) this.#troubles.push(`worker ${slot.index} ${how}`);
      if (this.#running().length === 0) this.#allGone.resolve();
      return;
    }
    const upMs = worker.readyAtMs === undefined ? 0 : clock.monotonicMs() - worker.readyAtMs;
    slot.failures = upMs >= stableMs ? 1 : slot.failures + 1;
    if (worker.readyAtMs === undefined) slot.failedStarts++;
    if (slot.failedStarts >= this.#options.maxFailedStarts) {
      log.error("worker does not start", { ...facts, tries: slot.failedStarts });
      this.#giveUp(`worker ${slot.index} failed to start ${slot.failedStarts} times in a row; at last it ${how}`);
      return;
    }
    const delayMs = backoffDelayMs(slot.failures, { ...restartDelays, random: this.#options.random });
    log.warn("worker ended", { ...facts, restartInMs: delayMs });
    slot.restart = clock.schedule(delayMs, () => {
      slot.restart = undefined;
      this.#options.onRestart(reasonOf(end));
      this.#fork(slot);
    });
  }

  #giveUp(why: string): void {
    const text = `${why}; mend that, and start again`;
    const error = new WorkersError("ERR_WORKERS_CRASH_LOOP", "failed_precondition", text);
    this.#cease();
    this.#firstReady.reject(error); // without effect when one was ready
    this.#failed.resolve(error);
  }

  /** From now on no worker is started. */
  #cease(): void {
    this.#isStopping = true;
    for (const slot of this.slots) slot.restart?.cancel();
    if (this.#running().length === 0) this.#allGone.resolve();
  }

  async #stop(): Promise<void> {
    this.#cease();
    const { clock, log } = this.#options;
    const running = this.#running();
    for (const worker of running) worker.process.send({ type: "stop" });
    log.info("workers told to stop", { count: running.length });
    const limits = running.map((worker) => {
      const limitMs = worker.stopLimitMs + besidesStopMs;
      return clock.schedule(limitMs, () => {
        if (!this.#running().includes(worker)) return;
        log.error("worker killed", { worker: worker.index, pid: worker.process.pid, limitMs });
        worker.killedAfterMs = limitMs;
        worker.process.kill();
      });
    });
    await this.#allGone.promise;
    for (const limit of limits) limit.cancel();
    if (this.#troubles.length === 0) return;
    throw new WorkersError("ERR_WORKERS_STOP", "failed_precondition", this.#troubles.join("; "));
  }
}
