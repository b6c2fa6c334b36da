import { type AppInfo, token } from "@plinth/kernel";
import type { Registration, Registry, RegistryView } from "@plinth/registry";
import { advertisedHost } from "@plinth/registry/endpoints";
import type { RateStore } from "@plinth/resilience";
import type { LimitStoreOptions } from "./limit-store.ts";

/** The Redis that `redis.url` names, and who shares it; undefined where there is none. */
export class LimitStore implements LimitStoreOptions {
  readonly store: RateStore;
  readonly deadlineMs: number;
  readonly #view: RegistryView;

  constructor(store: RateStore, deadlineMs: number, view: RegistryView) {
    this.store = store;
    this.deadlineMs = deadlineMs;
    this.#view = view;
  }

  /** This one, at least. */
  readonly gateways = (): number => Math.max(1, this.#view.current?.instances.length ?? 1);

  async close(): Promise<void> {
    this.#view.close();
    await this.store.close();
  }
}

export const limitStore = token("gateway.limit-store").of<LimitStore | undefined>();

interface GatewayEntryOptions {
  readonly own: { readonly host: string; readonly port: number };
  readonly isShared: boolean;
  readonly registry: Registry;
  readonly info: AppInfo;
  readonly advertiseHost: string | undefined;
}

/**
 * This gateway in the registry, by the name of its app: how many share a limit is counted there. It is there only where limits are
 * shared.
 */
export class GatewayEntry {
  readonly #options: GatewayEntryOptions;
  #registration: Registration | undefined;

  constructor(options: GatewayEntryOptions) {
    this.#options = options;
  }

  async join(signal: AbortSignal): Promise<void> {
    const { own, isShared, registry: known, info, advertiseHost } = this.#options;
    if (!isShared) return;
    const { host, port } = own;
    const endpoint = { protocol: "http", host, port: () => port } as const;
    const instance = {
      service: info.name,
      id: info.instanceId,
      host: advertisedHost([endpoint], advertiseHost),
      ports: { http: port },
      version: info.version,
    };
    this.#registration = await known.register(instance, { signal });
  }

  async leave(signal: AbortSignal): Promise<void> {
    await this.#registration?.deregister({ signal });
  }
}
