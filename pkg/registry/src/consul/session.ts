import { messageOf } from "@plinth/kernel";
import { RegistryError } from "../errors.ts";
import type { RegistryOperation, RequestOutcome } from "../registry.ts";
import type { ConsulRequestEvent, ResolvedConnection } from "./connection.ts";
import { AnsweredUnavailable, type ConsulAnswer, ConsulHttp, type ConsulRequest } from "./http.ts";
import { type RequestTracer, traceRequests } from "./request-span.ts";

/** A request whose deadline may be that of all. */
export type SessionRequest = Omit<ConsulRequest, "timeoutMs"> & { readonly timeoutMs?: number };

/** One connection to an agent, whose requests are told of and have spans; shared by all that is asked through it. */
export class ConsulSession {
  readonly connection: ResolvedConnection;
  readonly #http: ConsulHttp;
  readonly #trace: RequestTracer;

  constructor(connection: ResolvedConnection) {
    this.connection = connection;
    this.#http = new ConsulHttp(connection);
    this.#trace = traceRequests(connection.tracing, connection.address);
  }

  /** @throws As {@link ConsulHttp.send}. */
  async send(operation: RegistryOperation, given: SessionRequest): Promise<ConsulAnswer> {
    const { clock, requestTimeoutMs } = this.connection;
    const request = { ...given, timeoutMs: given.timeoutMs ?? requestTimeoutMs };
    const startedAtMs = clock.monotonicMs();
    let outcome: RequestOutcome = "ok";
    this.#tell({ type: "request_begun", operation });
    try {
      return await this.#trace(operation, request, () => this.#http.send(request));
    } catch (error) {
      outcome = outcomeOf(error);
      throw error;
    } finally {
      this.#tell({ type: "request_ended", operation, outcome, tookMs: clock.monotonicMs() - startedAtMs });
    }
  }

  /** Cuts what is in flight. Safe to call twice. */
  async close(): Promise<void> {
    await this.#http.close();
  }

  #tell(event: ConsulRequestEvent): void {
    try {
      this.connection.onEvent(event);
    } catch (error) {
      const text = `onEvent of the Consul client threw at ${event.type}: ${messageOf(error)}`;
      process.emitWarning(text, { type: "RegistryWarning", code: "ERR_INTERNAL" });
    }
  }
}

const outcomes: ReadonlyMap<string, RequestOutcome> = new Map([
  ["ERR_REGISTRY_DENIED", "denied"],
  ["ERR_REGISTRY_NOT_FOUND", "not_found"],
  ["ERR_REGISTRY_REJECTED", "rejected"],
  ["ERR_REGISTRY_RESPONSE", "unreadable"],
  ["ERR_REGISTRY_RESPONSE_SIZE", "unreadable"],
  ["ERR_REGISTRY_TIMEOUT", "timeout"],
  ["ERR_REGISTRY_TLS", "unreachable"],
  ["ERR_REGISTRY_TOKEN", "unreachable"],
  ["ERR_REGISTRY_UNAVAILABLE", "unreachable"],
]);

function outcomeOf(error: unknown): RequestOutcome {
  if (error instanceof AnsweredUnavailable) return "unavailable";
  return (error instanceof RegistryError && outcomes.get(error.code)) || "cancelled"; // by its caller, or the end of the client
}
