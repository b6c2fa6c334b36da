import type { Server as HttpServer } from "node:http";
import type { Server, Socket } from "node:net";
import { type Clock, type ErrorBus, type Logger, type Metrics, takeLastConnections } from "@plinth/kernel";
import type { TransportError } from "../errors.ts";
import { listen } from "../listen.ts";
import type { Certificates } from "../tls/certificates.ts";
import { watchListeners } from "../watch-listeners.ts";
import { capClientConnections } from "./client-connections.ts";
import { Connections } from "./connections.ts";
import { openFront, openTlsFront } from "./front.ts";
import type { Http2, Http2Layers } from "./http2.ts";
import type { HttpSettings } from "./settings.ts";

export interface HttpListenerOptions {
  readonly settings: HttpSettings;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly errors: ErrorBus;
  readonly http1: HttpServer;
  readonly layers: Http2Layers;
  readonly portVariable?: string | undefined;
  readonly onDied?: ((error: TransportError) => void) | undefined;
}

/** What listens for an HTTP server, on a port or a path, with TLS or without, and the connections that it has accepted. */
export class HttpListener {
  port = 0;
  readonly #options: HttpListenerOptions;
  #front: Server | undefined;
  #http2: Http2 | undefined;
  #certificates: Certificates | undefined;
  #connections: Connections | undefined;
  #unwatch: (() => void) | undefined;

  constructor(options: HttpListenerOptions) {
    this.#options = options;
  }

  /** False before {@link listen}. */
  get isListening(): boolean {
    return this.#unwatch !== undefined;
  }

  /** @throws {@link TransportError} `ERR_LISTEN_PORT_BUSY`, `ERR_LISTEN_ADDRESS`, `ERR_TLS_FILE`, `ERR_TLS_CERTIFICATE`. */
  async listen(): Promise<void> {
    const { settings, log, errors, onDied, portVariable: variable = "PLINTH_HTTP_PORT" } = this.#options;
    const { host, port, socketPath, socketMode, reusePort } = settings;
    const front = await this.#open();
    this.#front = front;
    const { http1 } = this.#options;
    this.#connections = new Connections({ listener: front, http1, isSecure: settings.tls !== undefined });
    try {
      this.port = await listen(front, {
        ...(socketPath === undefined ? { host, port, reusePort } : { path: socketPath, mode: parseInt(socketMode, 8) }),
        variable,
      });
    } catch (error) {
      this.#certificates?.close();
      throw error;
    }
    const where = socketPath === undefined ? { host, port: this.port } : { path: socketPath };
    this.#unwatch = watchListeners([front], { what: "http server", ...where, errors, onDied });
    log.info("http server listens", {
      ...where,
      ...(settings.tls && { tls: true }),
      ...(settings.http2 && { http2: true }),
    });
  }

  async #open(): Promise<Server> {
    const { settings, layers, clock, log, metrics, http1 } = this.#options;
    const { tls, maxConnections } = settings;
    if (settings.http2) {
      const { Http2 } = await import("./http2.ts");
      this.#http2 = new Http2({ settings, layers, clock, metrics });
    }
    const options = { settings, http1, http2: this.#http2, clock, metrics };
    let front: Server;
    if (tls === undefined) front = openFront(options);
    else {
      const { watchCertificates } = await import("../tls/certificates.ts");
      const certificates = watchCertificates({
        settings: tls,
        listener: "http",
        clock,
        log,
        metrics,
        onChange: (context) => secure.setSecureContext(context),
      });
      this.#certificates = certificates;
      const secure = openTlsFront(options, tls, certificates.context);
      front = secure;
    }
    front.maxConnections = maxConnections;
    capClientConnections(front, { settings, metrics });
    const dropped = metrics.counter({
      name: "http_server_connections_dropped_total",
      help: "Connections closed at once because as many were open as `maxConnections` allows.",
    });
    front.on("drop", () => dropped.inc({}));
    metrics.gauge({
      name: "http_server_connections",
      help: "Connections that are open.",
      collect: async (gauge) => gauge.set({}, await countOf(front)),
    });
    return front;
  }

  /** Connections of HTTP/2 are told to end, while new ones are still accepted. */
  announceDrain(): void {
    this.#http2?.announceDrain();
  }

  /** Before {@link drain}, in a worker: resolves when it has the last connections that are its. Undefined when none are to come. */
  takeLast(signal: AbortSignal): Promise<void> | undefined {
    return this.#front && takeLastConnections(this.#front, { clock: this.#options.clock, signal });
  }

  /**
   * Stops accepting, closes what is idle, and tells callers of HTTP/2 to go elsewhere.
   * @returns Resolves when the last connection is closed.
   */
  async drain(isBusy: (socket: Socket) => boolean): Promise<void> {
    this.#unwatch?.();
    this.#certificates?.close();
    const http2 = this.#http2;
    http2?.drain();
    const isKept = (socket: Socket): boolean => http2?.has(socket) === true || isBusy(socket);
    await this.#connections?.close({ isBusy: isKept, clock: this.#options.clock });
  }

  /** Ends a connection that has become idle. */
  release(socket: Socket): void {
    if (this.#http2?.has(socket) !== true) this.#connections?.release(socket);
  }

  /** Breaks every connection off. */
  cut(): void {
    this.#connections?.cut();
  }
}

function countOf(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.getConnections((error, count) => resolve(error === null ? count : 0));
  });
}
