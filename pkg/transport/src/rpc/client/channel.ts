import type { DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";

/**
 * What carries the calls of typed clients to one service, whichever wire it is; several clients may share it. It knows nothing of
 * deadlines of its own, and sends each call once: what retries, balances or finds instances is a channel over channels.
 */
export interface RpcChannel {
  /** Who is called, from a small fixed set: the name of a service, never an address. */
  readonly peer: string;
  /** Sends one message and resolves with the one that comes back. */
  unary<M extends DescMethod>(call: UnaryChannelCall<M>): Promise<MessageShape<M["output"]>>;
  /** Sends messages as they come, and gives those that come back. Nothing is sent before the first is asked for. */
  stream<M extends DescMethod>(call: StreamChannelCall<M>): AsyncIterable<MessageShape<M["output"]>>;
  /**
   * Takes no more calls, resolves when those under way have ended, and cuts off what is left when `signal` aborts. Safe to call twice.
   * @param options.signal - Default: cuts off at once.
   */
  close(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}

/** One call as a channel is given it. */
export interface ChannelCall<M extends DescMethod> {
  readonly method: M;
  /** Names in lower case; values under a name that ends in `-bin` are base64. */
  readonly headers: RpcMetadata;
  /** How long the caller waits, in whole milliseconds from 1: for the server to know. `Infinity`: as long as it takes. */
  readonly timeoutMs: number;
  /** Aborts when nobody waits any more. Its reason is an `AppError`, and what the call fails with then. */
  readonly signal: AbortSignal;
  /** Told what came ahead of the reply. */
  readonly onHeaders?: ((headers: RpcMetadata) => void) | undefined;
  /** Told what came after the reply, or with an error. */
  readonly onTrailers?: ((trailers: RpcMetadata) => void) | undefined;
}

export interface UnaryChannelCall<M extends DescMethod> extends ChannelCall<M> {
  readonly request: MessageInitShape<M["input"]>;
}

export interface StreamChannelCall<M extends DescMethod> extends ChannelCall<M> {
  readonly requests: AsyncIterable<MessageInitShape<M["input"]>>;
}

/** By name, in lower case; several values of one name are joined by `, `. */
export type RpcMetadata = Readonly<Record<string, string>>;
