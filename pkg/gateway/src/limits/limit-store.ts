import { type Clock, type Logger, messageOf } from "@plinth/kernel";
import { type RateStore, StoreGate } from "@plinth/resilience";

/** Where limits are counted that all gateways share. */
export interface LimitStoreOptions {
  /** It stays the caller's, to be closed after the gateway. */
  readonly store: RateStore;
  /** How long a decision waits for its answer, in milliseconds, 1 to 10_000. Default 30. */
  readonly deadlineMs?: number | undefined;
  /** Live gateways that share the limits. Default: 1. */
  readonly gateways?: (() => number) | undefined;
}

/** The way to the store, which says in the log when it is lost and when it is back. */
export function openGate({ store, deadlineMs }: LimitStoreOptions, clock: Clock, log: Logger | undefined): StoreGate {
  const onDegraded = (isDegraded: boolean, cause: unknown): void => {
    if (isDegraded)
      log?.warn("limits go without the store that gateways share", { store: store.name, cause: messageOf(cause) });
    else log?.info("limits go by the store that gateways share again", { store: store.name });
  };
  return new StoreGate({ store, deadlineMs, clock, onDegraded });
}
