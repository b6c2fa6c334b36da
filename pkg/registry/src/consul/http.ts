import { type Clock, messageOf, type Secret } from "@plinth/kernel";
import { buildConnector, errors as undiciErrors, Pool } from "undici";
import { abortable } from "../abortable.ts";
import { closedError, RegistryError } from "../errors.ts";

export interface ConsulHttpOptions {
  /** Origin of the agent, as {@link parseConsulAddress} gives it. */
  readonly origin: string;
  /** Sent as `X-Consul-Token`. */
  readonly token: Secret | undefined;
  /** Larger answers are given up unread, in bytes. */
  readonly maxResponseBytes: number;
  readonly clock: Clock;
  /** Whether the process waits for requests in flight. Default true. */
  readonly keepAlive?: boolean;
}

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

const registryAdvice: ConsulAdvice = {
  denied: "check consul.token and its policy",
  tooLarge: "raise consul.maxResponseBytes if so many instances are meant",
  unreachable: "is the agent running, and is consul.addr right?",
};

export interface ConsulAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/** One request at a time to the agent, each with a deadline: no retries here, and every failure typed. */
export class ConsulHttp {
  readonly #options: ConsulHttpOptions;
  readonly #pool: Pool;

  constructor(options: ConsulHttpOptions) {
    this.#options = options;
    // Connections are as many as there are requests: a heartbeat must not queue behind blocking queries.
    this.#pool = new Pool(options.origin, {
      allowH2: false,
      headersTimeout: 0, // the deadline below covers all of it
      bodyTimeout: 0,
      maxResponseSize: options.maxResponseBytes,
      ...(options.keepAlive === false ? { connect: connectUnheld } : {}),
    });
  }

  /**
   * @throws {@link RegistryError} `ERR_REGISTRY_UNAVAILABLE`, `_TIMEOUT`, `_RESPONSE_SIZE`, `_CLOSED`, and by status
   *   `_DENIED` (401, 403), `_NOT_FOUND` (404), `_UNAVAILABLE` (429, 5xx), `_REJECTED` (others); the signal's reason.
   */
  async send(request: ConsulRequest): Promise<ConsulAnswer> {
    const { timeoutMs, signal } = request;
    signal?.throwIfAborted();
    const controller = new AbortController();
    const onAbort = (): void => controller.abort(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    const timer = this.#options.clock.schedule(timeoutMs, () => controller.abort(this.#timeout(request)));
    try {
      // Raced as well, since a request whose connection is still being made does not hear its signal.
      return await abortable(this.#exchange(request, controller.signal), controller.signal);
    } catch (error) {
      if (controller.signal.aborted) throw controller.signal.reason;
      throw this.#toRegistryError(error, request);
    } finally {
      timer.cancel();
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Cuts what is in flight. */
  async close(): Promise<void> {
    await this.#pool.destroy(closedError("the Consul client"));
  }

  async #exchange(request: ConsulRequest, signal: AbortSignal): Promise<ConsulAnswer> {
    const { method, path, query = {}, body } = request;
    const { token } = this.#options;
    const isBytes = body instanceof Uint8Array;
    const response = await this.#pool.request({
      method,
      path,
      query: { ...query },
      signal,
      headers: {
        ...(token ? { "x-consul-token": token.reveal() } : {}),
        ...(body === undefined || isBytes ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: isBytes ? body : JSON.stringify(body) }),
    });
    const text = await response.body.text();
    const { statusCode: status, headers } = response;
    const isAbsent = request.absentAllowed === true && status === 404 && headers["x-consul-index"] !== undefined;
    if ((status < 200 || status > 299) && !isAbsent) throw this.#statusError(status, text, request);
    return { status, headers, text };
  }

  #timeout({ method, path, timeoutMs }: ConsulRequest): RegistryError {
    return new RegistryError(
      "ERR_REGISTRY_TIMEOUT",
      "deadline_exceeded",
      `${method} ${path} at ${this.#options.origin} had no answer within ${timeoutMs} ms; is the agent stalled, or the network cut?`,
      { retryable: true },
    );
  }

  #statusError(status: number, text: string, { method, path, advice }: ConsulRequest): RegistryError {
    const what = `${method} ${path} at ${this.#options.origin} was answered ${status}: ${text.trim().slice(0, 200)}`;
    if (status === 401 || status === 403) {
      return new RegistryError(
        "ERR_REGISTRY_DENIED",
        "permission_denied",
        `${what}; ${(advice ?? registryAdvice).denied}`,
      );
    }
    if (status === 404) return new RegistryError("ERR_REGISTRY_NOT_FOUND", "not_found", what);
    if (status === 429 || status >= 500) return new AnsweredUnavailable(what);
    return new RegistryError("ERR_REGISTRY_REJECTED", "invalid_argument", what);
  }

  #toRegistryError(error: unknown, { method, path, advice = registryAdvice }: ConsulRequest): RegistryError {
    if (error instanceof RegistryError) return error;
    if (error instanceof undiciErrors.ClientDestroyedError) return closedError("the Consul client");
    const where = `${method} ${path} at ${this.#options.origin}`;
    if (error instanceof undiciErrors.ResponseExceededMaxSizeError) {
      return new RegistryError(
        "ERR_REGISTRY_RESPONSE_SIZE",
        "resource_exhausted",
        `${where} was answered with more than ${this.#options.maxResponseBytes} bytes; ${advice.tooLarge}`,
        { cause: error },
      );
    }
    return new RegistryError(
      "ERR_REGISTRY_UNAVAILABLE",
      "unavailable",
      `${where} failed: ${reasonOf(error)}; ${advice.unreachable}`,
      { cause: error },
    );
  }
}

const connectHeld = buildConnector({ allowH2: false });

/** A connection that does not keep the process alive, also when undici takes it for its next request. */
const connectUnheld: typeof connectHeld = (options, callback) =>
  connectHeld(options, (error, socket) => {
    if (error) {
      callback(error, null);
      return;
    }
    socket.unref();
    socket.ref = () => socket;
    callback(null, socket);
  });

/** The agent is there and could not do it: a 429 or a 5xx. */
export class AnsweredUnavailable extends RegistryError {
  constructor(message: string) {
    super("ERR_REGISTRY_UNAVAILABLE", "unavailable", message);
  }
}

/** A refused connection to a name with several addresses is an `AggregateError` with an empty message. */
function reasonOf(error: unknown): string {
  const text = messageOf(error);
  if (text !== "") return text;
  return error instanceof AggregateError ? error.errors.map(messageOf).join(", ") : "no reason given";
}
