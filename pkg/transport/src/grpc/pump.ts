import type { Wire } from "./wire.ts";

/**
 * Writes what `replies` yields as fast as the caller reads; stops, and tells the iterable, when the call is over.
 * @param write - The bytes of what the handler has yielded.
 * @throws whatever the iterable throws, and why the call was stopped.
 */
export async function pump(replies: unknown, wire: Wire, write: (reply: unknown) => Uint8Array): Promise<void> {
  if (!isAsyncIterable(replies)) throw new TypeError(`the handler of ${wire.served.name} returned no async iterable`);
  for await (const reply of replies) {
    const stopped = wire.exchange?.stopped;
    if (stopped) throw stopped;
    if (!wire.write(write(reply))) await wire.room();
  }
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}
