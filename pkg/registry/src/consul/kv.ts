import { type Clock, requireNumber, Secret, systemClock, withDefaults } from "@plinth/kernel";
import { parseConsulAddress } from "./address.ts";
import {
  type BlockingAnswer,
  blockingParameters,
  type BlockingQuery,
  blockingTimeoutMs,
  parseIndex,
} from "./blocking.ts";
import { responseError } from "./client.ts";
import { ConsulHttp } from "./http.ts";
import { adviceFor, parseKvEntries, requireUnfiltered } from "./kv-entry.ts";
import { pathOfKey, requireKey } from "./kv-key.ts";

export interface ConsulKvOptions {
  /** The agent, as `host:port` or `http://host:port`. Default `http://127.0.0.1:8500`. */
  readonly address?: string | undefined;
  /** ACL token: `key:read` and `key:write` for what is read and written. Default none. */
  readonly token?: Secret | string | undefined;
  /** The datacenter that is asked. Default: the agent's own. */
  readonly dc?: string | undefined;
  /** Limit of one request, and of what a blocking one takes beyond its wait, in milliseconds, above 0. Default 3_000. */
  readonly requestTimeoutMs?: number | undefined;
  /** Larger answers are refused, in bytes, 1 or more; values come as base64. Default 1 MiB, enough for one value of 512 KiB. */
  readonly maxResponseBytes?: number | undefined;
  /** Whether the process waits for requests in flight. Default true. */
  readonly keepAlive?: boolean | undefined;
  /** Default: the system's clock. */
  readonly clock?: Clock | undefined;
}

export const kvDefaults: {
  readonly [K in Exclude<keyof ConsulKvOptions, "token" | "dc">]-?: NonNullable<ConsulKvOptions[K]>;
} = Object.freeze({
  address: "http://127.0.0.1:8500",
  requestTimeoutMs: 3_000,
  maxResponseBytes: 1024 * 1024,
  keepAlive: true,
  clock: systemClock,
});

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

export interface KvAnswer extends BlockingAnswer {
  /** None when there is no such key. */
  readonly entries: readonly KvEntry[];
}

export interface KvReadOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface KvWriteOptions extends KvReadOptions {
  /** Writes only if the key's `modifyIndex` is this one; 0: only if there is no such key. Default: in any case. */
  readonly cas?: number | undefined;
}

/**
 * Consul's key-value store. Opening it makes no request, and every call is tried once. Reads go to the leader, so they fail without one.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE`; {@link RegistryError} `ERR_REGISTRY_ADDRESS`.
 */
export function createConsulKv(options: ConsulKvOptions = {}): ConsulKv {
  return new ConsulKv(options);
}

/**
 * All calls throw {@link RegistryError}: `ERR_REGISTRY_UNAVAILABLE`, `_TIMEOUT`, `_DENIED`, `_REJECTED`, `_RESPONSE`, `_RESPONSE_SIZE`,
 * `_CLOSED`; or an {@link OptionError} `ERR_OPTION_RANGE` for a key that no path can carry, or the signal's reason.
 * @see https://developer.hashicorp.com/consul/api-docs/kv
 */
export class ConsulKv {
  readonly #http: ConsulHttp;
  readonly #requestTimeoutMs: number;
  readonly #inDatacenter: Readonly<Record<string, string>>;

  constructor({ token, dc, ...given }: ConsulKvOptions) {
    const { address, requestTimeoutMs, ...options } = withDefaults(kvDefaults, given);
    requireNumber("requestTimeoutMs", requestTimeoutMs, { min: Number.MIN_VALUE });
    requireNumber("maxResponseBytes", options.maxResponseBytes, { min: 1 });
    this.#requestTimeoutMs = requestTimeoutMs;
    this.#inDatacenter = dc === undefined ? {} : { dc };
    this.#http = new ConsulHttp({
      ...options,
      origin: parseConsulAddress(address),
      token: typeof token === "string" ? new Secret(token) : token,
    });
  }

  /** One key; undefined when there is none. */
  async get(key: string, { signal }: KvReadOptions = {}): Promise<KvEntry | undefined> {
    const { entries } = await this.read({ key }, { index: 0, waitMs: 0, signal });
    return entries[0];
  }

  /** All keys that begin with `prefix`, in the order of their names. */
  async list(prefix: string, { signal }: KvReadOptions = {}): Promise<readonly KvEntry[]> {
    const { entries } = await this.read({ prefix }, { index: 0, waitMs: 0, signal });
    return entries;
  }

  /** The same, blocking while the index is the newest. */
  async read(selector: KvSelector, query: BlockingQuery): Promise<KvAnswer> {
    const name = selector.key ?? selector.prefix;
    requireKey(selector.key === undefined ? "prefix" : "key", name);
    const { status, headers, text } = await this.#http.send({
      method: "GET",
      path: pathOfKey(name),
      query: {
        ...this.#inDatacenter,
        ...(selector.key === undefined ? { recurse: "true" } : {}),
        ...blockingParameters(query),
      },
      absentAllowed: true,
      advice: adviceFor("read", selector),
      timeoutMs: blockingTimeoutMs(query, this.#requestTimeoutMs),
      signal: query.signal,
    });
    requireUnfiltered(headers, selector);
    return {
      entries: status === 404 ? [] : parseKvEntries(text, selector),
      index: parseIndex(headers["x-consul-index"]),
    };
  }

  /** @returns false when `cas` did not hold, and nothing was written. Consul takes at most 512 KiB by default. */
  async put(key: string, value: string | Uint8Array, { cas, signal }: KvWriteOptions = {}): Promise<boolean> {
    return this.#write("PUT", key, { cas, signal, body: Buffer.from(value) });
  }

  /** @returns false when `cas` did not hold. A key that is not there is fine. */
  async delete(key: string, { cas, signal }: KvWriteOptions = {}): Promise<boolean> {
    return this.#write("DELETE", key, { cas, signal });
  }

  /** Cuts what is in flight. */
  async close(): Promise<void> {
    await this.#http.close();
  }

  async #write(
    method: "PUT" | "DELETE",
    key: string,
    { cas, signal, body }: KvWriteOptions & { readonly body?: Uint8Array },
  ): Promise<boolean> {
    requireKey("key", key);
    const { text } = await this.#http.send({
      method,
      path: pathOfKey(key),
      query: { ...this.#inDatacenter, ...(cas === undefined ? {} : { cas: String(cas) }) },
      body,
      advice: adviceFor("write", { key }),
      timeoutMs: this.#requestTimeoutMs,
      signal,
    });
    const answer = text.trim();
    if (answer === "true" || answer === "false") return answer === "true";
    throw responseError(key, `true or false was expected, not ${JSON.stringify(answer.slice(0, 100))}`);
  }
}
