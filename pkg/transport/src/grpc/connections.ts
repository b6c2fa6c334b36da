import { constants, type ServerHttp2Session } from "node:http2";
import { TLSSocket } from "node:tls";
import type { Clock, Counter, Metrics } from "@plinth/kernel";
import { peerOf } from "../client-address.ts";
import { calm, FloodBudget, type FloodKind } from "../flood-budget.ts";
import type { GrpcSettings } from "./settings.ts";

export interface ConnectionGuardOptions {
  readonly settings: GrpcSettings;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** True when a call is open on that connection. */
  readonly hasCalls: (session: ServerHttp2Session) => boolean;
}

/** One connection, as its calls see it. */
export interface Connection {
  /** Who is at the other end. */
  readonly peer: string;
  /** A stream of it is over. */
  ended(rstCode: number | undefined): void;
}

/** Pings that come too early before a connection is ended, as the specification has it. */
const maxStrikes = 2;
/** How often a client may ping without a call where that is not permitted. */
const pingIntervalWithoutCallsMs = 7_200_000;
/** What the answer to a ping comes to, with the frame of TLS around it: more than that was a reply. */
const maxPingReplyBytes = 40;
/** A connection that has just come gets this long for its first call, in milliseconds. */
const unusedGraceMs = 500;

/**
 * What one connection may do besides its calls: time for its first frames, and how often it pings, or
 * cancels what it has begun. Each call that ends well allows for one more that is cancelled, since busy callers have deadlines.
 * @see https://github.com/grpc/proposal/blob/master/A8-client-side-keepalive.md
 */
export class ConnectionGuard {
  /** From then on new connections are told to go elsewhere. */
  isDraining = false;
  readonly #options: ConnectionGuardOptions;
  readonly #refused: Counter<"reason">;
  /** Connections without a call so far, and since when they are there. */
  readonly #unused = new Map<ServerHttp2Session, number>();

  constructor(options: ConnectionGuardOptions) {
    this.#options = options;
    this.#refused = options.metrics.counter({
      name: "grpc_server_refused_connections_total",
      help: "Connections ended for what their clients did: silence at the beginning, too many pings, SETTINGS or cancelled calls, a certificate that is not trusted.",
      labels: ["reason"],
    });
  }

  /** Once for each new connection. */
  admit(session: ServerHttp2Session): Connection {
    const peer = peerOf(session.socket);
    const budget = new FloodBudget(this.#options.clock);
    const spend = (kind: FloodKind): void => {
      if (budget.spend(kind) || session.destroyed) return;
      this.#refused.inc({ reason: kind });
      calm(session, kind);
    };
    session.on("remoteSettings", () => spend("settings"));
    this.#unused.set(session, this.#options.clock.monotonicMs());
    const use = (): void => void this.#unused.delete(session);
    session.once("stream", use);
    session.once("close", use);
    this.#guard(session);
    return {
      peer,
      ended: (rstCode) => (rstCode === constants.NGHTTP2_NO_ERROR ? budget.earn("reset") : spend("reset")),
    };
  }

  /** Resolves when those that have just come have had a moment for their first call: told to go elsewhere before that, it is refused. */
  async untilUsed(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const fresh = new Set(
      [...this.#unused].flatMap(([session, sinceMs]) => (nowMs - sinceMs < unusedGraceMs ? session : [])),
    );
    if (fresh.size === 0 || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    for (const session of fresh) {
      const use = (): void => {
        if (fresh.delete(session) && fresh.size === 0) resolve();
      };
      session.once("stream", use);
      session.once("close", use);
    }
    const onEnd = (): void => resolve();
    const timer = clock.schedule(unusedGraceMs, onEnd, { keepAlive: false });
    signal.addEventListener("abort", onEnd, { once: true });
    await promise;
    timer.cancel();
    signal.removeEventListener("abort", onEnd);
  }

  #guard(session: ServerHttp2Session): void {
    if (this.isDraining) session.close();
    const { settings, clock } = this.#options;
    if (settings.tls?.clientCertificate === "request" && hasForeignCertificate(session.socket)) {
      this.#refused.inc({ reason: "certificate" });
      session.destroy();
      return;
    }
    const timer = clock.schedule(
      settings.prefaceTimeoutMs,
      () => {
        this.#refused.inc({ reason: "silent" });
        session.destroy();
      },
      { keepAlive: false },
    );
    session.once("remoteSettings", () => timer.cancel());
    session.once("close", () => timer.cancel());
    if (settings.minPingIntervalMs > 0) this.#countPings(session);
  }

  #countPings(session: ServerHttp2Session): void {
    const { settings, clock, hasCalls } = this.#options;
    let [strikes, lastAtMs, lastBytes] = [0, -Infinity, 0];
    session.on("ping", () => {
      const nowMs = clock.monotonicMs();
      const { bytesWritten } = session.socket;
      const isAllowed = settings.pingWithoutCalls || hasCalls(session);
      const minMs = isAllowed ? settings.minPingIntervalMs : pingIntervalWithoutCallsMs;
      // clients ping to measure while replies come in
      if (bytesWritten - lastBytes > maxPingReplyBytes) strikes = 0;
      else if (nowMs - lastAtMs < minMs) strikes++;
      [lastAtMs, lastBytes] = [nowMs, bytesWritten];
      if (strikes <= maxStrikes || session.destroyed) return;
      this.#refused.inc({ reason: "pings" });
      session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM, 0, Buffer.from("too_many_pings"));
      session.destroy();
    });
  }
}

/** It has shown a certificate, and none of ours has signed it. */
function hasForeignCertificate(socket: object): boolean {
  if (!(socket instanceof TLSSocket) || socket.authorized) return false;
  return Object.keys(socket.getPeerCertificate()).length > 0;
}
