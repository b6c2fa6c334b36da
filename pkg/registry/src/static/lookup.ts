import { Resolver } from "node:dns/promises";
import { messageOf } from "@plinth/kernel";
import { RegistryError } from "../errors.ts";
import { byId } from "../instance.ts";
import type { Instance } from "../registry.ts";
import { type DnsSource, foundAt, type SrvSource } from "./sources.ts";

export interface LookupOptions {
  /** Name servers as `address` or `address:port`. Default: those of the system. */
  readonly servers?: readonly string[] | undefined;
  /** Limit of one question to one server, in milliseconds; each is asked twice. */
  readonly timeoutMs: number;
}

/** What name servers say. None: they said with authority that there is nothing. */
export interface LookupAnswer {
  readonly instances: readonly Instance[];
  /** How long it holds, in milliseconds, as the records say; `Infinity` when they do not. */
  readonly ttlMs: number;
  /** Why a part could not be asked, which is as last known. */
  readonly error: RegistryError | undefined;
}

interface Addresses {
  readonly found: readonly string[];
  readonly ttlMs: number;
  readonly error: RegistryError | undefined;
}

const tries = 2;
const families = [4, 6] as const;

/** Looks up one source, and remembers each part's last answer for when it cannot be asked. */
export class Lookup {
  readonly #service: string;
  readonly #source: DnsSource | SrvSource;
  readonly #options: LookupOptions;
  /** By family and name. */
  readonly #known = new Map<string, readonly string[]>();
  #resolver: Resolver | undefined;

  constructor(service: string, source: DnsSource | SrvSource, options: LookupOptions) {
    this.#service = service;
    this.#source = source;
    this.#options = options;
  }

  /** @throws {@link RegistryError} `ERR_REGISTRY_LOOKUP` when nothing can be said. */
  async read(): Promise<LookupAnswer> {
    const source = this.#source;
    try {
      return "dns" in source ? await this.#readAddresses(source) : await this.#readTargets(source);
    } catch (error) {
      this.#resolver = undefined; // the next one reads the system's servers anew
      throw error;
    }
  }

  /** Ends what is being asked. */
  cancel(): void {
    this.#resolver?.cancel();
  }

  async #readAddresses(source: DnsSource): Promise<LookupAnswer> {
    const { found, ttlMs, error } = await this.#addressesOf(source.dns);
    return { instances: found.map((host) => foundAt(this.#service, source, host, source.ports)), ttlMs, error };
  }

  async #readTargets(source: SrvSource): Promise<LookupAnswer> {
    const { srv, protocol } = source;
    const records = (await this.#ask(srv, "SRV", (resolver) => resolver.resolveSrv(srv))) ?? [];
    const offered = records.filter(({ name }) => name !== "" && name !== "."); // the root means: not offered here
    let failure: RegistryError | undefined;
    for (const priority of [...new Set(offered.map((record) => record.priority))].toSorted((a, b) => a - b)) {
      const targets = offered.filter((record) => record.priority === priority);
      const answers = await Promise.allSettled(
        targets.map(async (target) => ({ target, addresses: await this.#addressesOf(target.name) })),
      );
      const instances = new Map<string, Instance>();
      let ttlMs = Infinity;
      for (const answer of answers) {
        if (answer.status === "rejected") {
          failure ??= lookupError(srv, answer.reason);
          continue;
        }
        const { target, addresses } = answer.value;
        failure ??= addresses.error;
        ttlMs = Math.min(ttlMs, addresses.ttlMs);
        for (const host of addresses.found) {
          const weight = source.weight ?? Math.max(1, target.weight);
          const instance = foundAt(this.#service, { ...source, weight }, host, { [protocol]: target.port });
          instances.set(instance.id, instance);
        }
      }
      if (instances.size > 0) return { instances: [...instances.values()].toSorted(byId), ttlMs, error: failure };
    }
    if (failure) throw failure;
    return { instances: [], ttlMs: Infinity, error: undefined };
  }

  /** Of both families. One that cannot be asked is as last known; one that was never known is no fault while the other answers. */
  async #addressesOf(name: string): Promise<Addresses> {
    const asked = families.filter((family) => (this.#source.family ?? family) === family);
    const answers = await Promise.allSettled(asked.map((family) => this.#familyOf(name, family)));
    const failure = answers.find((answer) => answer.status === "rejected");
    const found = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
    const kept = asked.flatMap((family, at) =>
      answers[at]?.status === "rejected" ? (this.#known.get(`${family} ${name}`) ?? []) : [],
    );
    if (failure && found.length + kept.length === 0) throw lookupError(name, failure.reason);
    return {
      found: [...found.map(({ address }) => address), ...kept].toSorted(),
      ttlMs: Math.min(Infinity, ...found.map(({ ttl }) => ttl * 1e3)),
      error: failure && kept.length > 0 ? lookupError(name, failure.reason) : undefined,
    };
  }

  async #familyOf(name: string, family: 4 | 6): Promise<readonly { readonly address: string; readonly ttl: number }[]> {
    const records = await this.#ask(name, family === 4 ? "A" : "AAAA", (resolver) =>
      family === 4 ? resolver.resolve4(name, { ttl: true }) : resolver.resolve6(name, { ttl: true }),
    );
    this.#known.set(
      `${family} ${name}`,
      (records ?? []).map(({ address }) => address),
    );
    return records ?? [];
  }

  /** Undefined: there is none, which a server with authority has said. */
  async #ask<T>(name: string, type: string, question: (resolver: Resolver) => Promise<T>): Promise<T | undefined> {
    try {
      return await question(this.#resolverNow());
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code === "ENOTFOUND" || code === "ENODATA") return undefined;
      throw lookupError(`${name} ${type}`, error);
    }
  }

  #resolverNow(): Resolver {
    if (this.#resolver) return this.#resolver;
    const { servers, timeoutMs } = this.#options;
    const resolver = new Resolver({ timeout: Math.ceil(timeoutMs), tries });
    if (servers) resolver.setServers(servers);
    return (this.#resolver = resolver);
  }
}

function lookupError(name: string, cause: unknown): RegistryError {
  if (cause instanceof RegistryError) return cause;
  const message = `${name} cannot be looked up: ${messageOf(cause)}; are the name servers of this machine reachable?`;
  return new RegistryError("ERR_REGISTRY_LOOKUP", "unavailable", message, { cause });
}
