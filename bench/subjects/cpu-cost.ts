// The CPU that an operation costs this process while many are under way.
import { median } from "../harness/statistics.ts";

const batchMs = 200;

/**
 * Microseconds of CPU for one call, the median of batches, after a quarter of the time in which all is compiled.
 *
 * @param operation - Gets the number of the call.
 * @param options.tasks - How many are under way at one time.
 */
export async function cpuOf(
  operation: (call: number) => Promise<void>,
  { ms, tasks }: { readonly ms: number; readonly tasks: number },
): Promise<number> {
  const batches: number[] = [];
  const from = performance.now();
  const until = from + ms;
  let begun = 0;
  let calls = 0;
  const work = async (): Promise<void> => {
    while (performance.now() < until) {
      await operation(begun++);
      calls += 1;
    }
  };
  const running = Array.from({ length: tasks }, work);
  let before = process.cpuUsage();
  let callsBefore = 0;
  while (performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, batchMs));
    const { user, system } = process.cpuUsage(before);
    if (performance.now() > from + ms / 4) batches.push((user + system) / (calls - callsBefore));
    before = process.cpuUsage();
    callsBefore = calls;
  }
  await Promise.all(running);
  return median(batches);
}
