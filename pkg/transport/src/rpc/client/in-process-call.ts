import { randomUUID } from "node:crypto";
import type { DescMethod } from "@bufbuild/protobuf";
import { AppError, type Clock, currentContext, type RequestContext } from "@plinth/kernel";
import { TransportError } from "../../errors.ts";
import { methodName, type RpcCall } from "../service.ts";
import type { ChannelCall, RpcMetadata } from "./channel.ts";
import type { InFlight } from "./in-flight.ts";

/** A call as the handler sees it that runs in the same process. */
export class InProcessCall implements RpcCall {
  readonly protocol = "grpc";
  readonly route: string;
  readonly requestId: string;
  readonly deadlineAtMs: number;
  readonly identity = undefined;
  readonly clientAddress = "unknown";
  readonly span: RequestContext["span"];
  readonly baggage: RequestContext["baggage"];
  /** Why nobody waits any more; undefined: somebody does. */
  stopped: Error | undefined;
  readonly #call: ChannelCall<DescMethod>;
  readonly #end: () => void;
  readonly #controller = new AbortController();
  readonly #cut = Promise.withResolvers<never>();
  readonly #headers: Record<string, string> = {};
  readonly #trailers: Record<string, string> = {};
  #hasBegun = false;
  #isOver = false;

  /** @throws TransportError `ERR_RPC_CLIENT_CLOSED`. */
  constructor(call: ChannelCall<DescMethod>, calls: InFlight, clock: Clock) {
    const caller = currentContext();
    this.#call = call;
    this.route = methodName(call.method);
    this.requestId = call.headers["x-request-id"] ?? randomUUID();
    this.deadlineAtMs = clock.monotonicMs() + call.timeoutMs;
    this.span = caller?.span;
    this.baggage = caller?.baggage;
    this.#cut.promise.catch(() => {}); // nobody may be waiting
    this.#end = calls.begin((reason) => this.#stop(reason));
    if (call.signal.aborted) this.#onAbort();
    else call.signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  header(name: string): string | undefined {
    return Object.hasOwn(this.#call.headers, name) ? this.#call.headers[name] : undefined;
  }

  setReplyHeader(name: string, value: string): void {
    if (this.#hasBegun) throw begun();
    this.#headers[name] = value;
  }

  setReplyTrailer(name: string, value: string): void {
    if (this.#isOver) throw begun();
    this.#trailers[name] = value;
  }

  /** What came ahead of the reply, once. */
  tellHeaders(): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    this.#call.onHeaders?.(this.#headers);
  }

  /** What came after it, once. */
  tellTrailers(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const trailers: RpcMetadata = this.#trailers;
    this.#call.onTrailers?.(trailers);
  }

  /** What `work` comes to. @throws why nobody waits for it any more, at once. */
  race<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#cut.promise]);
  }

  /** The caller reads no further. */
  leave(): void {
    this.#controller.abort(AppError.cancelled("ERR_CANCELLED", "the caller has gone"));
  }

  end(): void {
    this.#call.signal.removeEventListener("abort", this.#onAbort);
    this.#end();
  }

  readonly #onAbort = (): void => {
    const reason: unknown = this.#call.signal.reason;
    this.#stop(reason instanceof Error ? reason : new Error("aborted", { cause: reason }));
  };

  #stop(reason: Error): void {
    if (this.stopped) return;
    this.stopped = reason;
    const isLate = AppError.is(reason) && reason.status === "deadline_exceeded";
    const gone = AppError.cancelled("ERR_CANCELLED", "the caller has gone");
    this.#controller.abort(isLate ? reason : gone);
    this.#cut.reject(reason);
  }
}

function begun(): TransportError {
  return new TransportError("ERR_REPLY_BEGUN", "failed_precondition", "the reply is on its way; say it before");
}
