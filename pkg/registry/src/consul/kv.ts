import { requireWhole } from "@plinth/kernel";
import { responseError } from "./answers.ts";
import type { BlockingQuery } from "./blocking.ts";
import { type ConsulConnectionOptions, resolveConnection } from "./connection.ts";
import { adviceFor, parseKvEntries, requireUnfiltered } from "./kv-entry.ts";
import { pathOfKey, requireKey } from "./kv-key.ts";
import { type ConsulConsistency, type ConsulReadAnswer, parseRead, readRequest } from "./read.ts";
import { ConsulSession } from "./session.ts";

/** The same connection as everywhere, but that answers have 1 MiB at most unless said: enough for one value of 512 KiB, which come as base64. */
export interface ConsulKvOptions extends ConsulConnectionOptions {
  /** Whether the process waits for requests in flight. Default true. */
  readonly keepAlive?: boolean | undefined;
}

export const kvDefaults = Object.freeze({ maxResponseBytes: 1024 * 1024 });

export interface KvEntry {
  readonly key: string;
  readonly value: Uint8Array;
  /** Changes with every write; what `cas` takes. */
  readonly modifyIndex: number;
}

/** One key, or all that begin alike. */
export type KvSelector =
  | { readonly key: string; readonly prefix?: undefined }
  | { readonly prefix: string; readonly key?: undefined };

export interface KvAnswer extends ConsulReadAnswer {
  /** None when there is no such key. */
  readonly entries: readonly KvEntry[];
}

export interface KvReadOptions {
  /** Which server may answer. Default `default`: the leader, so that a read fails without one. */
  readonly consistency?: ConsulConsistency | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface KvWriteOptions {
  readonly signal?: AbortSignal | undefined;
  /** Writes only if the key's `modifyIndex` is this one; 0: only if there is no such key. Default: in any case. */
  readonly cas?: number | undefined;
}

/**
 * Consul's key-value store. Opening it makes no request, and every call is tried once.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE`; {@link RegistryError} `ERR_REGISTRY_ADDRESS`.
 */
export function createConsulKv(options: ConsulKvOptions = {}): ConsulKv {
  return new ConsulKv(new ConsulSession(resolveConnection(options, kvDefaults)));
}

/**
 * All calls throw {@link RegistryError}: `ERR_REGISTRY_UNAVAILABLE`, `_TIMEOUT`, `_DENIED`, `_REJECTED`, `_TLS`, `_TOKEN`, `_RESPONSE`,
 * `_RESPONSE_SIZE`, `_CLOSED`; or an {@link OptionError} `ERR_OPTION_RANGE` for a key that no path can carry, or the signal's reason.
 * @see https://developer.hashicorp.com/consul/api-docs/kv
 */
export class ConsulKv {
  readonly #session: ConsulSession;

  constructor(session: ConsulSession) {
    this.#session = session;
  }

  /** One key; undefined when there is none. */
  async get(key: string, options: KvReadOptions = {}): Promise<KvEntry | undefined> {
    const { entries } = await this.read({ key }, { index: 0, waitMs: 0, ...options });
    return entries[0];
  }

  /** All keys that begin with `prefix`, in the order of their names. */
  async list(prefix: string, options: KvReadOptions = {}): Promise<readonly KvEntry[]> {
    const { entries } = await this.read({ prefix }, { index: 0, waitMs: 0, ...options });
    return entries;
  }

  /** The same, blocking while the index is the newest. */
  async read(selector: KvSelector, query: BlockingQuery & Pick<KvReadOptions, "consistency">): Promise<KvAnswer> {
    const name = selector.key ?? selector.prefix;
    requireKey(selector.key === undefined ? "prefix" : "key", name);
    const { scope, requestTimeoutMs } = this.#session.connection;
    const read = readRequest(query, requestTimeoutMs);
    const { status, headers, text } = await this.#session.send(query.index > 0 ? "watch" : "kv", {
      method: "GET",
      path: pathOfKey(name),
      query: { ...scope, ...(selector.key === undefined ? { recurse: "true" } : {}), ...read.query },
      absentAllowed: true,
      advice: adviceFor("read", selector),
      timeoutMs: read.timeoutMs,
      signal: query.signal,
    });
    requireUnfiltered(headers, selector);
    return { entries: status === 404 ? [] : parseKvEntries(text, selector), ...parseRead(headers) };
  }

  /** @returns false when `cas` did not hold, and nothing was written. Consul takes at most 512 KiB by default. */
  async put(key: string, value: string | Uint8Array, options: KvWriteOptions = {}): Promise<boolean> {
    return this.#write("PUT", { key }, { ...options, body: Buffer.from(value) });
  }

  /** @returns false when `cas` did not hold. A key that is not there is fine. */
  async delete(key: string, options: KvWriteOptions = {}): Promise<boolean> {
    return this.#write("DELETE", { key }, options);
  }

  /** Deletes all keys that begin with `prefix`, in one step; Consul knows no `cas` for that. */
  async deleteAll(prefix: string, { signal }: Pick<KvWriteOptions, "signal"> = {}): Promise<void> {
    await this.#write("DELETE", { prefix }, { signal });
  }

  /** Cuts what is in flight, of all that shares the connection. */
  async close(): Promise<void> {
    await this.#session.close();
  }

  async #write(
    method: "PUT" | "DELETE",
    selector: KvSelector,
    { cas, signal, body }: KvWriteOptions & { readonly body?: Uint8Array },
  ): Promise<boolean> {
    const name = selector.key ?? selector.prefix;
    requireKey(selector.key === undefined ? "prefix" : "key", name);
    if (cas !== undefined) requireWhole("cas", cas, { min: 0 });
    const { text } = await this.#session.send("kv", {
      method,
      path: pathOfKey(name),
      query: {
        ...this.#session.connection.scope,
        ...(selector.key === undefined ? { recurse: "true" } : {}),
        ...(cas === undefined ? {} : { cas: String(cas) }),
      },
      body,
      advice: adviceFor("write", selector),
      signal,
    });
    const answer = text.trim();
    if (answer === "true" || answer === "false") return answer === "true";
    throw responseError(name, `true or false was expected, not ${JSON.stringify(answer.slice(0, 100))}`);
  }
}
