import type { AppError, Clock } from "@plinth/kernel";
import { byId, sameInstances } from "./instance.ts";
import type { Instance, InstanceSet } from "./registry.ts";

const none: readonly Instance[] = Object.freeze([]);

/** What one process knows of one service, shared by all who watch it. */
export class Feed {
  readonly service: string;
  readonly #clock: Clock;
  readonly #listeners = new Set<() => void>();
  #current: InstanceSet | undefined;
  #error: AppError | undefined;

  constructor(service: string, clock: Clock) {
    this.service = service;
    this.#clock = clock;
  }

  get current(): InstanceSet | undefined {
    return this.#current;
  }

  /** Why it cannot be confirmed now, if so. */
  get error(): AppError | undefined {
    return this.#error;
  }

  /** Takes what the registry says. Returns the new set when the instances differ from those before. */
  publish(given: readonly Instance[]): InstanceSet | undefined {
    const sorted = given.toSorted(byId);
    const before = this.#current;
    const isChange = before === undefined || !sameInstances(before.instances, sorted);
    this.#error = undefined;
    this.#current = new Snapshot(this.#clock, {
      service: this.service,
      instances: isChange ? Object.freeze(sorted) : before.instances,
      revision: (before?.revision ?? 0) + (isChange ? 1 : 0),
      stale: false,
    });
    if (isChange || before.stale) this.#tell();
    return isChange ? this.#current : undefined;
  }

  /** Keeps the last set, flagged stale, with its age running on. */
  doubt(error?: AppError): void {
    this.#error = error;
    const before = this.#current;
    if (before === undefined || before.stale) return;
    this.#current = new Snapshot(this.#clock, before, before.ageMs, true);
    this.#tell();
  }

  /** Calls `listener` when the instances or the stale flag change. Returns how to end that. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** A set that stands for one answer, outside any feed. */
export function singleSet(clock: Clock, service: string, instances: readonly Instance[]): InstanceSet {
  const sorted = instances.length === 0 ? none : Object.freeze(instances.toSorted(byId));
  return new Snapshot(clock, { service, instances: sorted, revision: 1, stale: false });
}

class Snapshot implements InstanceSet {
  readonly service: string;
  readonly instances: readonly Instance[];
  readonly revision: number;
  readonly stale: boolean;
  readonly #clock: Clock;
  readonly #confirmedAtMs: number;

  constructor(clock: Clock, fields: Omit<InstanceSet, "ageMs">, ageMs = 0, stale = fields.stale) {
    this.service = fields.service;
    this.instances = fields.instances;
    this.revision = fields.revision;
    this.stale = stale;
    this.#clock = clock;
    this.#confirmedAtMs = clock.monotonicMs() - ageMs;
    Object.freeze(this);
  }

  get ageMs(): number {
    return this.#clock.monotonicMs() - this.#confirmedAtMs;
  }
}
