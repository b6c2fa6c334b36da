import type { Instance } from "../registry.ts";

/** Where memory registries keep their instances; those that share one find each other. */
export interface MemoryStore {
  /** Ready instances of a service. */
  list(service: string): readonly Instance[];
  has(id: string): boolean;
  put(instance: Instance, ready: boolean): void;
  remove(instance: Instance): void;
  /** Calls `listener` when the ready instances of a service may have changed. Returns how to end that. */
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
  const entries = new Map<string, { readonly instance: Instance; readonly ready: boolean }>();
  const listeners = new Map<string, Set<() => void>>();
  const tell = (service: string): void => {
    for (const listener of listeners.get(service) ?? []) listener();
  };
  return {
    list: (service) =>
      [...entries.values()]
        .filter(({ instance, ready }) => ready && instance.service === service)
        .map(({ instance }) => instance),
    has: (id) => entries.has(id),
    put(instance, ready) {
      const isSame = entries.get(instance.id)?.ready === ready;
      entries.set(instance.id, { instance, ready });
      if (!isSame) tell(instance.service);
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
