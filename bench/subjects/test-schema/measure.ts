// How long a test waits for a schema of its own, and for it to be gone.
import { percentile } from "../../harness/statistics.ts";

/** Opens one and answers a statement; what it returns takes it away again. */
export type OpenSchema = () => Promise<() => Promise<void>>;

/** Opens one after the other for as many seconds as the bench says, the first quarter of the time uncounted, and prints the figures. */
export async function measureSchemas(open: OpenSchema): Promise<void> {
  const ms = Number(process.argv[2]) * 1_000;
  const openings: number[] = [];
  const closings: number[] = [];
  const from = performance.now();
  while (performance.now() < from + ms || openings.length < 2) {
    const startedAtMs = performance.now();
    const close = await open();
    const openAtMs = performance.now();
    await close();
    if (startedAtMs < from + ms / 4) continue;
    openings.push(openAtMs - startedAtMs);
    closings.push(performance.now() - openAtMs);
  }
  const of = (all: readonly number[], part: number): number =>
    percentile(
      all.toSorted((a, b) => a - b),
      part,
    );
  process.stdout.write(
    JSON.stringify({ openMs: of(openings, 0.5), slowOpenMs: of(openings, 0.95), closeMs: of(closings, 0.5) }),
  );
}
