import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { connect, createServer as createSocketServer, type Server, type Socket } from "node:net";
import {
  createErrorBus,
  createLogger,
  createMetrics,
  type ErrorBus,
  type ErrorReport,
  type Logger,
  systemClock,
} from "@plinth/kernel";
import { MemoryLog, until } from "@plinth/kernel/testing";
import { createMemoryRegistry, type Registration, type Registry } from "@plinth/registry";
import type { Gateway, GatewayOptions } from "../contract.ts";
import { createGateway } from "../gateway.ts";
import type { GatewayDocument } from "../config/schema.ts";

type RouteInput = GatewayDocument["routes"][number];

/** A route for everybody to the service `s`. */
export function openRoute(more: Partial<RouteInput> = {}): RouteInput {
  return { name: "all", match: { path: "/**" }, service: "s", anonymous: true, ...more };
}

/** A server on a free port of this machine, ended with the test. */
export interface Scripted extends AsyncDisposable {
  readonly port: number;
  /** Connections that are open now. */
  readonly sockets: ReadonlySet<Socket>;
  /** Connections so far. */
  readonly accepted: number;
  close(): Promise<void>;
}

async function scripted(server: Server, port: number): Promise<Scripted> {
  const sockets = new Set<Socket>();
  let accepted = 0;
  server.on("connection", (socket: Socket) => {
    accepted++;
    sockets.add(socket.on("error", () => undefined)); // scripts break connections on purpose
    socket.once("close", () => sockets.delete(socket));
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    if (!server.listening) return;
    server.close();
    await once(server, "close");
  };
  return {
    port: address.port,
    sockets,
    get accepted() {
      return accepted;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** An instance that speaks HTTP. */
export function httpInstance(listener: RequestListener, port = 0): Promise<Scripted> {
  return scripted(createServer({ keepAliveTimeout: 60_000 }, listener), port);
}

/** An instance that does with its sockets what it is told. */
export function socketInstance(script: (socket: Socket) => void, port = 0): Promise<Scripted> {
  return scripted(createSocketServer(script), port);
}

/** Reads the head of one request from a bare socket, then says what is given. */
export function sayOnce(reply: string, after: "open" | "end" | "reset" = "open"): (socket: Socket) => void {
  return (socket) => {
    socket.once("data", () => {
      socket.write(reply, () => {
        if (after === "end") socket.end();
        if (after === "reset") socket.resetAndDestroy();
      });
    });
  };
}

/** What an instance got, as it got it. */
export interface Received {
  readonly method: string;
  readonly url: string;
  /** Lower-case name → values. */
  readonly headers: Readonly<Record<string, string[] | undefined>>;
  readonly body: string;
}

/** An instance that answers 200 with what it received, as JSON. */
export function echo(request: IncomingMessage, response: ServerResponse): void {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const received: Received = {
      method: request.method ?? "",
      url: request.url ?? "",
      headers: request.headersDistinct,
      body: Buffer.concat(chunks).toString("latin1"),
    };
    const body = JSON.stringify(received);
    response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
    response.end(body);
  });
}

export interface TestGateway extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly url: string;
  readonly log: MemoryLog;
  readonly registry: Registry;
  readonly reports: readonly ErrorReport[];
  readonly errors: ErrorBus;
  /** Registers a scripted server as an instance of a service, `s` unless said. */
  add(instance: Pick<Scripted, "port">, service?: string): Promise<Registration>;
  /** The access log line of the newest request, once it is written. */
  lastLine(): Promise<Record<string, unknown>>;
  /** Waits until so many requests are in the access log. */
  lines(count: number): Promise<Record<string, unknown>[]>;
  metrics(): Promise<string>;
}

let instances = 0;

/** A gateway on a free port, with its log and errors in memory. */
export async function startGateway(
  options: Partial<GatewayOptions> & { readonly routes?: RouteInput[]; readonly logger?: Logger } = {},
): Promise<TestGateway> {
  const { routes = [openRoute()], settings, document, ...rest } = options;
  const registry = createMemoryRegistry();
  const log = new MemoryLog();
  const metrics = createMetrics();
  const errors = createErrorBus({ clock: systemClock });
  const reports: ErrorReport[] = [];
  errors.subscribe({ name: "test", report: (batch) => void reports.push(...batch) });
  const gateway = createGateway({
    document: document ?? { routes },
    registry,
    log: options.logger ?? (await createLogger({ destination: log })),
    metrics,
    errors,
    ...rest,
    settings: { port: 0, ...settings },
  });
  // A gateway whose registry knows nothing yet waits for its first answer, and a memory registry answers at once.
  await gateway.listen();
  const lines = (count: number): Promise<Record<string, unknown>[]> =>
    until(() => {
      const found = log.withMessage("request");
      return found.length >= count ? found : undefined;
    });
  return {
    gateway,
    url: `http://127.0.0.1:${gateway.port}`,
    log,
    registry,
    reports,
    errors,
    add: (instance, service = "s") =>
      registry.register({
        service,
        id: `${service}-${++instances}`,
        host: "127.0.0.1",
        ports: { http: instance.port },
      }),
    lines,
    lastLine: async () => (await lines(1)).at(-1) ?? {},
    metrics: async () => (await metrics.expose()).body,
    [Symbol.asyncDispose]: async () => {
      await gateway.close();
      await registry.close();
    },
  };
}

/** A bare connection to a gateway: what is written is what is sent. */
export interface RawClient {
  readonly socket: Socket;
  /** All that came so far, as latin1. */
  readonly text: string;
  readonly ended: boolean;
  /** The connection ended with a reset instead of an end. */
  readonly wasReset: boolean;
  send(text: string | Buffer): void;
  /** All that came until the connection was over. */
  toEnd(): Promise<string>;
  /** All that came, as soon as it matches. */
  matching(pattern: RegExp): Promise<string>;
}

export async function rawClient(port: number): Promise<RawClient> {
  const socket = connect(port, "127.0.0.1");
  let text = "";
  let ended = false;
  let closed = false;
  let wasReset = false;
  socket.on("data", (chunk) => (text += chunk.toString("latin1")));
  socket.on("end", () => (ended = true));
  socket.on("error", () => (wasReset = true));
  socket.on("close", () => (closed = true));
  await once(socket, "connect");
  return {
    socket,
    get text() {
      return text;
    },
    get ended() {
      return ended;
    },
    get wasReset() {
      return wasReset;
    },
    send: (given) => void socket.write(typeof given === "string" ? Buffer.from(given, "latin1") : given),
    toEnd: () =>
      until(() => (closed ? text : undefined), {
        what: `the end of a connection with ${JSON.stringify(text.slice(0, 200))}`,
      }),
    matching: (pattern) =>
      until(() => (pattern.test(text) ? text : undefined), {
        what: `${String(pattern)} in ${JSON.stringify(text.slice(0, 500))}`,
      }),
  };
}

/** Sends bytes on a fresh connection and gives what comes back until the connection is over. */
export async function exchangeRaw(port: number, text: string | Buffer): Promise<string> {
  const client = await rawClient(port);
  client.send(text);
  return client.toEnd();
}
