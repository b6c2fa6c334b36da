import type { App, ConfigData, Environment } from "@plinth/kernel";
import { createMemoryRegistry, type MemoryStore, registryModule, registryModuleOf } from "@plinth/registry";
import { createAudit } from "./audit/app.ts";
import { createGateway } from "./gateway/app.ts";
import { createGreeter } from "./greeter/app.ts";
import { createIssuer } from "./issuer/app.ts";
import { createNotes } from "./notes/app.ts";
import { keyPath, routesPath, stateDir } from "./paths.ts";

/** A line of the table that is printed when all is ready. */
export interface Address {
  readonly what: string;
  readonly url: string;
}

/** An app of the platform, and where it is once it has started. */
export interface PlatformApp {
  readonly app: App;
  addresses(): readonly Address[];
}

/** What every app of the platform is made with. */
export interface AppContext {
  readonly environment: Environment;
  /** Settings of all apps; file and environment win over them. */
  readonly config: ConfigData;
  readonly registryModule: typeof registryModule;
  readonly keyPath: string;
  readonly routesPath: string;
  readonly stateDir: string;
}

export type AppFactory = (context: AppContext) => PlatformApp;

/** In the order of their start; they stop the other way round. */
const factories = {
  issuer: createIssuer,
  audit: createAudit,
  notes: createNotes,
  greeter: createGreeter,
  gateway: createGateway,
} as const;

export type AppName = keyof typeof factories;
export const appNames: readonly AppName[] = ["issuer", "audit", "notes", "greeter", "gateway"];

export function isAppName(name: string): name is AppName {
  return Object.hasOwn(factories, name);
}

/** Nobody outside routes to these processes, so there is little to wait for once /ready has turned 503. */
const config: ConfigData = {
  lifecycle: { announceDelayMs: 200 },
  registry: { check: "http", checkIntervalMs: 500, zone: "local", tags: ["demo"] },
};

export interface PlatformOptions {
  readonly environment: Environment;
  /** Where the apps of one process find each other. Absent: through the registry that the environment names. */
  readonly store?: MemoryStore;
}

/** One app of the platform by name. */
export function createPlatformApp(name: AppName, { environment, store }: PlatformOptions): PlatformApp {
  return factories[name]({
    environment: environmentOf(name, environment),
    config,
    registryModule: store ? registryModuleOf((context) => createMemoryRegistry({ ...context, store })) : registryModule,
    keyPath,
    routesPath,
    stateDir,
  });
}

/** Variables that mean one app alone, where several read the same environment. */
const owners: ReadonlyMap<string, AppName> = new Map([
  ["PLINTH_OPS_", "gateway"],
  ["PLINTH_GATEWAY_", "gateway"],
  ["PLINTH_DATABASE_", "notes"],
]);

function environmentOf(name: AppName, environment: Environment): Environment {
  const isForeign = (variable: string): boolean =>
    [...owners].some(([prefix, owner]) => owner !== name && variable.startsWith(prefix));
  return Object.fromEntries(Object.entries(environment).filter(([variable]) => !isForeign(variable)));
}
