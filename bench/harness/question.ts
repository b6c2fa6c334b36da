// What a file in bench/questions/ says: the question, the rows beside each other, what is read of each, and the ratios to keep.
import type { Lab } from "./lab.ts";

/** What a row is for: the least the runtime can do, somebody else's answer, or ours. */
export type RowRole = "floor" | "peer" | "plinth";

/** How long to measure. */
export interface Effort {
  /** How often each row takes its turn. */
  readonly rounds: number;
  /** Length of one counted window, in seconds; absent where a turn has no window. */
  readonly seconds?: number | undefined;
}

/** One figure of one turn by the {@link Figure.key} it belongs to. One that a row cannot give is left out. */
export type Reading = Readonly<Record<string, number>>;

/** One thing under test. */
export interface Row {
  readonly name: string;
  readonly role: RowRole;
  /** Takes one turn: starts it afresh, measures it, and ends it. */
  readonly measure: (effort: Effort) => Promise<Reading>;
}

/** A column of the table. */
export interface Figure {
  /** Name in readings and in the JSON result. */
  readonly key: string;
  /** Head of the column, with the unit. */
  readonly title: string;
  /** Digits after the point. */
  readonly digits: number;
  /** What ratios of it are called. A figure without one is shown and not compared. */
  readonly compared?: string;
  /** Whether it is a share of 1, shown in percent. Default false. */
  readonly percent?: boolean;
}

/** What to keep: a figure of `row` is at most `atMost` times that of `comparedTo`, in the same run; without that it is at most `atMost`. */
export interface Target {
  readonly row: string;
  /** Left out where the figure is a ratio or a count already; never where it is a time, which says more of the machine. */
  readonly comparedTo?: string;
  /** Key of the figure. Default: the first that is compared. */
  readonly figure?: string;
  readonly atMost: number;
}

export interface Question {
  /** What `npm run bench -- NAME` takes. */
  readonly name: string;
  /** The question itself, in one sentence. */
  readonly sentence: string;
  /** The row whose ratio to each other row is reported. */
  readonly subject: string;
  /** Columns of the table; at least one is compared. */
  readonly figures: readonly Figure[];
  /** What a run takes unless told otherwise. Without `seconds`, `--seconds` is refused. */
  readonly effort: Effort;
  /** What was measured, as the line under the tables tells it. */
  readonly describe: (effort: Effort) => string;
  /** The same for a program, beside the effort in the JSON result. */
  readonly shape: Readonly<Record<string, number | string>>;
  readonly targets: readonly Target[];
  /** Finds the peers, starts what all rows share (an origin), and names the rows in the order they take turns. */
  readonly prepare: (lab: Lab) => Promise<readonly Row[]>;
}
