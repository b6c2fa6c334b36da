import type { AppError, Clock } from "@plinth/kernel";
import { isEmptyFilter, keyOf, type Selection, toSelection } from "./filter.ts";
import { byId, sameInstance } from "./instance.ts";
import { noCounts } from "./states.ts";
import type { Instance, InstanceCounts, InstanceFilter, InstanceSet } from "./registry.ts";

/** When a set was last confirmed, in the clock's monotonic milliseconds; shared by a set and its twin with the other stale flag. */
interface Confirmation {
  atMs: number;
}

const maxGlances = 100;

/** What one process knows of one service, shared by all who watch it, whatever their filters. */
export class Feed {
  readonly service: string;
  readonly #all: Line;
  readonly #filtered = new Map<string, Line>();
  readonly #onConfirmed: (instances: readonly Instance[], isChange: boolean) => void;
  #error: AppError | undefined;
  #states: InstanceCounts = noCounts;
  /** Whether what is known was never confirmed in this process. */
  #isSeeded = false;
  /** What was asked for with filters that have no line, of the present set alone. */
  readonly #glances = new Map<string, InstanceSet>();

  /** @param onConfirmed - Told of each answer that was applied. */
  constructor(
    service: string,
    clock: Clock,
    onConfirmed: (instances: readonly Instance[], isChange: boolean) => void = () => {},
  ) {
    this.service = service;
    this.#onConfirmed = onConfirmed;
    this.#all = new Line(clock, service);
  }

  get current(): InstanceSet | undefined {
    return this.#all.current;
  }

  /** Why it cannot be confirmed now, if so. */
  get error(): AppError | undefined {
    return this.#error;
  }

  get states(): InstanceCounts {
    return this.#states;
  }

  /** Takes what the registry says. Returns the new set when the instances differ from those before. */
  publish(given: readonly Instance[], states: InstanceCounts = countsOf(given)): InstanceSet | undefined {
    this.#error = undefined;
    this.#isSeeded = false;
    this.#states = states;
    const changed = this.#take(merge(this.#all.current?.instances, given), false, 0);
    this.#onConfirmed(this.#all.current?.instances ?? [], changed !== undefined);
    return changed;
  }

  /** Takes what cannot be confirmed and is `ageMs` old, flagged stale: only where nothing is known, or nothing newer of the same kind. */
  seed(
    given: readonly Instance[],
    { ageMs, states = countsOf(given) }: { readonly ageMs: number; readonly states?: InstanceCounts },
  ): void {
    const { current } = this.#all;
    if (current && (!this.#isSeeded || given.length === 0 || current.ageMs < ageMs)) return;
    this.#isSeeded = true;
    this.#states = states;
    this.#take(merge(current?.instances, given), true, ageMs);
  }

  /** Keeps the last set, flagged stale, with its age running on. Counts that came with the doubt are as good as any. */
  doubt({ error, states }: { readonly error?: AppError; readonly states?: InstanceCounts } = {}): void {
    this.#error = error;
    if (states) this.#states = states;
    this.#glances.clear();
    const lines = [this.#all, ...this.#filtered.values()];
    for (const line of lines) line.doubt();
    for (const line of lines) line.tell();
  }

  /** The present set as `filter` sees it, without a line: the same set as long as nothing changes. */
  glance(filter: InstanceFilter | undefined): InstanceSet | undefined {
    const { current } = this.#all;
    if (!current || filter === undefined || isEmptyFilter(filter)) return current;
    const key = keyOf(filter);
    let set = this.#filtered.get(key)?.current ?? this.#glances.get(key);
    if (!set) {
      set = this.#all.select(toSelection(filter)).current ?? current;
      if (this.#glances.size < maxGlances) this.#glances.set(key, set);
    }
    return set;
  }

  /** The sets as `filter` sees them; the same line for filters that mean the same, for as long as one is in use. */
  line(filter: InstanceFilter | undefined): Line {
    if (filter === undefined || isEmptyFilter(filter)) return this.#all;
    const key = keyOf(filter);
    let line = this.#filtered.get(key);
    if (!line) {
      line = this.#all.select(toSelection(filter));
      this.#filtered.set(key, line);
    }
    return line;
  }

  /** Forgets a line that nobody uses any more. */
  drop(line: Line): void {
    for (const [key, own] of this.#filtered) if (own === line) this.#filtered.delete(key);
  }

  #take(instances: readonly Instance[], stale: boolean, ageMs: number): InstanceSet | undefined {
    const lines = [this.#all, ...this.#filtered.values()];
    const isChange = this.#all.take(instances, stale, ageMs);
    for (const line of this.#filtered.values()) line.take(instances, stale, ageMs);
    this.#glances.clear();
    for (const line of lines) line.tell(); // only now, so that a listener sees all lines at the same moment
    return isChange ? this.#all.current : undefined;
  }
}

/** The sets of a service as one filter sees them, one after the other. */
export class Line {
  readonly #clock: Clock;
  readonly #service: string;
  readonly #selection: Selection | undefined;
  readonly #listeners = new Set<() => void>();
  #confirmation: Confirmation = { atMs: 0 };
  #isTold = true;
  #current: InstanceSet | undefined;

  constructor(clock: Clock, service: string, selection?: Selection) {
    this.#clock = clock;
    this.#service = service;
    this.#selection = selection;
  }

  /** Read at each request of others: a field, and nothing else. */
  get current(): InstanceSet | undefined {
    return this.#current;
  }

  /** Another line that begins where this one is. */
  select(selection: Selection): Line {
    const line = new Line(this.#clock, this.#service, selection);
    const current = this.#current;
    if (current) line.take(current.instances, current.stale, current.ageMs);
    line.#isTold = true;
    return line;
  }

  /** Returns whether the instances differ from those before; the same set stays current as long as they and its flag do not. */
  take(all: readonly Instance[], stale: boolean, ageMs: number): boolean {
    const before = this.#current;
    const selected = this.#selection ? this.#selection(all) : all;
    const atMs = this.#clock.monotonicMs() - ageMs;
    const isChange = before === undefined || !isSameList(before.instances, selected);
    if (isChange) this.#confirmation = { atMs };
    else this.#confirmation.atMs = atMs;
    if (!isChange && before.stale === stale) return false;
    this.#set(
      isChange ? Object.freeze(selected) : before.instances,
      (before?.revision ?? 0) + (isChange ? 1 : 0),
      stale,
    );
    return isChange;
  }

  doubt(): void {
    const current = this.#current;
    if (current && !current.stale) this.#set(current.instances, current.revision, true);
  }

  /** Tells of what has changed since the last time. */
  tell(): void {
    if (this.#isTold) return;
    this.#isTold = true;
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` when the instances or the stale flag have changed. Returns how to end that. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #set(instances: readonly Instance[], revision: number, stale: boolean): void {
    this.#isTold = false;
    this.#current = new KnownSet(this.#clock, this.#confirmation, {
      service: this.#service,
      instances,
      revision,
      stale,
    });
  }
}

/** A set that stands for one answer, outside any feed. */
export function singleSet(
  clock: Clock,
  service: string,
  instances: readonly Instance[],
  {
    filter,
    stale = false,
    ageMs = 0,
  }: { readonly filter?: InstanceFilter | undefined; readonly stale?: boolean; readonly ageMs?: number } = {},
): InstanceSet {
  const line = new Line(clock, service, filter && toSelection(filter));
  line.take(instances.toSorted(byId), stale, ageMs);
  const set = line.current;
  if (!set) throw new TypeError("a line has a set once it has taken one");
  return set;
}

/** How many of the instances that get traffic are in which state. */
export function countsOf(instances: readonly Instance[]): InstanceCounts {
  const warning = instances.filter(({ status }) => status === "warning").length;
  return { ...noCounts, passing: instances.length - warning, warning };
}

/** Ordered by id; the same objects, and with no difference the same array, as before. */
function merge(before: readonly Instance[] | undefined, given: readonly Instance[]): readonly Instance[] {
  const known = new Map(before?.map((instance) => [instance.id, instance]));
  const sorted = given
    .map((instance) => {
      const own = known.get(instance.id);
      return own && sameInstance(own, instance) ? own : instance;
    })
    .toSorted(byId);
  return before && isSameList(before, sorted) ? before : sorted;
}

function isSameList(a: readonly Instance[], b: readonly Instance[]): boolean {
  return a === b || (a.length === b.length && a.every((instance, at) => instance === b[at]));
}

class KnownSet implements InstanceSet {
  readonly service: string;
  readonly instances: readonly Instance[];
  readonly revision: number;
  readonly stale: boolean;
  readonly #clock: Clock;
  readonly #confirmation: Confirmation;

  constructor(clock: Clock, confirmation: Confirmation, fields: Omit<InstanceSet, "ageMs">) {
    this.service = fields.service;
    this.instances = fields.instances;
    this.revision = fields.revision;
    this.stale = fields.stale;
    this.#clock = clock;
    this.#confirmation = confirmation;
    Object.freeze(this);
  }

  get ageMs(): number {
    return this.#clock.monotonicMs() - this.#confirmation.atMs;
  }
}
