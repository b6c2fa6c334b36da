import { once } from "node:events";
import type { ClientDuplexStream } from "@grpc/grpc-js";

/** Messages as the library is given them. */
export function asBytes(bytes: Buffer): Buffer {
  return bytes;
}

export interface Feeding {
  /** What the caller's messages threw, which has cancelled the call. */
  readonly failure: Error | undefined;
  /** Asks for no more of them. */
  stop(): void;
}

/** Writes the caller's messages as they come, and as fast as the other side reads them. */
export function feed<T>(
  call: ClientDuplexStream<Buffer, Buffer>,
  messages: AsyncIterable<T>,
  encode: (message: T) => Buffer,
): Feeding {
  const stopping = new AbortController();
  const iterator = messages[Symbol.asyncIterator]();
  let failure: Error | undefined;
  const stopped = new Promise<undefined>((resolve) => {
    stopping.signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
  const work = async (): Promise<void> => {
    for (;;) {
      const next = await Promise.race([iterator.next(), stopped]);
      if (next === undefined) {
        // It is not waited for: one that is at work may take as long as it likes.
        Promise.resolve(iterator.return?.()).catch(() => {});
        return;
      }
      if (next.done === true) {
        call.end();
        return;
      }
      if (!call.write(encode(next.value))) await Promise.race([once(call, "drain"), stopped]);
    }
  };
  work().catch((thrown: unknown) => {
    failure = thrown instanceof Error ? thrown : new Error("the messages of a stream threw", { cause: thrown });
    call.cancel();
  });
  return {
    get failure() {
      return failure;
    },
    stop: () => stopping.abort(),
  };
}
