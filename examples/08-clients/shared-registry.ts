import { createMemoryRegistry, createMemoryStore, registryModule, registryModuleOf } from "@plinth/registry";

// Apps of one process find each other in a store that they share; with an agent, apps anywhere find each other in Consul.
const store = createMemoryStore();
export const sharedRegistry =
  process.env["PLINTH_CONSUL_ADDR"] === undefined
    ? registryModuleOf((context) => createMemoryRegistry({ ...context, store }))
    : registryModule;
