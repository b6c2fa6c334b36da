import type { InstanceSet, Registry } from "../registry.ts";

export interface WaitForSetOptions {
  /** How long to wait, in milliseconds, above 0. Default 10_000. */
  readonly withinMs?: number;
}

/**
 * The first set of a service that `isRight` accepts, by watching.
 * @throws {@link Error} with the last set seen when none came in time or the watch ended.
 * @example await waitForSet(registry, "notes", ({ instances }) => instances.length === 2);
 */
export async function waitForSet(
  registry: Registry,
  service: string,
  isRight: (set: InstanceSet) => boolean,
  { withinMs = 10_000 }: WaitForSetOptions = {},
): Promise<InstanceSet> {
  let last: InstanceSet | undefined;
  for await (const set of registry.watch(service, { signal: AbortSignal.timeout(withinMs) })) {
    if (isRight(set)) return set;
    last = set;
  }
  const seen = last ? `${JSON.stringify(last.instances)}${last.stale ? " (stale)" : ""}` : "nothing";
  throw new Error(`no set of ${service} was the one waited for within ${withinMs} ms; last seen: ${seen}`);
}
