import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";

export interface Received {
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** The same for requests of one connection. */
  readonly port: number | undefined;
  readonly response: ServerResponse;
}

/** What to do with a request; `null` leaves it without an answer. */
export type Answer = number | null | ((received: Received) => void);

/** An HTTP server on 127.0.0.1 that keeps what it is sent, and answers as told. */
export class Receiver implements AsyncDisposable {
  readonly url: string;
  readonly requests: Received[] = [];
  /** For requests in their order; the last one for all that follow. */
  answers: readonly Answer[] = [200];
  readonly #server: Server;
  readonly #listeners = new Set<() => void>();

  private constructor(server: Server, protocol: string) {
    this.#server = server;
    const address = server.address();
    if (typeof address !== "object" || address === null) throw new Error("the receiver has no port");
    this.url = `${protocol}://127.0.0.1:${address.port}`;
    server.on("request", (request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("error", () => {});
      request.on("end", () => {
        const { url = "", headers, socket } = request;
        const body = Buffer.concat(chunks).toString();
        this.#take({ url, headers, body, port: socket.remotePort, response });
      });
    });
  }

  static async start(
    answers: readonly Answer[] = [200],
    tls?: { readonly cert: string; readonly key: string },
  ): Promise<Receiver> {
    const server = tls ? createTlsServer(tls) : createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const receiver = new Receiver(server, tls ? "https" : "http");
    receiver.answers = answers;
    return receiver;
  }

  /** Resolves when so many requests have come. */
  async received(count: number): Promise<Received> {
    while (this.requests.length < count) {
      await new Promise<void>((resolve) => {
        this.#listeners.add(resolve);
      });
    }
    const [last] = this.requests.slice(count - 1, count);
    if (last === undefined) throw new Error(`there is no request ${count}`);
    return last;
  }

  /** Requests whose JSON body is read. */
  get bodies(): unknown[] {
    return this.requests.map(({ body }): unknown => JSON.parse(body));
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    if (this.#server.listening) await once(this.#server, "close");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #take(received: Received): void {
    const answer = this.answers[Math.min(this.requests.length, this.answers.length - 1)];
    this.requests.push(received);
    if (typeof answer === "number") received.response.writeHead(answer).end("{}");
    else if (typeof answer === "function") answer(received);
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
  }
}
