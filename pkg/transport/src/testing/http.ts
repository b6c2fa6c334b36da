import { connect, type Socket } from "node:net";
import {
  type Clock,
  createErrorBus,
  createLogger,
  createMetrics,
  createTracing,
  type ErrorBus,
  type ErrorReport,
  type Metrics,
  type RequestScopes,
  type RootLogger,
  systemClock,
  type Tracing,
} from "@plinth/kernel";
import { MemoryLog } from "@plinth/kernel/testing";
import { z } from "zod";
import type { Authenticator } from "../auth.ts";
import { createHttpServer, type HttpRoutes, type HttpServer, type HttpServerOptions } from "../http/server.ts";
import { layerSettings } from "../http/layer-settings.ts";
import type { HttpSettings } from "../http/settings.ts";
import type { LoopDelay } from "../loop-delay.ts";

export interface TestHttpOptions {
  readonly routes?: HttpRoutes;
  readonly settings?: Partial<HttpSettings>;
  readonly clock?: Clock;
  readonly tracing?: Tracing;
  readonly ops?: HttpServerOptions["ops"];
  readonly scopes?: RequestScopes;
  readonly loopDelay?: LoopDelay;
  readonly authenticator?: Authenticator;
  readonly instanceId?: string;
  readonly middlewares?: HttpServerOptions["middlewares"];
  /** What the server is given in place of its log or metrics, made of them. */
  readonly replace?: (layers: Layers) => Partial<Layers>;
}

/** What a test may put something broken in the place of. */
export interface Layers {
  readonly log: RootLogger;
  readonly metrics: Metrics;
}

/** What a server under test writes and reports, kept in memory. */
export interface Observed {
  readonly log: RootLogger;
  readonly lines: MemoryLog;
  readonly errors: ErrorBus;
  readonly metrics: Metrics;
  /** All that the error bus has been told. */
  reports(): Promise<readonly ErrorReport[]>;
}

/** A listening HTTP server on a free port, closed at the end of its `await using` block. */
export interface TestHttp extends Observed, AsyncDisposable {
  readonly server: HttpServer;
  readonly origin: string;
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** Opens a connection for bytes as they are. */
  connect(): RawConnection;
  /** Sends bytes as they are, and returns all that comes until the server closes the connection. */
  raw(bytes: string | Buffer): Promise<string>;
}

export async function observe(clock: Clock = systemClock): Promise<Observed> {
  const lines = new MemoryLog();
  const log = await createLogger({ destination: lines, level: "debug" });
  const errors = createErrorBus({ clock });
  const reports: ErrorReport[] = [];
  errors.subscribe({ name: "test", report: (batch) => void reports.push(...batch) });
  const flushed = async (): Promise<readonly ErrorReport[]> => {
    await errors.flush();
    return reports;
  };
  return { log, lines, errors, metrics: createMetrics(), reports: flushed };
}

export async function startHttp(options: TestHttpOptions = {}): Promise<TestHttp> {
  const { routes = () => {}, settings = {}, clock = systemClock, tracing = createTracing(), replace } = options;
  const observed = await observe(clock);
  const { log, errors, metrics } = observed;
  const server = await createHttpServer({
    settings: { ...testSettings, ...settings },
    log,
    errors,
    metrics,
    tracing,
    clock,
    ops: options.ops,
    scopes: options.scopes,
    loopDelay: options.loopDelay,
    authenticator: options.authenticator,
    instanceId: options.instanceId,
    middlewares: options.middlewares,
    routes: [routes],
    ...replace?.({ log, metrics }),
  });
  await server.listen();
  const origin = `http://127.0.0.1:${server.port}`;
  return {
    ...observed,
    server,
    origin,
    fetch: (path, init) => fetch(`${origin}${path}`, init),
    connect: () => new RawConnection(server.port),
    raw(bytes) {
      const connection = new RawConnection(server.port);
      connection.write(bytes);
      return connection.ended;
    },
    [Symbol.asyncDispose]: () => server.close(),
  };
}

/** The value of the first series that begins like this. NaN where there is none. */
export async function metric({ metrics }: Observed, name: string): Promise<number> {
  const { body } = await metrics.expose();
  return Number(
    body
      .split("\n")
      .find((line) => line.startsWith(name))
      ?.split(" ")
      .at(-1),
  );
}

/** What the layers have settings of, as it is where nobody says anything. */
export const layerDefaults = z.strictObject(layerSettings).parse({});

export const testSettings: HttpSettings = {
  ...layerDefaults,
  host: "127.0.0.1",
  port: 0,
  deadlineMs: 10_000,
  maxBodyBytes: 1_048_576,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  keepAliveTimeoutMs: 72_000,
  idleTimeoutMs: 60_000,
  maxLoopDelayMs: 1_000,
  http2: false,
  maxConcurrentStreams: 100,
  maxConnections: 10_000,
  socketMode: "660",
  reusePort: false,
  accessLog: true,
  accessLogSampleRatio: 1,
  accessLogSlowMs: 1_000,
};

/** A connection of a client that writes what it likes. */
export class RawConnection {
  readonly socket: Socket;
  /** All that came, once the server has closed the connection. */
  readonly ended: Promise<string>;
  /** The error that ended the connection, as when the server reset it. */
  error: (Error & { readonly code?: string }) | undefined;
  #received = "";

  constructor(port: number) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.setEncoding("latin1");
    this.socket.on("data", (text: string) => (this.#received += text));
    this.socket.on("error", (error) => (this.error = error));
    this.ended = new Promise((resolve) => this.socket.once("close", () => resolve(this.#received)));
  }

  get received(): string {
    return this.#received;
  }

  write(bytes: string | Buffer): void {
    this.socket.write(bytes);
  }

  /** Resolves when this has come. */
  async until(text: string): Promise<void> {
    while (!this.#received.includes(text)) {
      await new Promise<void>((resolve, reject) => {
        this.socket.once("data", () => resolve());
        this.socket.once("close", () => reject(new Error(`closed before "${text}" came: ${this.#received}`)));
      });
    }
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** The first reply in what a connection received. */
export interface RawReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export function parseReply(text: string): RawReply {
  const [head = "", body = ""] = text.split("\r\n\r\n", 2);
  const [statusLine = "", ...lines] = head.split("\r\n");
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return { status: Number(statusLine.split(" ")[1]), headers: Object.fromEntries(headers), body };
}
