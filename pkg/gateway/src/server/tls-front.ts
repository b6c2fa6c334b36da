import type { Server as HttpServer } from "node:http";
import type { Server, Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Clock, Logger, Metrics } from "@plinth/kernel";
import { type Certificates, watchCertificates } from "@plinth/transport";
import type { GatewayTlsSettings } from "../config/settings-tls.ts";
import type { Connections } from "./connections.ts";
import type { Http2 } from "./http2.ts";
import { ServerNames } from "./server-names.ts";

export interface TlsFrontOptions {
  readonly settings: GatewayTlsSettings;
  readonly http1: HttpServer;
  /** Undefined: it is not spoken. */
  readonly http2: Http2 | undefined;
  readonly connections: Connections;
  readonly clock: Clock;
  readonly log: Logger | undefined;
  readonly metrics: Metrics;
  /** A handshake is over, and the first request may be on its way. */
  readonly onSecure: () => void;
}

/** What listens in front of the HTTP server with TLS. */
export interface TlsFront {
  readonly server: Server;
  /** Ends the watch of the certificates' files. */
  close(): void;
}

/** @throws {@link TransportError} `ERR_TLS_FILE`, `ERR_TLS_CERTIFICATE` for the first certificate that cannot be used. */
export function openTlsFront(options: TlsFrontOptions): TlsFront {
  const { settings, http1, http2, connections, clock, log, metrics, onSecure } = options;
  const { certificates, handshakeTimeoutMs, ...rest } = settings;
  const names = new ServerNames();
  const watched: Certificates[] = [];
  const close = (): void => {
    for (const certificate of watched) certificate.close();
  };
  try {
    for (const [index, files] of certificates.entries()) {
      const certificate = watchCertificates({
        settings: { ...rest, ...files, clientCertificate: "off", handshakeTimeoutMs },
        listener: index === 0 ? "gateway" : `gateway-${index + 1}`,
        clock,
        log,
        metrics,
        onChange: (context) => {
          names.set(index, context);
          if (index === 0) server.setSecureContext(context);
        },
      });
      watched.push(certificate);
      names.set(index, certificate.context);
    }
  } catch (error) {
    close();
    throw error;
  }
  const failures = metrics.counter({
    name: "gateway_tls_failures_total",
    help: "Connections of clients whose TLS handshake failed or took too long.",
  });
  const server = process.getBuiltinModule("node:tls").createServer(
    {
      ...watched[0]?.context,
      ALPNProtocols: http2 ? ["h2", "http/1.1"] : ["http/1.1"],
      handshakeTimeout: handshakeTimeoutMs,
      noDelay: true,
      SNICallback: (name, done) => {
        let context;
        try {
          context = names.find(name);
        } catch {
          // a name that is none is nobody's: the first certificate is for it
        }
        done(null, context);
      },
    },
    (socket: TLSSocket) => {
      if (http2 && socket.alpnProtocol === "h2") http2.accept(socket);
      else http1.emit("connection", socket);
      onSecure();
    },
  );
  server.on("connection", (socket: Socket) => connections.belowTls(socket));
  server.on("tlsClientError", (_error, socket) => {
    failures.inc({});
    socket.destroy();
  });
  // HTTP/1 looks for connections that are too slow from when it listens.
  server.on("listening", () => http1.emit("listening"));
  return { server, close };
}
