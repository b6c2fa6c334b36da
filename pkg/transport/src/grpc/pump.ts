import type { DescMethod } from "@bufbuild/protobuf";
import { callerGone, type Exchange } from "../exchange.ts";
import { methodName } from "../rpc/service.ts";

export interface PumpTarget {
  readonly call: { write(message: Buffer): boolean; once(event: "drain", listener: () => void): unknown };
  readonly method: DescMethod;
  /** The bytes of what the handler has yielded. */
  readonly write: (reply: unknown) => Buffer;
  readonly exchange: Exchange;
}

/** Writes what `replies` yields as fast as the caller reads; stops, and tells the iterable, when the call is over. */
export async function pump(replies: unknown, { call, method, write, exchange }: PumpTarget): Promise<void> {
  const { signal } = exchange;
  if (!isAsyncIterable(replies)) throw new TypeError(`the handler of ${methodName(method)} returned no async iterable`);
  for await (const reply of replies) {
    signal.throwIfAborted();
    if (!call.write(write(reply))) await drained(call, exchange);
  }
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}

function drained(call: PumpTarget["call"], exchange: Exchange): Promise<void> {
  return new Promise((resolve, reject) => {
    const { signal } = exchange;
    const onAbort = (): void => reject(exchange.stopped ?? callerGone());
    signal.addEventListener("abort", onAbort, { once: true });
    call.once("drain", () => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    });
  });
}
