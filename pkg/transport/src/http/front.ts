import type { Server as HttpServer } from "node:http";
import { createServer, type Server } from "node:net";
import type { SecureContextOptions, TLSSocket } from "node:tls";
import type { Clock, Metrics } from "@plinth/kernel";
import type { TlsSettings } from "../tls/settings.ts";
import type { Http2 } from "./http2.ts";
import { peek } from "./peek.ts";
import type { HttpSettings } from "./settings.ts";

export interface FrontOptions {
  readonly settings: HttpSettings;
  readonly http1: HttpServer;
  /** Absent: it is not spoken. */
  readonly http2: Http2 | undefined;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

/**
 * What listens in front of HTTP/1 without TLS: the server of `node:http` itself, or, where HTTP/2 is spoken too, one that
 * looks at the first bytes of each connection.
 */
export function openFront({ settings, http1, http2, clock }: FrontOptions): Server {
  if (http2 === undefined) return http1;
  return withHttp1(
    createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      peek(socket, { clock, withinMs: settings.headersTimeoutMs }, (isHttp2) => {
        if (isHttp2) http2.accept(socket);
        else http1.emit("connection", socket);
      });
    }),
    http1,
  );
}

/** What listens with TLS. The two are told apart by ALPN. */
export function openTlsFront(options: FrontOptions, tls: TlsSettings, context: SecureContextOptions) {
  const { http1, http2, metrics } = options;
  const failures = metrics.counter({
    name: "http_server_tls_failures_total",
    help: "Connections whose TLS handshake failed, or whose caller showed a certificate of no known authority.",
  });
  const { clientCertificate, handshakeTimeoutMs: handshakeTimeout } = tls;
  const server = process.getBuiltinModule("node:tls").createServer(
    {
      ...context,
      ALPNProtocols: http2 === undefined ? ["http/1.1"] : ["h2", "http/1.1"],
      handshakeTimeout,
      noDelay: true,
      requestCert: clientCertificate !== "off",
      rejectUnauthorized: clientCertificate === "require",
    },
    (socket: TLSSocket) => {
      if (clientCertificate === "request" && !socket.authorized && isShown(socket)) {
        failures.inc({});
        socket.destroy();
      } else if (http2 !== undefined && socket.alpnProtocol === "h2") http2.accept(socket);
      else http1.emit("connection", socket);
    },
  );
  server.on("tlsClientError", (_error, socket) => {
    failures.inc({});
    socket.destroy();
  });
  return withHttp1(server, http1);
}

function isShown(socket: TLSSocket): boolean {
  return Object.keys(socket.getPeerCertificate()).length > 0;
}

/** HTTP/1 looks for connections that are too slow from when it listens; and it ends with what is in front of it. */
function withHttp1<Front extends Server>(front: Front, http1: HttpServer): Front {
  front.on("listening", () => http1.emit("listening"));
  return front;
}
