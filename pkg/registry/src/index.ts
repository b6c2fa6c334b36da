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
export { createStaticRegistry, type StaticRegistry, type StaticRegistryOptions } from "./static/static-registry.ts";
export type {
  DnsSource,
  SrvSource,
  StaticInstance,
  StaticPorts,
  StaticServices,
  StaticSource,
} from "./static/sources.ts";
export { pickVersion, splitByVersion, type VersionShare } from "./split-by-version.ts";
export { type ConsulRegistryOptions, createConsulRegistry } from "./consul/consul-registry.ts";
export type { CheckKind } from "./consul/probe.ts";
export {
  type ConsulCallOptions,
  type ConsulCatalogService,
  type ConsulClient,
  type ConsulFilterOptions,
  type ConsulHealthOptions,
  type ConsulList,
  type ConsulRegisterOptions,
  createConsulClient,
  type HealthAnswer,
} from "./consul/client.ts";
export type { ConsulCheck, ConsulHealthEntry, ConsulSelf, ConsulService, ConsulStatus } from "./consul/answers.ts";
export type { CheckDefinition, ServiceDefinition } from "./consul/service-definition.ts";
export type { ConsulConsistency, ConsulReadAnswer, ConsulReadOptions } from "./consul/read.ts";
export type { ConsulConnectionOptions, ConsulRequestEvent, ConsulTlsOptions } from "./consul/connection.ts";
export { consulOptionsFrom, type ConsulVariables, plinthOptionsFrom } from "./consul/environment.ts";
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
