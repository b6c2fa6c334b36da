import { setImmediate } from "node:timers/promises";
import type { Clock, ErrorBus, Logger } from "@plinth/kernel";
import { changesBetween, type DocumentChanges } from "../config/changes.ts";
import type { ParsedDocument } from "../config/schema.ts";
import { GatewayConfigError, GatewayError } from "../errors.ts";
import { contractsOf, withContracts } from "../transcoding/contracts.ts";
import { firstAnswers } from "./first-answers.ts";
import type { Generation } from "./generation.ts";

export interface GenerationsOptions {
  readonly first: Generation;
  /** In steps, between which requests have their turn. */
  readonly build: (document: ParsedDocument, before: Generation) => Generator<undefined, Generation, void>;
  /** New requests begin with it from now on. */
  readonly onChange: (next: Generation) => void;
  /** Whether the gateway drains or has closed. */
  readonly isOver: () => boolean;
  /** Whether it has closed, and with it whatever all of them have. */
  readonly isClosed: () => boolean;
  readonly clock: Clock;
  readonly errors: ErrorBus;
  readonly log: Logger | undefined;
}

/** Another document, built and waiting for the word. One of the two is to be called, once; until then no other one is prepared. */
export interface PreparedDocument {
  readonly changes: DocumentChanges;
  /** Takes it in place of the one before. @throws {@link GatewayError} `ERR_GATEWAY_STATE` once the gateway drains; then it is discarded. */
  commit(): void;
  /** Lets it go; everything stays as it was. Without effect after `commit`. */
  discard(): void;
}

/** The documents at work: the one that requests begin with, and those before it that requests still end with. */
export class Generations {
  readonly #options: GenerationsOptions;
  /** Those that requests go by or soon will: what none of them has is closed. */
  readonly all = new Set<Generation>();
  #current: Generation;
  #turn: Promise<void> = Promise.resolve();

  constructor(options: GenerationsOptions) {
    this.#options = options;
    this.#current = options.first;
    options.first.caps.take();
    this.all.add(options.first);
  }

  /**
   * Builds what a document needs beside what is there, and asks new issuers and services for their first answers.
   * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG`; {@link GatewayError} `ERR_GATEWAY_STATE` once the gateway drains.
   */
  async prepare(document: ParsedDocument): Promise<PreparedDocument> {
    const before = this.#turn;
    const over = Promise.withResolvers<void>();
    this.#turn = over.promise;
    await before;
    try {
      return await this.#prepare(document, over.resolve);
    } catch (error) {
      over.resolve();
      throw error;
    }
  }

  async #prepare(document: ParsedDocument, onOver: () => void): Promise<PreparedDocument> {
    const { build, onChange, isOver, clock, log } = this.#options;
    this.#requireOpen();
    const before = this.#current;
    const contracts = contractsOf(document.routes);
    const changes = withContracts(changesBetween(before.document, document), before.contracts, contracts);
    if (before.document.workers !== document.workers) throw otherWorkers();
    if (!changes.any) return { changes, commit: onOver, discard: onOver };
    const steps = build(document, before);
    let step = steps.next();
    while (!step.done) {
      await setImmediate();
      step = isOver() ? steps.throw(isOverError()) : steps.next();
    }
    const next = step.value;
    this.all.add(next);
    for (const issuer of next.issuers) if (!before.issuers.includes(issuer)) issuer.keys.start();
    const hasAnswers = await firstAnswers({ next, before, clock });
    if (!hasAnswers) log?.warn("not all services and keys of issuers are known yet; going on all the same");
    let isDone = false;
    const discard = (): void => {
      if (isDone) return;
      isDone = true;
      next.caps.discard();
      this.letGo(next);
      onOver();
    };
    const commit = (): void => {
      if (isDone) return;
      if (isOver()) discard();
      this.#requireOpen();
      isDone = true;
      this.#current = next;
      next.caps.take();
      onChange(next);
      for (const [service, pool] of before.pools) if (next.pools.get(service) !== pool) pool.supersede();
      before.use.supersede(() => this.letGo(before));
      onOver();
    };
    return { changes, commit, discard };
  }

  #requireOpen(): void {
    if (this.#options.isOver()) throw isOverError();
  }

  /** Closes what no other generation has. */
  letGo(generation: Generation): void {
    if (this.#options.isClosed() || !this.all.delete(generation)) return;
    const left = [...this.all];
    generation.plugins?.close(left.map(({ plugins }) => plugins));
    for (const issuer of generation.issuers) {
      if (!left.some(({ issuers }) => issuers.some(({ keys }) => keys === issuer.keys))) issuer.keys.close();
    }
    for (const [service, pool] of generation.pools) {
      if (!left.some(({ pools }) => pools.get(service) === pool)) {
        pool.close().catch((error: unknown) => this.#options.errors.report(error, { origin: "lifecycle" }));
      }
    }
  }
}

function isOverError(): GatewayError {
  const what = "the gateway was drained or closed before; create a new one to use another document";
  return new GatewayError("ERR_GATEWAY_STATE", "failed_precondition", what);
}

function otherWorkers(): GatewayConfigError {
  const problem = "it is read at the start alone: restart the gateway for another number, or put back the one before";
  return new GatewayConfigError([{ key: "workers", problem, source: "document" }]);
}
