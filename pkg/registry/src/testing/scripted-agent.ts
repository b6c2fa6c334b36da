import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { once } from "node:events";
import type { Socket } from "node:net";

export interface ScriptedRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** Parsed JSON; undefined when there was none. */
  readonly body: unknown;
  /** When it came, in milliseconds of `performance.now()`. */
  readonly atMs: number;
  /** Resolves when its connection has closed. */
  readonly closed: Promise<void>;
}

/** `hang` never answers; `cut` closes the connection. */
export type ScriptedAnswer =
  | "hang"
  | "cut"
  | {
      /** Default 200. */
      readonly status?: number;
      /** `X-Consul-Index`; left out when undefined. */
      readonly index?: number | string | undefined;
      /** More headers. Default none. */
      readonly headers?: Readonly<Record<string, string>>;
      /** Text as it is, anything else as JSON. Default empty. */
      readonly body?: unknown;
    };

export type Script = (request: ScriptedRequest) => ScriptedAnswer | Promise<ScriptedAnswer>;

/**
 * An HTTP server that plays a Consul agent, for answers that a real one does not give on command. Who asks for a service is told what was
 * registered under its id, where the script says nothing else.
 */
export class ScriptedAgent implements AsyncDisposable {
  readonly requests: ScriptedRequest[] = [];
  readonly #server: Server;
  readonly #sockets = new WeakMap<Socket, Promise<void>>();
  readonly #arrivals = new Set<() => void>();
  /** Registered services by id, as they came. */
  readonly #services = new Map<string, unknown>();
  #script: Script;

  private constructor(server: Server, script: Script) {
    this.#server = server;
    this.#script = script;
    server.on("request", (request, response) => void this.#serve(request, response));
  }

  static async start(script: Script, options: { readonly port?: number } = {}): Promise<ScriptedAgent> {
    const server = createServer();
    server.listen(options.port ?? 0, "127.0.0.1");
    await once(server, "listening");
    return new ScriptedAgent(server, script);
  }

  get address(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  /** Takes another script for the requests to come. */
  play(script: Script): void {
    this.#script = script;
  }

  /** Closes every connection, whatever is being asked on it. */
  cut(): void {
    this.#server.closeAllConnections();
  }

  /** The `count`th request that `isRight` accepts, once it has come. */
  async received(isRight: (request: ScriptedRequest) => boolean, count = 1): Promise<ScriptedRequest> {
    for (;;) {
      const found = this.requests.filter(isRight)[count - 1];
      if (found) return found;
      const arrival = Promise.withResolvers<void>();
      this.#arrivals.add(arrival.resolve);
      await arrival.promise;
      this.#arrivals.delete(arrival.resolve);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.#server.close();
    if (this.#server.listening) await once(this.#server, "close");
  }

  #closing(socket: Socket): Promise<void> {
    let closing = this.#sockets.get(socket);
    if (!closing) {
      const closed = Promise.withResolvers<void>();
      socket.once("close", () => closed.resolve());
      closing = closed.promise;
      this.#sockets.set(socket, closing);
    }
    return closing;
  }

  #remember({ method, path, body }: ScriptedRequest, answer: ScriptedAnswer): ScriptedAnswer {
    if (typeof answer === "string" || (answer.status ?? 200) !== 200 || answer.body !== undefined) return answer;
    const [, action = "", id = ""] = /^\/v1\/agent\/service\/(?:(register|deregister)\b\/?)?(.*)$/.exec(path) ?? [];
    if (action === "register") this.#services.set(idOf(body), body);
    else if (action === "deregister") this.#services.delete(id);
    else if (method === "GET" && id !== "") {
      const service = this.#services.get(id);
      return service === undefined
        ? { status: 404, body: `unknown service ID: ${id}` }
        : { ...answer, body: toAnswer(service) };
    }
    return answer;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://agent");
    const chunks: Buffer[] = [];
    for await (const chunk of request) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    const received: ScriptedRequest = {
      method: request.method ?? "",
      path: decodeURIComponent(url.pathname),
      query: url.searchParams,
      headers: request.headers,
      body: text === "" ? undefined : JSON.parse(text),
      atMs: performance.now(),
      closed: this.#closing(request.socket),
    };
    this.requests.push(received);
    for (const arrived of this.#arrivals) arrived();
    const answer = this.#remember(received, await this.#script(received));
    if (answer === "hang") return;
    if (answer === "cut") {
      request.socket.destroy();
      return;
    }
    const { status = 200, index, headers = {}, body = "" } = answer;
    if (index !== undefined) response.setHeader("x-consul-index", index);
    response.writeHead(status, headers).end(typeof body === "string" ? body : JSON.stringify(body));
  }
}

function idOf(body: unknown): string {
  return typeof body === "object" && body !== null && "ID" in body ? String(body.ID) : "";
}

/** An agent names a service otherwise in what it gives than in what it takes. */
function toAnswer(service: unknown): unknown {
  return typeof service === "object" && service !== null && "Name" in service
    ? { ...service, Service: service.Name }
    : service;
}

/** One element of `GET /v1/health/service/:service`, with only what is read of it. */
export function scriptedEntry(id: string, service: Readonly<Record<string, unknown>> = {}): unknown {
  return {
    Node: { Node: "node-1", Address: "10.0.0.1" },
    Service: { ID: id, Address: "127.0.0.1", Port: 3_000, Weights: { Passing: 1, Warning: 1 }, ...service },
  };
}
