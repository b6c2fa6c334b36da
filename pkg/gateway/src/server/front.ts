import { Server } from "node:net";
import type { Logger, Metrics, Scheduled } from "@plinth/kernel";
import { listen, type TransportError, watchListeners } from "@plinth/transport";
import type { GatewaySettings } from "../options.ts";
import type { ProxyProtocolSettings } from "../config/settings-proxy-protocol.ts";
import { openProxyFront, type ProxyFront } from "../proxy-protocol/proxy-front.ts";
import { type CleartextFront, openCleartextFront } from "./cleartext-front.ts";
import { ConnectionCaps } from "./connection-caps.ts";
import { Connections } from "./connections.ts";
import type { GatewayCore } from "./core.ts";
import { Http2 } from "./http2.ts";
import { createListener } from "./listener.ts";
import { SlowClients } from "./slow-clients.ts";
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
  readonly #caps: ConnectionCaps;
  readonly slowClients: SlowClients;
  readonly #http1;
  readonly #http2: Http2 | undefined;
  #tls: TlsFront | undefined;
  #cleartext: CleartextFront | undefined;
  #proxy: ProxyFront | undefined;
  #unwatch: (() => void) | undefined;
  #grace: Scheduled | undefined;
  #isDraining = false;

  constructor(core: GatewayCore, options: FrontOptions) {
    this.#core = core;
    this.#options = options;
    const { settings, metrics, log } = options;
    const { clock } = core;
    this.#caps = new ConnectionCaps({ settings, metrics, log, clock });
    this.slowClients = new SlowClients({ settings, connections: this.#connections, clock, metrics });
    this.#http1 = createListener(core, this.#connections, options.settings);
    const { tls, http2 } = options.settings;
    if (tls ? http2.tls : http2.cleartext) this.#http2 = new Http2(core, options);
  }

  /**
   * @returns The port.
   * @throws {@link TransportError} `ERR_LISTEN_PORT_BUSY`, `ERR_LISTEN_ADDRESS`, `ERR_TLS_FILE`, `ERR_TLS_CERTIFICATE`.
   */
  async listen(): Promise<number> {
    const { settings, log, onDied } = this.#options;
    const { host, tls } = settings;
    if (tls) this.#tls = this.#openTls(tls);
    else if (this.#http2) this.#cleartext = this.#openCleartext(this.#http2);
    if (settings.proxyProtocol) this.#proxy = this.#openProxy(settings.proxyProtocol);
    else this.#caps.guard(this.#inner);
    const server = this.#server;
    this.#caps.bound(server);
    let port;
    try {
      port = await listen(server, { host, port: settings.port, variable: "PLINTH_GATEWAY_PORT" });
    } catch (error) {
      this.#tls?.close();
      throw error;
    }
    this.slowClients.start();
    this.#unwatch = watchListeners([server], { what: "gateway", host, port, errors: this.#core.errors, onDied });
    log?.info("gateway listens", { host, port, ...(tls && { tls: true }), ...(this.#http2 && { http2: true }) });
    return port;
  }

  /** The next reply on each connection is its last. */
  announceDrain(): void {
    this.#http2?.announceDrain();
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
    const server = this.#server;
    if (!server.listening) return;
    const ended = Promise.withResolvers<void>();
    // The socket server's own `close`: that of the HTTP server would also cut off clients that have only just connected, whose
    // request may be on its way.
    Server.prototype.close.call(server, (error?: Error) => (error ? ended.reject(error) : ended.resolve()));
    this.#connections.endIdle(false);
    this.#http2?.drain();
    this.#endFreshLater();
    await ended.promise;
    this.#grace?.cancel();
  }

  /** Breaks every connection off. */
  cut(): void {
    this.#connections.destroy();
    this.#cleartext?.endFresh();
    this.#proxy?.endFresh();
    this.#http2?.cut();
  }

  /** After the drain: ends the timers. */
  close(): void {
    this.slowClients.close();
    this.#http1.close();
  }

  get #server(): Server {
    return this.#proxy?.server ?? this.#inner;
  }

  /** What serves connections, whatever stands before them. */
  get #inner(): Server {
    return this.#tls?.server ?? this.#cleartext?.server ?? this.#http1;
  }

  #endFreshLater(): void {
    this.#grace?.cancel();
    this.#grace = this.#core.clock.schedule(freshGraceMs, () => {
      this.#connections.endIdle(true);
      this.#cleartext?.endFresh();
      this.#proxy?.endFresh();
    });
  }

  #openProxy(settings: ProxyProtocolSettings): ProxyFront {
    const { clock } = this.#core;
    const { metrics } = this.#options;
    return openProxyFront({
      settings,
      inner: this.#inner,
      isTls: this.#tls !== undefined,
      clock,
      metrics,
      caps: this.#caps,
    });
  }

  #openCleartext(http2: Http2): CleartextFront {
    const { clock } = this.#core;
    const withinMs = this.#options.settings.headersTimeoutMs;
    return openCleartextFront({ http1: this.#http1, http2, clock, withinMs });
  }

  #openTls(settings: NonNullable<GatewaySettings["tls"]>): TlsFront {
    const { log, metrics } = this.#options;
    return openTlsFront({
      settings,
      http1: this.#http1,
      http2: this.#http2,
      connections: this.#connections,
      clock: this.#core.clock,
      log,
      metrics,
      // Who was still at its handshake when the drain began has as long for its first request as the others.
      onSecure: () => this.#isDraining && this.#endFreshLater(),
    });
  }
}
