import type { IncomingHttpHeaders } from "node:http";
import type { Dispatcher } from "undici";

export interface HttpCall {
  /** For dispatchers that serve more than one. */
  readonly origin?: string;
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | null;
}

/** A whole reply. */
export interface HttpReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export interface SendOptions {
  /** Aborts with the `Error` that the call fails with. */
  readonly signal: AbortSignal;
  /** Largest body that is kept, in bytes. */
  readonly maxBytes: number;
  /** Made into what the call fails with. */
  readonly tooLarge: () => Error;
  /** @param wasSent - False when nothing of the call has gone out. */
  readonly toError: (error: unknown, wasSent: boolean) => Error;
}

/** Sends one request and collects its reply, which settles at once when the signal aborts. */
export function send(dispatcher: Dispatcher, call: HttpCall, options: SendOptions): Promise<HttpReply> {
  const exchange = new Exchange(options);
  const giveUp = (): void => exchange.fail(errorOf(options.signal.reason));
  if (options.signal.aborted) giveUp();
  else {
    options.signal.addEventListener("abort", giveUp, { once: true });
    try {
      dispatcher.dispatch({ ...call, blocking: false }, exchange);
    } catch (error) {
      exchange.fail(options.toError(error, false));
    }
  }
  return exchange.reply.finally(() => options.signal.removeEventListener("abort", giveUp));
}

class Exchange implements Dispatcher.DispatchHandler {
  readonly #answer = Promise.withResolvers<HttpReply>();
  readonly #options: SendOptions;
  readonly #chunks: Buffer[] = [];
  #controller: Dispatcher.DispatchController | undefined;
  #failure: Error | undefined;
  #status = 0;
  #headers: IncomingHttpHeaders = {};
  #bytes = 0;

  constructor(options: SendOptions) {
    this.#options = options;
  }

  get reply(): Promise<HttpReply> {
    return this.#answer.promise;
  }

  /** A request that is on its way takes its connection with it; one that waits is never sent. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#answer.reject(this.#failure);
    this.#controller?.abort(this.#failure);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#failure) controller.abort(this.#failure);
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) return; // an interim one
    this.#status = status;
    this.#headers = headers;
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#failure) return;
    this.#bytes += chunk.length;
    if (this.#bytes > this.#options.maxBytes) this.fail(this.#options.tooLarge());
    else this.#chunks.push(chunk);
  }

  onResponseEnd(): void {
    const [first] = this.#chunks;
    const body = first !== undefined && this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks);
    this.#answer.resolve({ status: this.#status, headers: flat(this.#headers), body });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#answer.reject(this.#failure ?? this.#options.toError(error, this.#controller !== undefined));
  }
}

/** Several values of one name are joined. */
export function flat(headers: IncomingHttpHeaders): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers))
    if (value !== undefined) result[name.toLowerCase()] = typeof value === "string" ? value : value.join(", ");
  return result;
}

/** What a signal was aborted with, or something threw, as the `Error` that a call fails with. */
export function errorOf(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error("aborted", { cause: reason });
}
