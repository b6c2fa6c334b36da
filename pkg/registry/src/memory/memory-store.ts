import { sameInstance, withStatus } from "../instance.ts";
import type { Instance, InstanceState } from "../registry.ts";
import type { StatedInstance } from "../states.ts";

/** Where memory registries keep their instances; those that share one find each other. */
export interface MemoryStore {
  /** All instances of a service, in every state. */
  list(service: string): readonly StatedInstance[];
  /** Names of the services that have instances, ordered. */
  services(): readonly string[];
  has(id: string): boolean;
  put(instance: Instance, state: InstanceState): void;
  remove(instance: Instance): void;
  /** Calls `listener` when the instances of a service have changed. Returns how to end that. */
  listen(service: string, listener: () => void): () => void;
}

/**
 * Makes the place where several apps of one process register and find each other.
 *
 * @example
 * const store = createMemoryStore();
 * const sharedRegistry = registryModuleOf((context) => createMemoryRegistry({ ...context, store }));
 */
export function createMemoryStore(): MemoryStore {
  const entries = new Map<string, StatedInstance>();
  const listeners = new Map<string, Set<() => void>>();
  const tell = (service: string): void => {
    for (const listener of listeners.get(service) ?? []) listener();
  };
  return {
    list: (service) => [...entries.values()].filter(({ instance }) => instance.service === service),
    services: () => [...new Set([...entries.values()].map(({ instance }) => instance.service))].toSorted(),
    has: (id) => entries.has(id),
    put(given, state) {
      const instance = withStatus(given, state === "warning" ? "warning" : "passing");
      const before = entries.get(instance.id);
      if (before?.state === state && sameInstance(before.instance, instance)) return;
      entries.set(instance.id, { instance, state });
      tell(instance.service);
    },
    remove(instance) {
      if (entries.delete(instance.id)) tell(instance.service);
    },
    listen(service, listener) {
      const own = listeners.get(service) ?? new Set();
      listeners.set(service, own.add(listener));
      return () => {
        own.delete(listener);
        if (own.size === 0 && listeners.get(service) === own) listeners.delete(service);
      };
    },
  };
}
