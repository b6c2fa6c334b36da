import { AppError } from "@plinth/kernel";
import type { Instance, InstanceFilter, Registry } from "@plinth/registry";

export interface InstanceWatchOptions {
  readonly registry: Pick<Registry, "watch">;
  readonly service: string;
  readonly filter?: InstanceFilter | undefined;
  /** Told the instances now and whenever they are others; not again for what only became stale. */
  readonly onInstances: (instances: readonly Instance[]) => void;
  /** Told once when nothing more will come: the registry is closed, or does not know such a service name. What came before still holds. */
  readonly onEnd: (error: AppError | undefined) => void;
}

/** Follows the instances of a service until closed. Nothing is told before this has returned, and nothing after it was closed. */
export function watchInstances(options: InstanceWatchOptions): { close(): void } {
  const over = new AbortController();
  void follow(options, over.signal);
  return { close: () => over.abort() };
}

async function follow(options: InstanceWatchOptions, signal: AbortSignal): Promise<void> {
  const { registry, service, filter, onInstances, onEnd } = options;
  await Promise.resolve();
  let failure: AppError | undefined;
  try {
    let known: readonly Instance[] | undefined;
    for await (const { instances } of registry.watch(service, { signal, filter })) {
      if (signal.aborted) return;
      if (instances !== known) onInstances((known = instances));
    }
  } catch (error) {
    failure = AppError.from(error);
  }
  if (!signal.aborted) onEnd(failure);
}
