import type { Instance, InstanceCounts, InstanceState, ServiceSummary } from "./registry.ts";

/** An instance as a registry has it, whether it gets traffic or not. */
export interface StatedInstance {
  readonly instance: Instance;
  readonly state: InstanceState;
}

export const noCounts: InstanceCounts = Object.freeze({ passing: 0, warning: 0, critical: 0, maintenance: 0 });

export function countStates(all: readonly { readonly state: InstanceState }[]): InstanceCounts {
  const counts = { ...noCounts };
  for (const { state } of all) counts[state]++;
  return Object.freeze(counts);
}

/** Those that get traffic. */
export function inTraffic(all: readonly StatedInstance[]): readonly Instance[] {
  return all.filter(({ state }) => state === "passing" || state === "warning").map(({ instance }) => instance);
}

export function summaryOf(
  service: string,
  all: readonly { readonly state: InstanceState; readonly tags: readonly string[] }[],
): ServiceSummary {
  const { passing, warning, critical, maintenance } = countStates(all);
  const tags = [...new Set(all.flatMap((one) => one.tags))].toSorted();
  return Object.freeze({ service, passing, warning, critical: critical + maintenance, tags });
}
