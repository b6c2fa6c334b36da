import type { Slices } from "./slices.ts";
import type { FamilySnapshot } from "./snapshot.ts";

/** What the registry asks of each metric, whatever its type. */
export interface Metric {
  readonly name: string;
  /** Sets its values to what they are now, where something else keeps them. */
  readonly collect: (() => unknown) | undefined;
  /** @param isKnown - False when `collect` has failed: then it has no values rather than old ones. */
  snapshot(slices: Slices, isKnown: boolean): Promise<FamilySnapshot>;
}

/** What the metrics of one registry have in common. */
export interface MetricHost {
  /** Milliseconds since the Unix epoch. */
  readonly now: () => number;
  /** A label set of metric `name` was sent to the overflow. */
  readonly onOverflow: (name: string) => void;
  /** Something is wrong in the code that uses metric `name`; said once. */
  readonly warn: (name: string, problem: string) => void;
}
