import { createServer, type Server, type Socket } from "node:net";
import type { Clock, Metrics } from "@plinth/kernel";
import { createPeerTrust, peerOf } from "@plinth/transport";
import type { ProxyProtocolSettings } from "../config/settings-proxy-protocol.ts";
import type { ConnectionCaps } from "../server/connection-caps.ts";
import { type ProxySource, readProxyHeader } from "./header.ts";

/** What became of a header that had to come. */
type Outcome = "taken" | "local" | "invalid" | "timeout" | "none";

/** What listens where load balancers say in a header who connects. */
export interface ProxyFront {
  readonly server: Server;
  /** Closes connections whose header has not come yet. */
  endFresh(): void;
}

export interface ProxyFrontOptions {
  readonly settings: ProxyProtocolSettings;
  /** Serves what follows the header. Its own `listening` and `connection` are told, it does not listen. */
  readonly inner: Server;
  /** It speaks TLS: who connects is told of each connection that its handshake has opened. */
  readonly isTls: boolean;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly caps: Pick<ConnectionCaps, "admits">;
}

/** Opens it. From behind the header on a client's address is that of its socket, for whoever asks: limits, lists, logs, forwarding headers. */
export function openProxyFront({ settings, inner, isTls, clock, metrics, caps }: ProxyFrontOptions): ProxyFront {
  const trust = createPeerTrust(settings.from);
  const headers = metrics.counter({
    name: "gateway_proxy_headers_total",
    help: "Connections of load balancers in `gateway.proxyProtocol` by the header that each has to begin with.",
    labels: ["outcome"],
  });
  const fresh = new Set<Socket>();
  /** By connection, for those whose handshake goes on. */
  const sources = new Map<string, ProxySource>();

  const hand = (socket: Socket, source: ProxySource | undefined): void => {
    if (!caps.admits(socket, source?.address)) {
      socket.destroy();
      return;
    }
    if (source !== undefined && isTls) {
      const key = keyOf(socket);
      sources.set(key, source);
      socket.once("close", () => sources.delete(key));
    } else if (source !== undefined) stand(socket, source);
    inner.emit("connection", socket);
  };
  const server = createServer({ allowHalfOpen: !isTls, noDelay: true }, (socket) => {
    if (!trust.isTrustedPeer(peerOf(socket))) {
      hand(socket, undefined);
      return;
    }
    fresh.add(socket);
    readHeader(socket, { clock, withinMs: settings.headerTimeoutMs }, (outcome, source) => {
      fresh.delete(socket);
      headers.inc({ outcome });
      if (outcome === "taken" || outcome === "local") hand(socket, source);
      else socket.destroy();
    });
  });
  server.on("listening", () => inner.emit("listening"));
  if (isTls) {
    inner.prependListener("secureConnection", (socket: Socket) => {
      const source = sources.get(keyOf(socket));
      if (source) stand(socket, source);
    });
  }
  const endFresh = (): void => {
    for (const socket of fresh) socket.destroy();
  };
  return { server, endFresh };
}

/** @param done - Called once; what came behind the header stays to be read. */
function readHeader(
  socket: Socket,
  { clock, withinMs }: { readonly clock: Clock; readonly withinMs: number },
  done: (outcome: Outcome, source?: ProxySource) => void,
): void {
  let seen: Buffer = Buffer.alloc(0);
  const settle = (outcome: Outcome, source?: ProxySource): void => {
    timer.cancel();
    socket.off("readable", onReadable).off("end", onGone).off("error", onGone).off("close", onGone);
    // Until somebody else listens: a reset in between would end the process.
    if (outcome !== "taken" && outcome !== "local") socket.on("error", () => undefined);
    done(outcome, source);
  };
  const onReadable = (): void => {
    for (let chunk: unknown = socket.read(); Buffer.isBuffer(chunk); chunk = socket.read())
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    const header = readProxyHeader(seen);
    if (header === "more") return;
    if (header === "invalid") {
      settle("invalid");
      return;
    }
    if (seen.length > header.length) socket.unshift(seen.subarray(header.length));
    settle(header.source ? "taken" : "local", header.source);
  };
  const onGone = (): void => settle(seen.length === 0 ? "none" : "invalid");
  const timer = clock.schedule(withinMs, () => settle("timeout"), { keepAlive: false });
  socket.on("readable", onReadable).on("end", onGone).on("error", onGone).on("close", onGone);
}

/** No two open connections have the same. TLS has a socket of its own above the one that came, with the same ends. */
function keyOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

/** Puts an address in the place of the balancer's. */
function stand(socket: Socket, { address, port }: ProxySource): void {
  Object.defineProperties(socket, {
    remoteAddress: { value: address },
    remotePort: { value: port },
    remoteFamily: { value: address.includes(":") ? "IPv6" : "IPv4" },
  });
}
