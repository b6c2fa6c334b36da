import type { ServiceSummary } from "../registry.ts";
import { summaryOf } from "../states.ts";
import type { ConsulClient } from "./client.ts";
import { parseStates } from "./entry.ts";

const parallelReads = 8;

/** All services of the catalogue with their instances by state: one read for the names, one for each, a few at a time. */
export async function readSummaries(
  client: ConsulClient,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<readonly ServiceSummary[]> {
  const failed = new AbortController();
  const either = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  const { items } = await client.catalogServices({ signal });
  const names = items.map(({ name }) => name).toSorted();
  const summaries = new Map<string, ServiceSummary>();
  const left = names.values(); // one iterator that all share: each takes the next
  const readOn = async (): Promise<void> => {
    for (const service of left) {
      const { entries } = await client.healthEntries(service, { signal: either });
      summaries.set(service, summaryOf(service, parseStates(service, entries)));
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(parallelReads, names.length) }, readOn));
  } catch (error) {
    failed.abort(error); // the others are of no use any more
    throw error;
  }
  return names.flatMap((service) => summaries.get(service) ?? []);
}
