import {
  type ChannelInterface,
  type InterceptingListener,
  type Metadata,
  type StatusObject,
  status as Code,
} from "@grpc/grpc-js";
import type { RpcMetadata } from "../../rpc/client/channel.ts";
import { errorOf } from "../../rpc/client/send.ts";
import type { ObservedCall } from "../client-metrics.ts";
import { fromGrpc, toServiceError } from "./metadata.ts";

type LibraryCall = ReturnType<ChannelInterface["createCall"]>;

/** Who is told what comes beside the reply. */
interface Listeners {
  readonly onHeaders?: ((headers: RpcMetadata) => void) | undefined;
  readonly onTrailers?: ((trailers: RpcMetadata) => void) | undefined;
}

/**
 * One message there and one back, on the library's channel itself. What its clients put on top of that, an emitter, interceptors and the stack of
 * who called, costs more than all that we add, and nobody would look at it.
 */
export class UnaryCall implements InterceptingListener {
  /** What came back. Rejects as the library's clients do: with a `ServiceError`. */
  readonly reply: Promise<Buffer>;
  readonly #call: LibraryCall;
  readonly #listeners: Listeners;
  readonly #answer = Promise.withResolvers<Buffer>();
  #observed: ObservedCall | undefined;
  #message: Buffer | undefined;
  #isLeft = false;
  #isOver = false;

  /** @param path - `/package.Service/Method`. @param deadline - In milliseconds since the Unix epoch, or `Infinity`. */
  constructor(channel: ChannelInterface, path: string, deadline: number, listeners: Listeners) {
    this.#listeners = listeners;
    this.reply = this.#answer.promise;
    this.#call = channel.createCall(path, deadline, null, null, null);
  }

  /** @param flags - Of the library: how the message is written. */
  send(metadata: Metadata, message: Buffer, flags: number, observed: ObservedCall): void {
    this.#observed = observed;
    this.#call.start(metadata, this);
    this.#call.startRead();
    this.#call.sendMessageWithContext({ flags }, message);
    this.#call.halfClose();
  }

  /** @param reason - What `reply` rejects with, at once. */
  cancel(reason: Error): void {
    this.#isLeft = true;
    this.#answer.reject(reason);
    this.#call.cancelWithStatus(Code.CANCELLED, "Cancelled on client");
  }

  onReceiveMetadata(metadata: Metadata): void {
    this.#tell(this.#listeners.onHeaders, metadata);
  }

  onReceiveMessage(message: Buffer): void {
    if (this.#message) this.#call.cancelWithStatus(Code.UNIMPLEMENTED, "Too many responses received");
    this.#message = message;
    this.#call.startRead(); // one too many is to be seen: while it waits to be read, no status comes
  }

  onReceiveStatus(status: StatusObject): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#observed?.end(status.code, this.#call);
    this.#tell(this.#listeners.onTrailers, status.metadata);
    if (status.code !== Code.OK) this.#answer.reject(toServiceError(status));
    else if (this.#message) this.#answer.resolve(this.#message);
    else this.#answer.reject(toServiceError({ ...status, code: Code.UNIMPLEMENTED, details: "No message received" }));
  }

  /** Who has left is told nothing; what a listener throws, the call fails with. */
  #tell(listener: ((told: RpcMetadata) => void) | undefined, metadata: Metadata): void {
    if (!listener || this.#isLeft) return;
    try {
      listener(fromGrpc(metadata));
    } catch (thrown) {
      this.cancel(errorOf(thrown));
    }
  }
}
