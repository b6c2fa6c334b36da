import type { IncomingHttpHeaders } from "node:http";
import { AppError } from "@plinth/kernel";
import type { Dispatcher } from "undici";
import { MessageReader, type Received } from "../../grpc/messages.ts";
import type { RpcMetadata } from "./channel.ts";
import { gunzipped, mediaTypeOf, printable, type ReplyOptions, toFailure } from "./connect-reply.ts";
import { badCall, badReply, type CallTarget, replyTooLarge, unreachable } from "./errors.ts";
import { errorOf, flat, type HttpCall, type SendOptions } from "./send.ts";
import { endOf } from "./stream-end.ts";

export interface StreamOptions<T> extends ReplyOptions, Pick<SendOptions, "signal" | "toError"> {
  readonly onHeaders: ((headers: RpcMetadata) => void) | undefined;
  readonly onTrailers: ((trailers: RpcMetadata) => void) | undefined;
  /** Told how the reply ended that did not fail: its status, or what that would have been of an error by itself. */
  readonly replied: (status: number) => void;
  /** Told in its place how it failed, or that nobody has read it to its end. */
  readonly failed: (error: unknown) => void;
  /** Makes a message of its bytes. */
  readonly read: (bytes: Buffer) => T;
}

/**
 * Sends one request and gives the messages of its reply as they are asked for: nothing is read from the connection while one of them waits.
 * @throws what the service says went wrong, or {@link RpcError} `ERR_RPC_UNAVAILABLE` for a reply without its end, `ERR_RPC_REPLY`,
 *   `ERR_RPC_REPLY_TOO_LARGE`; at once why the signal was aborted.
 */
export async function* readStream<T>(
  dispatcher: Dispatcher,
  call: HttpCall,
  options: StreamOptions<T>,
): AsyncGenerator<T, void, undefined> {
  const { signal, toError } = options;
  const exchange = new StreamExchange(options);
  const giveUp = (): void => exchange.stop(errorOf(signal.reason));
  signal.addEventListener("abort", giveUp, { once: true });
  let failure: unknown = nobodyReads();
  try {
    if (signal.aborted) giveUp();
    else dispatch(() => dispatcher.dispatch({ ...call, blocking: false }, exchange), toError);
    for (let bytes = await exchange.next(); bytes !== undefined; bytes = await exchange.next())
      yield options.read(bytes);
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    signal.removeEventListener("abort", giveUp);
    if (!exchange.hasReplied) options.failed(failure);
    exchange.stop(errorOf(failure));
  }
}

function dispatch(send: () => void, toError: SendOptions["toError"]): void {
  try {
    send();
  } catch (error) {
    throw toError(error, false);
  }
}

function nobodyReads(): AppError {
  return new AppError("ERR_CANCELLED", "cancelled", "nobody reads the rest");
}

/**
 * The only one of these requests.
 * @throws {@link TransportError} `ERR_RPC_REQUEST` when there is none, or another.
 */
export async function onlyOf<T>(requests: AsyncIterable<T>, target: CallTarget): Promise<T> {
  const all: T[] = [];
  for await (const request of requests) if (all.push(request) > 1) break;
  const [only] = all;
  if (only === undefined || all.length > 1)
    throw badCall(target, "it takes one request, and none or several were given");
  return only;
}

/** Of the flags of an envelope: the message is compressed, and it is the last one, which tells how the stream ended. */
const [compressedFlag, endFlag] = [1, 2] as const;

/** A reply that is no stream. */
interface Failing {
  readonly status: number;
  readonly chunks: Buffer[];
  bytes: number;
}

class StreamExchange implements Dispatcher.DispatchHandler {
  readonly #options: Omit<StreamOptions<unknown>, "read">;
  readonly #reader: MessageReader;
  /** Messages that have come with one that was asked for, and are not. */
  #queue: Received[] = [];
  #at = 0;
  #controller: Dispatcher.DispatchController | undefined;
  #headers: RpcMetadata = {};
  /** What is to be read of a reply that is no stream. */
  #failing: Failing | undefined;
  #end: Received | undefined;
  #isWhole = false;
  /** Whoever counts replies has been told of this one. */
  hasReplied = false;
  /** Nobody waits any more. */
  #stopped: Error | undefined;
  /** What comes after the messages that are there. */
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(options: Omit<StreamOptions<unknown>, "read">) {
    const { target, maxBytes } = options;
    this.#options = options;
    this.#reader = new MessageReader(maxBytes, () => replyTooLarge(target, maxBytes));
  }

  /** Ends the call, and its connection if it is on its way. The first reason counts; it does nothing once the reply is whole. */
  stop(error: Error): void {
    this.#stopped ??= error;
    this.#giveUp(error);
  }

  /** The next message; undefined after the last. One at a time. */
  async next(): Promise<Buffer | undefined> {
    for (;;) {
      this.#throwIfStopped();
      const message = this.#queue[this.#at++];
      if (message !== undefined) {
        const bytes = message.flags === 0 ? message.bytes : await this.#inflate(message);
        this.#throwIfStopped();
        return bytes;
      }
      this.#queue = [];
      this.#at = 0;
      if (this.#failure) throw this.#failure;
      if (this.#isWhole) {
        await this.#finish();
        return undefined;
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      this.#controller?.resume();
      await promise;
    }
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    const reason = this.#stopped ?? this.#failure;
    if (reason) controller.abort(reason);
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200 || this.#isGivenUp) return; // an interim one
    const { target, codec, onHeaders } = this.#options;
    this.#headers = flat(headers);
    const type = mediaTypeOf(this.#headers);
    if (status !== 200) this.#failing = { status, chunks: [], bytes: 0 };
    else if (type !== `application/connect+${codec}`)
      this.#fail(badReply(target, `${printable(type)}, not application/connect+${codec}`));
    else if ((this.#headers["content-encoding"] ?? "identity") !== "identity")
      this.#fail(badReply(target, "a stream that is compressed as a whole"));
    else this.#tell(onHeaders, this.#headers);
  }

  /** What a listener throws is no fault of the connection. */
  #tell(listener: ((told: RpcMetadata) => void) | undefined, told: RpcMetadata): void {
    try {
      listener?.(told);
    } catch (thrown) {
      this.#fail(errorOf(thrown));
    }
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#isGivenUp) return;
    if (this.#failing) {
      this.#keep(this.#failing, chunk);
      return;
    }
    try {
      this.#reader.push(chunk, (message) => this.#take(message));
      if (this.#end && this.#reader.isHalfWay) throw this.#afterEnd();
    } catch (error) {
      this.#fail(errorOf(error));
    }
    if (this.#at < this.#queue.length) {
      controller.pause(); // until they have been taken
      this.#wakeUp();
    }
  }

  onResponseEnd(): void {
    if (this.#isGivenUp) return;
    this.#isWhole = true;
    const { target } = this.#options;
    if (this.#failing) {
      const { status, chunks } = this.#failing;
      this.#replied(status);
      this.#fail(toFailure(status, mediaTypeOf(this.#headers), Buffer.concat(chunks), target));
    } else if (this.#end === undefined) {
      this.#fail(unreachable(target, new Error("the stream ended without its last message"), false));
    } else this.#wakeUp();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#isWhole = true; // there is nothing left to abort
    this.#fail(this.#options.toError(error, this.#controller !== undefined));
  }

  get #isGivenUp(): boolean {
    return this.#stopped !== undefined || this.#failure !== undefined;
  }

  #throwIfStopped(): void {
    if (this.#stopped) throw this.#stopped;
  }

  #take(message: Received): void {
    const { flags } = message;
    if (this.#end) throw this.#afterEnd();
    if ((flags & ~(compressedFlag | endFlag)) !== 0)
      throw badReply(this.#options.target, `an envelope whose flags are ${flags}, which mean nothing`);
    if ((flags & endFlag) === 0) this.#queue.push(message);
    else this.#end = message;
  }

  #afterEnd(): Error {
    return badReply(this.#options.target, "more after the end of its stream");
  }

  /** Of a reply that is no stream: it holds an error of the protocol, or something else. */
  #keep(failing: Failing, chunk: Buffer): void {
    const { target, maxBytes } = this.#options;
    failing.bytes += chunk.length;
    if (failing.bytes > maxBytes) this.#fail(replyTooLarge(target, maxBytes));
    else failing.chunks.push(chunk);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#giveUp(error);
  }

  #giveUp(error: Error): void {
    if (!this.#isWhole) this.#controller?.abort(error);
    this.#wakeUp();
  }

  #replied(status: number): void {
    this.hasReplied = true;
    this.#options.replied(status);
  }

  #wakeUp(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  async #inflate({ bytes }: Received): Promise<Buffer> {
    const { target, acceptGzip, maxBytes } = this.#options;
    if (this.#headers["connect-content-encoding"] !== "gzip" || !acceptGzip)
      throw badReply(target, "a message in an encoding that it was not asked for");
    return gunzipped(bytes, target, maxBytes);
  }

  /** @throws what the service says went wrong. */
  async #finish(): Promise<void> {
    const { target, onTrailers } = this.#options;
    if (this.#end === undefined) return;
    const bytes = (this.#end.flags & compressedFlag) === 0 ? this.#end.bytes : await this.#inflate(this.#end);
    const { trailers, error, status } = endOf(bytes, target);
    this.#replied(status);
    onTrailers?.(trailers);
    if (error) throw error;
  }
}
