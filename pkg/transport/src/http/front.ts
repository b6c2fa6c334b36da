import type { Server as HttpServer } from "node:http";
import { createServer, type Server, type Socket } from "node:net";
import type { SecureContextOptions, TLSSocket } from "node:tls";
import type { Clock, Metrics } from "@plinth/kernel";
import type { TlsSettings } from "../tls/settings.ts";
import type { Http2 } from "./http2.ts";
import type { HttpSettings } from "./settings.ts";

export interface FrontOptions {
  readonly settings: HttpSettings;
  readonly http1: HttpServer;
  /** Absent: it is not spoken. */
  readonly http2: Http2 | undefined;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

/** What every connection over HTTP/2 begins with. RFC 9113, 3.4. */
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

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

/** Tells by its first bytes, which stay to be read, whether a connection is one of HTTP/2. */
function peek(
  socket: Socket,
  { clock, withinMs }: { readonly clock: Clock; readonly withinMs: number },
  done: (isHttp2: boolean) => void,
): void {
  let seen: Buffer = Buffer.alloc(0);
  const timer = clock.schedule(withinMs, () => socket.destroy(), { keepAlive: false });
  const onError = (): void => void socket.destroy();
  const settle = (isHttp2: boolean): void => {
    stop();
    if (seen.length > 0) socket.unshift(seen);
    done(isHttp2);
  };
  const onReadable = (): void => {
    for (let chunk: unknown = socket.read(); Buffer.isBuffer(chunk); chunk = socket.read())
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    const length = Math.min(seen.length, preface.length);
    if (!seen.subarray(0, length).equals(preface.subarray(0, length))) settle(false);
    else if (length === preface.length) settle(true);
  };
  const onEnd = (): void => {
    if (seen.length === 0) socket.destroy();
    else settle(false);
  };
  const stop = (): void => {
    timer.cancel();
    socket.off("readable", onReadable).off("end", onEnd).off("error", onError).off("close", stop);
  };
  socket.on("readable", onReadable).on("end", onEnd).on("error", onError).on("close", stop);
}
