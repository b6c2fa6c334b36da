import { cancelledBy, withLongStack } from "./sqlstate.ts";

/** @throws {@link DatabaseError} `ERR_DATABASE_CANCELLED` */
export function throwIfAborted(signals: readonly AbortSignal[]): void {
  for (const signal of signals) if (signal.aborted) throw withLongStack(() => cancelledBy(signal.reason));
}

/** Calls `listener` with the reason of the first signal to abort. Returns how to stop listening. */
export function onAnyAbort(signals: readonly AbortSignal[], listener: (reason: unknown) => void): () => void {
  let fired = false;
  const handlers = signals.map((signal) => {
    const handler = (): void => {
      if (fired) return;
      fired = true;
      listener(signal.reason);
    };
    signal.addEventListener("abort", handler, { once: true });
    if (signal.aborted) handler();
    return (): void => signal.removeEventListener("abort", handler);
  });
  return () => {
    for (const remove of handlers) remove();
  };
}
