import { isIP, type TcpNetConnectOpts } from "node:net";
import type { ConnectionOptions, SecureContext, TLSSocket } from "node:tls";
import type { Clock, Logger, Metrics } from "@plinth/kernel";
import { watchClientCertificates } from "@plinth/transport";
import type { UpstreamTlsConfig } from "../config/schema-upstream-tls.ts";

/** Sessions are taken up again for so long, in milliseconds: then the certificate is looked at once more. */
const sessionMs = 300_000;
const maxSessions = 1_024;

/** TLS to the instances of one service: what connections that are made now are made with. */
export interface UpstreamTls {
  /**
   * For `tls.connect`, beside address and ALPN: always verified.
   * @param host - Of the instance, without brackets; the certificate must be of this name unless the settings give another.
   */
  optionsFor(host: string): ConnectionOptions;
  /** Opens a connection, with the session of one before where there is one. `secureConnect` comes once the instance is verified. */
  connect(options: TcpNetConnectOpts & { readonly host: string }): TLSSocket;
  /** Ends the watch of the files. Safe to call twice. */
  close(): void;
}

export interface UpstreamTlsOptions {
  readonly config: UpstreamTlsConfig;
  /** In logs and labels. */
  readonly service: string;
  readonly clock: Clock;
  readonly log?: Logger | undefined;
  readonly metrics?: Metrics | undefined;
}

/** @throws {@link TransportError} `ERR_TLS_FILE`, `ERR_TLS_CERTIFICATE` for files that cannot be used. */
export function openUpstreamTls(options: UpstreamTlsOptions): UpstreamTls {
  return new WatchedTls(options);
}

interface Session {
  readonly ticket: Buffer;
  readonly untilMs: number;
}

class WatchedTls implements UpstreamTls {
  readonly #options: UpstreamTlsOptions;
  readonly #tls = process.getBuiltinModule("node:tls");
  readonly #close: () => void;
  #context: SecureContext;
  /** By address, all of certificates that were verified with the context in use. */
  readonly #sessions = new Map<string, Session>();

  constructor(options: UpstreamTlsOptions) {
    this.#options = options;
    const { config, service, clock, log, metrics } = options;
    const { minVersion, caFile, certFile, keyFile } = config;
    this.#context = this.#tls.createSecureContext({ minVersion });
    this.#close = () => undefined;
    if (caFile === undefined && certFile === undefined) return;
    const certificates = watchClientCertificates({
      files: { caFile, certFile, keyFile, minVersion },
      peer: service,
      clock,
      log,
      metrics,
      onChange: (context) => {
        this.#context = this.#tls.createSecureContext({ minVersion, ...context });
        this.#sessions.clear();
      },
    });
    this.#context = this.#tls.createSecureContext({ minVersion, ...certificates.context });
    this.#close = () => certificates.close();
  }

  optionsFor(host: string): ConnectionOptions {
    const name = this.#options.config.serverName ?? host;
    return {
      secureContext: this.#context,
      rejectUnauthorized: true,
      ...(isIP(name) === 0 ? { servername: name } : {}),
      checkServerIdentity: (_host, certificate) => this.#tls.checkServerIdentity(name, certificate),
    };
  }

  connect(options: TcpNetConnectOpts & { readonly host: string }): TLSSocket {
    const { host, port } = options;
    const address = `${host} ${port}`;
    const known = this.#sessions.get(address);
    const isFresh = known !== undefined && this.#options.clock.now() < known.untilMs;
    const context = this.#context;
    const socket = this.#tls.connect({
      ...options,
      ...this.optionsFor(host),
      ...(isFresh ? { session: known.ticket } : {}),
      ALPNProtocols: ["http/1.1"],
    });
    let untilMs = known?.untilMs ?? 0;
    socket.once("secureConnect", () => {
      // One that is taken up again was verified when it began, and must not go on for ever by that.
      if (!socket.isSessionReused()) untilMs = this.#untilMs(socket);
    });
    socket.on("session", (ticket) => {
      if (!socket.authorized || context !== this.#context || this.#options.clock.now() >= untilMs) return;
      if (this.#sessions.size >= maxSessions) this.#sessions.clear();
      this.#sessions.set(address, { ticket, untilMs });
    });
    return socket;
  }

  close(): void {
    this.#close();
    this.#sessions.clear();
  }

  /** No session goes on beyond the end of the certificate that it began with. */
  #untilMs(socket: TLSSocket): number {
    const ends = Date.parse(socket.getPeerCertificate().valid_to);
    return Math.min(Number.isNaN(ends) ? 0 : ends, this.#options.clock.now() + sessionMs);
  }
}
