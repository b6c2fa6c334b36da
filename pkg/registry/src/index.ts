export type {
  FollowedService,
  FollowOptions,
  Instance,
  InstanceChanges,
  InstanceCounts,
  InstanceFilter,
  InstanceSet,
  InstanceState,
  NewInstance,
  Ports,
  Readiness,
  RegisterOptions,
  Registration,
  RegistrationState,
  Registry,
  RegistryEvent,
  RegistryListener,
  RegistryOperation,
  RegistryStats,
  RegistryView,
  RequestOutcome,
  ResolveOptions,
  ServicesOptions,
  ServiceSummary,
  SkippedEntry,
  WatchOptions,
  ZonePreference,
} from "./registry.ts";
export { RegistryError, type RegistryErrorCode } from "./errors.ts";
export { authorityOf } from "./instance.ts";

export { createMemoryRegistry, type MemoryRegistryOptions } from "./memory/memory-registry.ts";
export { createMemoryStore, type MemoryStore } from "./memory/memory-store.ts";
export { type ConsulRegistryOptions, createConsulRegistry } from "./consul/consul-registry.ts";
export type { CheckKind } from "./consul/probe.ts";
export { consulConfig } from "./consul/config-source.ts";
export type { ConsulConfigOptions, ConsulConfigTuning } from "./consul/config-options.ts";
export type { ConsulConfigEvent, ConsulConfigListener } from "./consul/config-events.ts";
export type { BlockingAnswer, BlockingQuery } from "./consul/blocking.ts";
export {
  type ConsulKv,
  type ConsulKvOptions,
  createConsulKv,
  type KvAnswer,
  type KvEntry,
  type KvReadOptions,
  type KvSelector,
  type KvWriteOptions,
} from "./consul/kv.ts";

export { type Endpoint, endpoints } from "./endpoints.ts";
export { registry, type RegistryContext, registryModule, registryModuleOf } from "./module.ts";
export { consulSettings, registrySettings } from "./settings.ts";
