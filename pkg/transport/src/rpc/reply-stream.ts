import { Readable } from "node:stream";
import { type AppError, runInContext, type Scheduled } from "@plinth/kernel";
import type { HttpExchange } from "../http/exchange.ts";
import type { ToldFailure } from "../http/exchange-owner.ts";
import { toProblem } from "../problem.ts";
import { endMessage } from "./connect-error.ts";

/** A reply without a message sends its head after so long, in milliseconds, so that nobody on the way takes the silence for a failure. */
const silentHeadMs = 1_000;

export interface ReplyStreamOptions {
  /** `package.Service/Method`. */
  readonly name: string;
  /** What the handler returned. */
  readonly replies: unknown;
  /** The envelope of what the handler has yielded. */
  readonly write: (reply: unknown) => Buffer;
  readonly exchange: HttpExchange;
}

/**
 * The replies of a handler as envelopes, each taken from it when there is room for it, and the message that ends them: whether by the
 * handler, by its error, by the caller's deadline, or by the drain's limit. When the caller leaves, the iterable is told at once.
 */
export class ReplyStream extends Readable {
  readonly #options: ReplyStreamOptions;
  readonly #replies: AsyncIterator<unknown>;
  #head: Scheduled | undefined;
  #isEnded = false;
  #isReturned = false;

  /** @throws TypeError when the handler returned no async iterable. */
  constructor(options: ReplyStreamOptions) {
    super({ highWaterMark: 1 }); // one message at most is taken from the handler ahead of its reader
    const { replies, name, exchange } = options;
    if (!isAsyncIterable(replies)) throw new TypeError(`the handler of ${name} returned no async iterable`);
    this.#options = options;
    this.#replies = runInContext(exchange, () => replies[Symbol.asyncIterator]());
    const { signal } = exchange;
    exchange.streamOn((error) => exchange.abort(error));
    signal.addEventListener("abort", () => this.#stop(), { once: true });
    if (signal.aborted) this.#stop();
  }

  override _read(): void {
    const { exchange } = this.#options;
    if (this.#isEnded) return;
    if (this.#head === undefined && !exchange.hasReplyBegun)
      this.#head = exchange.clock.schedule(silentHeadMs, () => this.#sendHead(), { keepAlive: false });
    void runInContext(exchange, () => this.#next());
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#isEnded = true;
    this.#release();
    done(error);
  }

  async #next(): Promise<void> {
    try {
      const result: IteratorResult<unknown, unknown> = await this.#replies.next();
      if (this.#isEnded) return; // whatever it still says is for nobody
      if (result.done === true) {
        this.#isReturned = true;
        this.#finish();
      } else this.#send(result.value);
    } catch (thrown) {
      this.#failed(thrown);
    }
  }

  #send(value: unknown): void {
    const { write, exchange } = this.#options;
    const bytes = write(value);
    exchange.messagesSent = (exchange.messagesSent ?? 0) + 1;
    this.#beginReply();
    this.push(bytes);
  }

  #failed(thrown: unknown): void {
    const { exchange } = this.#options;
    if (this.#isEnded) exchange.report(thrown);
    else this.#finish(exchange.failedInside(thrown));
  }

  /** Who asked has left, or the time is up, or the server's is. */
  #stop(): void {
    const { exchange } = this.#options;
    const error = exchange.stopped;
    if (this.#isEnded || error === undefined) return;
    if (exchange.response.destroyed || exchange.isOver) {
      this.#isEnded = true;
      this.#release();
    } else {
      exchange.error = error;
      this.#finish(toldOf(error, exchange));
    }
  }

  #finish(failure?: ToldFailure): void {
    const { exchange } = this.#options;
    this.#isEnded = true;
    this.#beginReply();
    this.push(endMessage({ failure, trailers: exchange.replyTrailers }));
    this.push(null);
    this.#release();
  }

  /** The handler's iterable ends here; what it throws of that is reported. */
  #release(): void {
    this.#head?.cancel();
    if (this.#isReturned) return;
    this.#isReturned = true;
    const { exchange } = this.#options;
    void runInContext(exchange, async () => {
      try {
        await this.#replies.return?.();
      } catch (thrown) {
        exchange.report(thrown);
      }
    });
  }

  /** What the handler has set since it was begun: the framework has handed its headers on before. */
  #beginReply(): void {
    this.#head?.cancel();
    const { response, replyHeaders = {}, hasReplyBegun } = this.#options.exchange;
    if (hasReplyBegun) return;
    for (const [name, value] of Object.entries(replyHeaders)) response.setHeader(name, value);
  }

  #sendHead(): void {
    const { response } = this.#options.exchange;
    if (this.#isEnded || response.headersSent || response.destroyed) return;
    this.#beginReply();
    response.flushHeaders();
  }
}

function toldOf(error: AppError, { span }: HttpExchange): ToldFailure {
  return { error, problem: toProblem(error, { traceId: span.traceId }) };
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}
