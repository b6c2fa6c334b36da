import { Deadlines } from "../server/deadlines.ts";
import { type CallOptions, Http2Call } from "./http2-call.ts";
import { type ConnectionEvents, Http2Connection } from "./http2-connection.ts";
import type {
  Upstream,
  UpstreamCall,
  UpstreamFactory,
  UpstreamHandlers,
  UpstreamOptions,
  UpstreamRequest,
} from "./upstream.ts";

/**
 * An {@link Upstream} that speaks HTTP/2: in the clear with prior knowledge, over TLS as agreed by ALPN. Requests share a connection for as
 * long as the instance takes more streams on it; then another is opened.
 * @see https://www.rfc-editor.org/rfc/rfc9113
 */
export const createHttp2Upstream: UpstreamFactory = (options) => new Http2Upstream(options);

class Http2Upstream implements Upstream, ConnectionEvents {
  readonly #options: UpstreamOptions;
  readonly #deadlines: Deadlines;
  readonly #callOptions: CallOptions;
  readonly #connections = new Set<Http2Connection>();
  #closing: PromiseWithResolvers<void> | undefined;

  constructor(options: UpstreamOptions) {
    this.#options = options;
    this.#deadlines = options.deadlines ?? new Deadlines(options.clock);
    this.#callOptions = { ...options, deadlines: this.#deadlines };
  }

  get connections(): number {
    return this.#connections.size;
  }

  send(request: UpstreamRequest, handlers: UpstreamHandlers): UpstreamCall {
    const call = new Http2Call(request, handlers, this.#callOptions);
    this.#place(call);
    return call;
  }

  close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = Promise.withResolvers();
      for (const connection of this.#connections) connection.close();
      this.#settle();
    }
    return this.#closing.promise;
  }

  destroy(): void {
    void this.close();
    for (const connection of this.#connections) connection.destroy();
  }

  left(calls: readonly Http2Call[]): void {
    for (const call of calls) this.#place(call);
  }

  closed(connection: Http2Connection): void {
    this.#connections.delete(connection);
    this.#settle();
  }

  #place(call: Http2Call): void {
    let usable = 0;
    let isShut = false;
    for (const connection of this.#connections) {
      if (connection.take(call)) return;
      if (connection.isUsable) usable++;
      isShut ||= connection.isShut;
    }
    if (usable >= this.#options.maxConnections || isShut) {
      queueMicrotask(() => call.fail({ kind: "busy", sent: false, reused: false, cause: undefined }));
      return;
    }
    let connection: Http2Connection;
    try {
      connection = new Http2Connection(this.#options, this.#deadlines, this);
    } catch (cause) {
      queueMicrotask(() => call.fail({ kind: "unreachable", sent: false, reused: false, cause }));
      return;
    }
    this.#connections.add(connection);
    connection.take(call);
    if (this.#closing) connection.close();
  }

  #settle(): void {
    if (this.#connections.size === 0) this.#closing?.resolve();
  }
}
