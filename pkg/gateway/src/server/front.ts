import { Server } from "node:net";
import type { Logger, Metrics, Scheduled } from "@plinth/kernel";
import { listen, type TransportError, watchListeners } from "@plinth/transport";
import type { GatewaySettings } from "../options.ts";
import { Connections } from "./connections.ts";
import type { GatewayCore } from "./core.ts";
import { createListener } from "./listener.ts";
import { openTlsFront, type TlsFront } from "./tls-front.ts";

export interface FrontOptions {
  readonly settings: GatewaySettings;
  readonly log: Logger | undefined;
  readonly metrics: Metrics;
  readonly onDied: ((error: TransportError) => void) | undefined;
}

/** A client that has just connected has this long to begin its request when the gateway stops accepting. */
const freshGraceMs = 250;

/** What faces the clients: the port, with TLS or without, and the connections that it has accepted. */
export class Front {
  readonly #core: GatewayCore;
  readonly #options: FrontOptions;
  readonly #connections = new Connections();
  readonly #http1;
  #tls: TlsFront | undefined;
  #unwatch: (() => void) | undefined;
  #grace: Scheduled | undefined;
  #isDraining = false;

  constructor(core: GatewayCore, options: FrontOptions) {
    this.#core = core;
    this.#options = options;
    this.#http1 = createListener(core, this.#connections, options.settings);
  }

  /**
   * @returns The port.
   * @throws {@link TransportError} `ERR_LISTEN_PORT_BUSY`, `ERR_LISTEN_ADDRESS`, `ERR_TLS_FILE`, `ERR_TLS_CERTIFICATE`.
   */
  async listen(): Promise<number> {
    const { settings, log, onDied } = this.#options;
    const { host, tls } = settings;
    this.#tls = tls && this.#openTls(tls);
    const server = this.#tls?.server ?? this.#http1;
    let port;
    try {
      port = await listen(server, { host, port: settings.port, variable: "PLINTH_GATEWAY_PORT" });
    } catch (error) {
      this.#tls?.close();
      throw error;
    }
    this.#unwatch = watchListeners([server], { what: "gateway", host, port, errors: this.#core.errors, onDied });
    log?.info("gateway listens", { host, port, ...(tls && { tls: true }) });
    return port;
  }

  /** A reply has ended: after a drain has begun its connection may be idle now. */
  released(): void {
    if (this.#isDraining) setImmediate(() => this.#connections.endIdle(false));
  }

  /**
   * Stops accepting and closes what is idle.
   * @returns Resolves when the last connection has ended.
   */
  async drain(): Promise<void> {
    this.#isDraining = true;
    this.#unwatch?.();
    this.#tls?.close();
    const server = this.#tls?.server ?? this.#http1;
    if (!server.listening) return;
    const ended = Promise.withResolvers<void>();
    // The socket server's own `close`: that of the HTTP server would also cut off clients that have only just connected, whose
    // request may be on its way.
    Server.prototype.close.call(server, (error?: Error) => (error ? ended.reject(error) : ended.resolve()));
    this.#connections.endIdle(false);
    this.#endFreshLater();
    await ended.promise;
    this.#grace?.cancel();
  }

  /** Breaks every connection off. */
  cut(): void {
    this.#connections.destroy();
  }

  /** After the drain: ends the HTTP server's own timer. */
  close(): void {
    this.#http1.close();
  }

  #endFreshLater(): void {
    this.#grace?.cancel();
    this.#grace = this.#core.clock.schedule(freshGraceMs, () => this.#connections.endIdle(true));
  }

  #openTls(settings: NonNullable<GatewaySettings["tls"]>): TlsFront {
    const { log, metrics } = this.#options;
    return openTlsFront({
      settings,
      http1: this.#http1,
      connections: this.#connections,
      clock: this.#core.clock,
      log,
      metrics,
      // Who was still at its handshake when the drain began has as long for its first request as the others.
      onSecure: () => this.#isDraining && this.#endFreshLater(),
    });
  }
}
