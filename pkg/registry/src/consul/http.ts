import type { Clock, Secret } from "@plinth/kernel";
import { buildConnector, Pool } from "undici";
import { abortable } from "../abortable.ts";
import { closedError, RegistryError } from "../errors.ts";
import type { ResolvedConnection } from "./connection.ts";
import { sizeError, statusError, timeoutError, toRegistryError } from "./http-errors.ts";
import type { SecureOptions } from "./tls.ts";

export { AnsweredUnavailable } from "./http-errors.ts";

export interface ConsulRequest {
  readonly method: "GET" | "PUT" | "DELETE";
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  /** Bytes as they are, anything else as JSON. */
  readonly body?: unknown;
  /** A 404 that has an index, as Consul's own have, is an answer. Default false: an error. */
  readonly absentAllowed?: boolean;
  readonly advice?: ConsulAdvice;
  /** From the call to the last byte of the answer, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** What a message tells to try next. Default: the settings of the registry. */
export interface ConsulAdvice {
  readonly denied: string;
  readonly tooLarge: string;
  readonly unreachable: string;
}

export interface ConsulAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/**
 * What is answered at once shares so few connections, and keeps them. An agent closes connections beyond 200 of one address, unless told
 * otherwise: blocking queries may use those up, and heartbeats must get through then too.
 * @see https://developer.hashicorp.com/consul/docs/agent/config/config-files#http_max_conns_per_client
 */
const promptConnections = 4;
/** Longer than any two heartbeats are apart. */
const promptKeepAliveMs = 600_000;

/** Requests to the agent, each with a deadline: no retries here, and every failure typed. */
export class ConsulHttp {
  readonly #connection: ResolvedConnection;
  readonly #clock: Clock;
  readonly #prompt: Pool;
  /** One connection for each blocking query: nothing may queue behind one. */
  readonly #held: Pool;

  constructor(connection: ResolvedConnection) {
    this.#connection = connection;
    this.#clock = connection.clock;
    const common: Pool.Options = {
      allowH2: false,
      headersTimeout: 0, // the deadline below covers all of it
      bodyTimeout: 0,
      maxResponseSize: connection.maxResponseBytes,
      connect: connectorOf(connection),
    };
    const { origin } = connection.address;
    this.#held = new Pool(origin, common);
    this.#prompt = new Pool(origin, { ...common, connections: promptConnections, keepAliveTimeout: promptKeepAliveMs });
  }

  /**
   * Sends it once; a second time only after a 401 or 403, when the token's file holds another token than the one that was refused.
   *
   * @throws {@link RegistryError} `ERR_REGISTRY_UNAVAILABLE`, `_TIMEOUT`, `_TLS`, `_TOKEN`, `_RESPONSE`, `_RESPONSE_SIZE`, `_CLOSED`, and
   *   by status `_DENIED` (401, 403), `_NOT_FOUND` (404), `_UNAVAILABLE` (429, 5xx), `_REJECTED` (others); the signal's reason.
   */
  async send(request: ConsulRequest): Promise<ConsulAnswer> {
    const { timeoutMs, signal } = request;
    const { address } = this.#connection;
    signal?.throwIfAborted();
    const controller = new AbortController();
    const onAbort = (): void => controller.abort(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    const timer = this.#clock.schedule(timeoutMs, () => controller.abort(timeoutError(request, address)));
    try {
      // Raced as well, since a request whose connection is still being made does not hear its signal.
      return await abortable(this.#authorized(request, controller.signal), controller.signal);
    } catch (error) {
      if (controller.signal.aborted) throw controller.signal.reason;
      throw toRegistryError(error, request, this.#connection);
    } finally {
      timer.cancel();
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Cuts what is in flight. */
  async close(): Promise<void> {
    const reason = closedError("the Consul client");
    await Promise.all([this.#prompt.destroy(reason), this.#held.destroy(reason)]);
  }

  async #authorized(request: ConsulRequest, signal: AbortSignal): Promise<ConsulAnswer> {
    const { token } = this.#connection;
    const sent = token.now();
    try {
      return await this.#exchange(request, sent, signal);
    } catch (error) {
      const isRefused = error instanceof RegistryError && error.code === "ERR_REGISTRY_DENIED";
      if (!isRefused || !token.isFile || signal.aborted) throw error;
      const another = token.now();
      if (another?.reveal() === sent?.reveal()) throw error;
      return this.#exchange(request, another, signal);
    }
  }

  async #exchange(request: ConsulRequest, token: Secret | undefined, signal: AbortSignal): Promise<ConsulAnswer> {
    const { method, path, query = {}, body } = request;
    const { authorization, address, maxResponseBytes } = this.#connection;
    const isBytes = body instanceof Uint8Array;
    const pool = query["index"] === undefined ? this.#prompt : this.#held;
    const response = await pool.request({
      method,
      path,
      query: { ...query },
      signal,
      headers: {
        ...(token ? { "x-consul-token": token.reveal() } : {}),
        ...(authorization ? { authorization: authorization.reveal() } : {}),
        ...(body === undefined || isBytes ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: isBytes ? body : JSON.stringify(body) }),
    });
    const { statusCode: status, headers } = response;
    if (Number(headers["content-length"]) > maxResponseBytes) {
      response.body.destroy(); // undici would find out only when it has come
      throw sizeError(request, address, maxResponseBytes);
    }
    const text = await response.body.text();
    const isAbsent = request.absentAllowed === true && status === 404 && headers["x-consul-index"] !== undefined;
    if ((status < 200 || status > 299) && !isAbsent) throw statusError(status, text, request, address);
    return { status, headers, text };
  }
}

/** How connections are made: with the certificates of now, and given up long before a blocking query is. */
function connectorOf({ address, tls, keepAlive, requestTimeoutMs }: ResolvedConnection): buildConnector.connector {
  const common = {
    allowH2: false,
    timeout: Math.max(1, Math.ceil(requestTimeoutMs)),
    maxCachedSessions: 0, // a session begun anew would keep to the certificates of its first
    ...(address.socketPath === undefined ? {} : { socketPath: address.socketPath }),
  };
  const plain = buildConnector(common);
  const isSecure = address.origin.startsWith("https:");
  return (options, callback) => {
    let connect = plain;
    if (isSecure) {
      let secure: SecureOptions;
      try {
        secure = tls.now();
      } catch (error) {
        callback(error instanceof Error ? error : new Error(String(error)), null);
        return;
      }
      connect = buildConnector({ ...common, ...secure });
    }
    connect(options, (...[error, socket]) => {
      if (error) {
        callback(error, null);
        return;
      }
      if (!keepAlive) {
        // It must not keep the process alive, also when undici takes it for its next request.
        socket.unref();
        socket.ref = () => socket;
      }
      callback(null, socket);
    });
  };
}
