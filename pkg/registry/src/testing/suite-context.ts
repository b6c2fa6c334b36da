import assert from "node:assert/strict";
import type { InstanceSet, NewInstance, Registry } from "../registry.ts";
import { waitForSet } from "./wait-for-set.ts";

/** Two registries on one world, closed after the test. */
export interface SuiteContext {
  readonly mine: Registry;
  readonly other: Registry;
  /** An instance of this test's own service. */
  readonly instance: (id: string, more?: Partial<NewInstance>) => NewInstance;
  readonly service: string;
  /** Puts an instance where both find it; what it returns takes it away. */
  readonly give: (instance: NewInstance) => Promise<() => Promise<void>>;
}

type SuiteTest = (context: SuiteContext) => Promise<void>;
/** Adds one test to the suite. */
export type Define = (name: string, test: SuiteTest) => void;

export function idsOf({ instances }: { readonly instances: readonly { readonly id: string }[] }): string[] {
  return instances.map(({ id }) => id);
}

/** Next value of an iterator that has one. */
export async function nextOf<T>(iterator: AsyncIterator<T>): Promise<T> {
  const result = await iterator.next();
  assert.ok(!result.done, "the watch has ended");
  return result.value;
}

/** Waits until `registry` finds just these instances, confirmed: registries on a network tell each other in a moment, not at once. */
export async function finds(registry: Registry, service: string, ids: readonly string[]): Promise<InstanceSet> {
  return waitForSet(registry, service, (set) => !set.stale && idsOf(set).join() === ids.join());
}
