import type { Socket } from "node:net";
import { Deadlines } from "../server/deadlines.ts";
import { Http1Call } from "./http1-call.ts";
import { type ConnectionOwner, Http1Connection } from "./http1-connection.ts";
import { toRequestText } from "./http1-request.ts";
import type {
  Upstream,
  UpstreamCall,
  UpstreamFactory,
  UpstreamHandlers,
  UpstreamOptions,
  UpstreamRequest,
} from "./upstream.ts";

/** An {@link Upstream} that speaks HTTP/1.1: connections with one request at a time, the one used last taken first. */
export const createHttp1Upstream: UpstreamFactory = (options) => new Http1Upstream(options);

class Http1Upstream implements Upstream, ConnectionOwner {
  readonly options: ConnectionOwner["options"];
  readonly #address: { readonly host: string; readonly port: number };
  readonly #all = new Set<Http1Connection>();
  /** Those that go on in another protocol. */
  readonly #upgraded = new Set<Socket>();
  /** Those without a request, the one used last at the end. */
  readonly #idle: Http1Connection[] = [];
  #closing: PromiseWithResolvers<void> | undefined;

  constructor(options: UpstreamOptions) {
    this.options = { ...options, deadlines: options.deadlines ?? new Deadlines(options.clock) };
    this.#address = addressOf(options.authority);
  }

  get connections(): number {
    return this.#all.size + this.#upgraded.size;
  }

  send(request: UpstreamRequest, handlers: UpstreamHandlers): UpstreamCall {
    const text = toRequestText(request);
    if (typeof text === "string") {
      const call = new Http1Call(request, { text: "", bodyLength: 0 }, handlers);
      queueMicrotask(() => call.fail("unsendable", new Error(`the request cannot be sent: ${text}`)));
      return call;
    }
    const call = new Http1Call(request, text, handlers);
    const nowMs = this.options.clock.monotonicMs();
    // Where there may be no more connections, an idle one makes room.
    if (request.isFresh === true && this.#all.size >= this.options.maxConnections) this.#idle.pop()?.destroy();
    const connection = (request.isFresh === true ? undefined : this.#takeIdle(nowMs)) ?? this.#open(call);
    connection?.begin(call, nowMs);
    return call;
  }

  close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = Promise.withResolvers();
      for (const connection of this.#idle.splice(0)) connection.destroy();
      this.#settle();
    }
    return this.#closing.promise;
  }

  destroy(): void {
    void this.close();
    for (const connection of this.#all) connection.breakOff();
    for (const socket of this.#upgraded) socket.destroy();
    this.#settle();
  }

  released(connection: Http1Connection): void {
    const nowMs = this.options.clock.monotonicMs();
    // A reply that waited to be read, while the event loop stood still, has a connection behind it that may be closed by now.
    if (this.#closing || nowMs - connection.usedAtMs > connection.lifeMs) connection.destroy();
    else {
      connection.rest(nowMs);
      this.#idle.push(connection);
    }
  }

  gone(connection: Http1Connection, upgraded?: Socket): void {
    this.#all.delete(connection);
    const at = this.#idle.lastIndexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    if (upgraded) {
      this.#upgraded.add(upgraded);
      upgraded.once("close", () => {
        this.#upgraded.delete(upgraded);
        this.#settle();
      });
    }
    this.#settle();
  }

  /**
   * The connection used last. Those that have stood idle for too long are given up here as well: when the event loop stood
   * still, no timer for that has run yet, nor has anybody seen that the instance has closed them.
   */
  #takeIdle(nowMs: number): Http1Connection | undefined {
    for (let connection = this.#idle.pop(); connection; connection = this.#idle.pop()) {
      if (nowMs - connection.usedAtMs <= connection.lifeMs) return connection;
      connection.destroy();
    }
    return undefined;
  }

  #open(call: Http1Call): Http1Connection | undefined {
    if (this.#closing || this.#all.size >= this.options.maxConnections) {
      queueMicrotask(() => call.fail("busy", undefined));
      return undefined;
    }
    try {
      const connection = new Http1Connection(this, this.#address);
      this.#all.add(connection);
      return connection;
    } catch (error) {
      queueMicrotask(() => call.fail("unreachable", error));
      return undefined;
    }
  }

  #settle(): void {
    if (this.#all.size === 0 && this.#upgraded.size === 0) this.#closing?.resolve();
  }
}

/** @param authority - `host:port`, an IPv6 address in brackets. */
function addressOf(authority: string): { readonly host: string; readonly port: number } {
  const at = authority.lastIndexOf(":");
  const host = authority.slice(0, at);
  return { host: host.startsWith("[") ? host.slice(1, -1) : host, port: Number(authority.slice(at + 1)) };
}
