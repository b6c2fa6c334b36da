// What a file in bench/questions/ says: the question, the rows beside each other, the load, and the ratios to keep.
import type { Lab, Running } from "./lab.ts";

/** What a row is for: the least the runtime can do, somebody else's answer, or ours. */
export type RowRole = "floor" | "peer" | "plinth";

/** One server under test. It is started afresh for every round. */
export interface Row {
  readonly name: string;
  readonly role: RowRole;
  readonly start: () => Promise<Running>;
}

/** The load every row gets: a closed loop, each connection sending its next request when the last is answered. */
export interface Load {
  /** Keep-alive connections, each with one request in flight. 1 or more. */
  readonly connections: number;
  /** Path and query of each `GET`. */
  readonly path: string;
  /** Status that each reply must have. */
  readonly status: number;
  /** Body length that each reply must have, in bytes. */
  readonly bodyBytes: number;
}

/** A ratio to keep: CPU per request of `row` is at most `atMost` times that of `comparedTo`, in the same run. */
export interface Target {
  readonly row: string;
  readonly comparedTo: string;
  readonly atMost: number;
}

export interface Question {
  /** What `npm run bench -- NAME` takes. */
  readonly name: string;
  /** The question itself, in one sentence. */
  readonly sentence: string;
  /** The row whose ratio to each other row is reported. */
  readonly subject: string;
  readonly load: Load;
  readonly targets: readonly Target[];
  /** Finds the peers, starts what all rows share (an origin), and names the rows in the order they take turns. */
  readonly prepare: (lab: Lab) => Promise<readonly Row[]>;
}
