import { createMemoryRegistry, createMemoryStore, registryModuleOf } from "@plinth/registry";

// The gateway and the service of one process find each other in a store that they share.
const store = createMemoryStore();
export const sharedRegistry = registryModuleOf((context) => createMemoryRegistry({ ...context, store }));
