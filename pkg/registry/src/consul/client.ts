import { RegistryError } from "../errors.ts";
import type { SkippedEntry } from "../registry.ts";
import {
  type ConsulCheck,
  type ConsulHealthEntry,
  type ConsulSelf,
  type ConsulService,
  type ConsulStatus,
  parseArray,
  parseJson,
  parseLeader,
  parseSelf,
  siftCatalog,
  siftChecks,
  siftHealth,
  siftServices,
} from "./answers.ts";
import { type ConsulConnectionOptions, resolveConnection } from "./connection.ts";
import { AnsweredUnavailable } from "./http.ts";
import { ConsulKv } from "./kv.ts";
import { type ConsulReadAnswer, type ConsulReadOptions, parseRead, readRequest, requireSeen } from "./read.ts";
import type { ServiceDefinition } from "./service-definition.ts";
import { ConsulSession } from "./session.ts";

export { type ConsulStatus, responseError } from "./answers.ts";
export type { CheckDefinition, ServiceDefinition } from "./service-definition.ts";

export interface HealthAnswer extends ConsulReadAnswer {
  /** As they came: each is checked on its own, so that one bad entry costs no other. */
  readonly entries: readonly unknown[];
}

/** What a list held that could be read; what could not is told apart, and costs no other. */
export interface ConsulList<T> {
  readonly items: readonly T[];
  readonly skipped: readonly SkippedEntry[];
}

export interface ConsulCallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface ConsulRegisterOptions extends ConsulCallOptions {
  /** What it is told as. Default `register`. */
  readonly operation?: "register" | "update" | undefined;
  /** Checks that are not given stay, such as one by which an operator has put it into maintenance. Default false. */
  readonly keepChecks?: boolean | undefined;
}

export interface ConsulFilterOptions extends ConsulCallOptions {
  /** What entries must be like, in Consul's own language, as `Meta.team == "blue"`. Default: all. */
  readonly filter?: string | undefined;
}

export interface ConsulHealthOptions extends ConsulReadOptions {
  /** Leaves out instances of which a check does not pass, warnings too. Default false: all, with their states. */
  readonly passing?: boolean | undefined;
  /** The name of a node, to which the nearest come first; `_agent` for the agent's own. Default: in no order. */
  readonly near?: string | undefined;
}

/** A service in Consul's catalogue. */
export interface ConsulCatalogService {
  readonly name: string;
  /** Those of all its instances. */
  readonly tags: readonly string[];
}

/**
 * A client of a Consul agent's HTTP API. Opening it makes no request; each call makes one, under a deadline, and tries nothing again.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE`, {@link RegistryError} `ERR_REGISTRY_ADDRESS`: naming the option, or the variable.
 * @example
 * const consul = createConsulClient({ address: "127.0.0.1:8500" });
 * const { items } = await consul.health("notes", { passing: true });
 */
export function createConsulClient(options: ConsulConnectionOptions = {}): ConsulClient {
  return new ConsulClient(options);
}

/**
 * All calls throw {@link RegistryError}: `ERR_REGISTRY_UNAVAILABLE` (no connection, 429, 5xx), `_TIMEOUT`, `_DENIED` (401, 403),
 * `_NOT_FOUND`, `_REJECTED` (other statuses), `_TLS`, `_TOKEN`, `_RESPONSE`, `_RESPONSE_SIZE`, `_CLOSED`; or the signal's reason.
 * @see https://developer.hashicorp.com/consul/api-docs
 */
export class ConsulClient {
  /** Consul's key-value store, over the same connections. */
  readonly kv: ConsulKv;
  readonly #session: ConsulSession;

  constructor(options: ConsulConnectionOptions) {
    this.#session = new ConsulSession(resolveConnection(options));
    this.kv = new ConsulKv(this.#session);
  }

  /** Puts a service and its checks into the agent, in place of what has the same id. Checks that exist keep their status. */
  async registerService(
    service: ServiceDefinition,
    { signal, operation = "register", keepChecks = false }: ConsulRegisterOptions = {},
  ): Promise<void> {
    await this.#session.send(operation, {
      method: "PUT",
      path: "/v1/agent/service/register",
      query: { ...this.#tenant, ...(keepChecks ? {} : { "replace-existing-checks": "true" }) },
      body: service,
      signal,
    });
  }

  /** Takes a service out of the agent; one that is not there is fine. */
  async deregisterService(id: string, { signal }: ConsulCallOptions = {}): Promise<void> {
    try {
      await this.#session.send("deregister", {
        method: "PUT",
        path: `/v1/agent/service/deregister/${encodeURIComponent(id)}`,
        query: this.#tenant,
        signal,
      });
    } catch (error) {
      if (error instanceof RegistryError && error.code === "ERR_REGISTRY_NOT_FOUND") return; // newer agents say so
      throw error;
    }
  }

  /** Puts a service into maintenance, where a check of its own is critical, or with undefined out of it. */
  async setMaintenance(id: string, reason: string | undefined, { signal }: ConsulCallOptions = {}): Promise<void> {
    await this.#maintain(`/v1/agent/service/maintenance/${encodeURIComponent(id)}`, reason, signal);
  }

  /** The same for the agent's node, with all its services. */
  async setNodeMaintenance(reason: string | undefined, { signal }: ConsulCallOptions = {}): Promise<void> {
    await this.#maintain("/v1/agent/maintenance", reason, signal);
  }

  /** Sets a TTL check and starts its time anew. A check that the agent does not know is a 404, before Consul 1.11 a 500. */
  async updateCheck(
    id: string,
    status: ConsulStatus,
    output: string,
    { signal }: ConsulCallOptions = {},
  ): Promise<void> {
    await this.#session.send("heartbeat", {
      method: "PUT",
      path: `/v1/agent/check/update/${encodeURIComponent(id)}`,
      query: this.#tenant,
      body: { Status: status, Output: output },
      signal,
    });
  }

  /** What the agent has under an id, as it came; one that it does not know is a 404. */
  async readService(id: string, { signal }: ConsulCallOptions = {}): Promise<unknown> {
    const path = `/v1/agent/service/${encodeURIComponent(id)}`;
    const { text } = await this.#session.send("inspect", { method: "GET", path, query: this.#tenant, signal });
    return parseJson(text, id);
  }

  /** All that is registered with this agent. */
  async services(options: ConsulFilterOptions = {}): Promise<ConsulList<ConsulService>> {
    const path = "/v1/agent/services";
    return siftServices(await this.#readAgent(path, options), path);
  }

  /** The checks of all that is registered with this agent, and of its node. */
  async checks(options: ConsulFilterOptions = {}): Promise<ConsulList<ConsulCheck>> {
    const path = "/v1/agent/checks";
    return siftChecks(await this.#readAgent(path, options), path);
  }

  /** What the agent says of itself; needs `agent:read`. */
  async self({ signal }: ConsulCallOptions = {}): Promise<ConsulSelf> {
    const path = "/v1/agent/self";
    return parseSelf(await this.#readAgent(path, { signal }), path);
  }

  /** The instances of a service, with their checks; blocks while `index` is the newest. */
  async health(
    service: string,
    options: ConsulHealthOptions = {},
  ): Promise<ConsulReadAnswer & ConsulList<ConsulHealthEntry>> {
    const { entries, ...answer } = await this.healthEntries(service, options);
    return { ...answer, ...siftHealth(entries) };
  }

  /** The same, with each entry as it came. */
  async healthEntries(service: string, options: ConsulHealthOptions = {}): Promise<HealthAnswer> {
    const { passing = false, near } = options;
    const { headers, text } = await this.#read("instances", `/v1/health/service/${encodeURIComponent(service)}`, {
      options,
      query: { ...(passing ? { passing: "true" } : {}), ...(near === undefined ? {} : { near }) },
    });
    const entries = parseArray(text, service);
    const answer = parseRead(headers);
    if (entries.length === 0) requireSeen(answer, `instances of ${service}`);
    return { entries, ...answer };
  }

  /**
   * Resolves when the token may read a service: where it may not, Consul's lists of instances are empty, as if there were none.
   * @throws {@link RegistryError} `ERR_REGISTRY_DENIED`, and what keeps the agent from saying so.
   * @see https://developer.hashicorp.com/consul/api-docs/agent/service#get-local-service-health
   */
  async requireReadable(service: string, { signal }: ConsulCallOptions = {}): Promise<void> {
    const path = `/v1/agent/health/service/name/${encodeURIComponent(service)}`;
    try {
      await this.#session.send("agent", { method: "GET", path, query: this.#tenant, signal });
    } catch (error) {
      // Of instances that this agent has, it says by its status how they do: unknown, degraded, or critical.
      if (error instanceof AnsweredUnavailable) return;
      if (error instanceof RegistryError && error.code === "ERR_REGISTRY_NOT_FOUND") return;
      throw error;
    }
  }

  /** The names of all services in the catalogue; blocks while `index` is the newest. */
  async catalogServices(options: ConsulReadOptions = {}): Promise<ConsulReadAnswer & ConsulList<ConsulCatalogService>> {
    const path = "/v1/catalog/services";
    const { headers, text } = await this.#read("services", path, { options });
    const answer = parseRead(headers);
    const list = siftCatalog(text, path);
    if (list.items.length === 0) requireSeen(answer, "services");
    return { ...answer, ...list };
  }

  /** `host:port` of the server that leads; undefined while none does. */
  async leader({ signal }: ConsulCallOptions = {}): Promise<string | undefined> {
    const path = "/v1/status/leader";
    const { scope } = this.#session.connection;
    const { text } = await this.#session.send("leader", {
      method: "GET",
      path,
      query: scope["dc"] === undefined ? {} : { dc: scope["dc"] },
      signal,
    });
    return parseLeader(text, path);
  }

  /** Cuts what is in flight. Safe to call twice. */
  async close(): Promise<void> {
    await this.#session.close();
  }

  get #tenant(): Readonly<Record<string, string>> {
    return this.#session.connection.tenant;
  }

  async #maintain(path: string, reason: string | undefined, signal: AbortSignal | undefined): Promise<void> {
    await this.#session.send("maintenance", {
      method: "PUT",
      path,
      query: { ...this.#tenant, ...(reason === undefined ? { enable: "false" } : { enable: "true", reason }) },
      signal,
    });
  }

  async #readAgent(path: string, { filter, signal }: ConsulFilterOptions): Promise<string> {
    const query = { ...this.#tenant, ...(filter === undefined ? {} : { filter }) };
    const { text } = await this.#session.send("agent", { method: "GET", path, query, signal });
    return text;
  }

  #read(
    operation: "instances" | "services",
    path: string,
    { options, query = {} }: { readonly options: ConsulReadOptions; readonly query?: Readonly<Record<string, string>> },
  ) {
    const { scope, requestTimeoutMs } = this.#session.connection;
    const read = readRequest({ consistency: "stale", ...options }, requestTimeoutMs);
    return this.#session.send((options.index ?? 0) > 0 ? "watch" : operation, {
      method: "GET",
      path,
      query: { ...scope, ...query, ...read.query },
      timeoutMs: read.timeoutMs,
      signal: options.signal,
    });
  }
}
