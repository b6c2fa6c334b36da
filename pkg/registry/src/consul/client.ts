import { type Clock, messageOf, type Tracing } from "@plinth/kernel";
import { RegistryError } from "../errors.ts";
import { type RequestTracer, traceRequests } from "./request-span.ts";
import type { RegistryListener, RegistryOperation, RequestOutcome } from "../registry.ts";
import {
  type BlockingAnswer,
  blockingParameters,
  type BlockingQuery,
  blockingTimeoutMs,
  parseIndex,
} from "./blocking.ts";
import {
  AnsweredUnavailable,
  type ConsulAnswer,
  ConsulHttp,
  type ConsulHttpOptions,
  type ConsulRequest,
} from "./http.ts";

export type ConsulStatus = "passing" | "warning" | "critical";

/** What `PUT /v1/agent/service/register` takes; durations are text such as `15000ms`. */
export interface ServiceDefinition {
  readonly ID: string;
  readonly Name: string;
  readonly Address: string;
  readonly Port: number;
  readonly Tags: readonly string[];
  readonly Meta: Readonly<Record<string, string>>;
  readonly Weights: { readonly Passing: number; readonly Warning: number };
  readonly Checks: readonly CheckDefinition[];
}

export interface CheckDefinition {
  readonly CheckID: string;
  readonly Name: string;
  readonly Status: ConsulStatus;
  readonly TTL?: string;
  readonly HTTP?: string;
  readonly Method?: string;
  /** Sent with an HTTP check; each name may have several values. */
  readonly Header?: Readonly<Record<string, readonly string[]>>;
  readonly TCP?: string;
  /** `host:port/name` of a service in the sense of `grpc.health.v1`. */
  readonly GRPC?: string;
  readonly GRPCUseTLS?: boolean;
  /** The agent takes any certificate. */
  readonly TLSSkipVerify?: boolean;
  readonly Interval?: string;
  readonly Timeout?: string;
  readonly DeregisterCriticalServiceAfter?: string;
}

export interface HealthAnswer extends BlockingAnswer {
  /** As they came: each is checked on its own, so that one bad entry costs no other. */
  readonly entries: readonly unknown[];
}

export interface ConsulClientOptions extends ConsulHttpOptions {
  /** Limit of a request that does not block, and of what a blocking one takes beyond its wait, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** Told when a request begins and ends. */
  readonly onEvent: RegistryListener;
  /** Makes a span of each request that has an end in sight: heartbeats and watches go on for as long as the app does, and have none. */
  readonly tracing?: Tracing | undefined;
}

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/**
 * The few calls of Consul's HTTP API that a registry needs, each tried once. All throw {@link RegistryError}, see {@link ConsulHttp.send}.
 * @see https://developer.hashicorp.com/consul/api-docs
 */
export class ConsulClient {
  readonly #http: ConsulHttp;
  readonly #clock: Clock;
  readonly #requestTimeoutMs: number;
  readonly #onEvent: RegistryListener;
  readonly #trace: RequestTracer;

  constructor(options: ConsulClientOptions) {
    this.#trace = traceRequests(options.tracing, options.origin);
    this.#http = new ConsulHttp(options);
    this.#clock = options.clock;
    this.#requestTimeoutMs = options.requestTimeoutMs;
    this.#onEvent = options.onEvent;
  }

  /**
   * Puts a service and its checks into the agent, in place of what has the same id. Checks that exist keep their status.
   * @param options.isUpdate - Checks that are not given stay, such as one by which an operator has put the service into maintenance.
   */
  async registerService(
    service: ServiceDefinition,
    { signal, isUpdate = false }: CallOptions & { readonly isUpdate?: boolean } = {},
  ): Promise<void> {
    await this.#send(isUpdate ? "update" : "register", {
      method: "PUT",
      path: "/v1/agent/service/register",
      query: isUpdate ? {} : { "replace-existing-checks": "true" },
      body: service,
      timeoutMs: this.#requestTimeoutMs,
      signal,
    });
  }

  /** Takes a service out of the agent; one that is not there is fine. */
  async deregisterService(id: string, { signal }: CallOptions = {}): Promise<void> {
    try {
      await this.#send("deregister", {
        method: "PUT",
        path: `/v1/agent/service/deregister/${encodeURIComponent(id)}`,
        timeoutMs: this.#requestTimeoutMs,
        signal,
      });
    } catch (error) {
      if (error instanceof RegistryError && error.code === "ERR_REGISTRY_NOT_FOUND") return; // newer agents say so
      throw error;
    }
  }

  /** Puts a service into maintenance, where a check of its own is critical, or with undefined out of it. */
  async setMaintenance(id: string, reason: string | undefined, { signal }: CallOptions = {}): Promise<void> {
    await this.#send("maintenance", {
      method: "PUT",
      path: `/v1/agent/service/maintenance/${encodeURIComponent(id)}`,
      query: reason === undefined ? { enable: "false" } : { enable: "true", reason },
      timeoutMs: this.#requestTimeoutMs,
      signal,
    });
  }

  /** What the agent has under an id, as it came; one that it does not know is a 404. */
  async readService(id: string, { signal }: CallOptions = {}): Promise<unknown> {
    const { text } = await this.#send("inspect", {
      method: "GET",
      path: `/v1/agent/service/${encodeURIComponent(id)}`,
      timeoutMs: this.#requestTimeoutMs,
      signal,
    });
    return parseJson(text, id);
  }

  /** Sets a TTL check and starts its time anew. A check that the agent does not know is a 404, before Consul 1.11 a 500. */
  async updateCheck(id: string, status: ConsulStatus, output: string, { signal }: CallOptions = {}): Promise<void> {
    await this.#send("heartbeat", {
      method: "PUT",
      path: `/v1/agent/check/update/${encodeURIComponent(id)}`,
      body: { Status: status, Output: output },
      timeoutMs: this.#requestTimeoutMs,
      signal,
    });
  }

  /** Passing instances of a service, from any server; blocks while the index is the newest. */
  async passingInstances(service: string, query: BlockingQuery): Promise<HealthAnswer> {
    const { headers, text } = await this.#send(query.index > 0 ? "watch" : "instances", {
      method: "GET",
      path: `/v1/health/service/${encodeURIComponent(service)}`,
      query: {
        passing: "true",
        stale: "",
        ...blockingParameters(query),
      },
      timeoutMs: blockingTimeoutMs(query, this.#requestTimeoutMs),
      signal: query.signal,
    });
    return { entries: parseArray(text, service), index: parseIndex(headers["x-consul-index"]) };
  }

  async close(): Promise<void> {
    await this.#http.close();
  }

  async #send(operation: RegistryOperation, request: ConsulRequest): Promise<ConsulAnswer> {
    const startedAtMs = this.#clock.monotonicMs();
    let outcome: RequestOutcome = "ok";
    this.#onEvent({ type: "request_begun", operation });
    try {
      return await this.#trace(operation, request, () => this.#http.send(request));
    } catch (error) {
      outcome = outcomeOf(error);
      throw error;
    } finally {
      this.#onEvent({ type: "request_ended", operation, outcome, tookMs: this.#clock.monotonicMs() - startedAtMs });
    }
  }
}

const outcomes: ReadonlyMap<string, RequestOutcome> = new Map([
  ["ERR_REGISTRY_DENIED", "denied"],
  ["ERR_REGISTRY_NOT_FOUND", "not_found"],
  ["ERR_REGISTRY_REJECTED", "rejected"],
  ["ERR_REGISTRY_RESPONSE_SIZE", "unreadable"],
  ["ERR_REGISTRY_TIMEOUT", "timeout"],
  ["ERR_REGISTRY_UNAVAILABLE", "unreachable"],
]);

function outcomeOf(error: unknown): RequestOutcome {
  if (error instanceof AnsweredUnavailable) return "unavailable";
  return (error instanceof RegistryError && outcomes.get(error.code)) || "cancelled"; // by its caller, or the end of the client
}

/** @throws {@link RegistryError} `ERR_REGISTRY_RESPONSE`, naming `what` was asked for. */
export function parseArray(text: string, what: string): readonly unknown[] {
  const parsed = parseJson(text, what);
  if (!Array.isArray(parsed)) {
    throw responseError(what, `a list was expected, not ${JSON.stringify(parsed).slice(0, 100)}`);
  }
  return parsed;
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw responseError(what, messageOf(cause), { cause });
  }
}

export function responseError(what: string, why: string, options: { readonly cause?: unknown } = {}): RegistryError {
  return new RegistryError(
    "ERR_REGISTRY_RESPONSE",
    "internal",
    `the answer for ${what} cannot be read: ${why}; does something other than Consul answer there?`,
    options,
  );
}
