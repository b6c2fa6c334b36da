import type { Runnable } from "../app/runnable.ts";
import { OptionError, requireNumber, requireWhole, withDefaults } from "../errors/option-error.ts";
import type { WorkersTeam } from "./team.ts";

/** How many processes run the same apps beside each other, and how they are kept running. */
export interface WorkersOptions {
  /** Worker processes, 1 to 1_024. With 1 there is none beside this process, which runs the apps itself. */
  readonly count: number;
  /** When one worker has failed to start so many times in a row, all are stopped, with exit code 1. 1 or more. Default 5. */
  readonly maxFailedStarts?: number;
  /**
   * How long a scrape of `/metrics` waits for the values of each worker, in milliseconds, 1 to 60_000; of one that takes longer
   * it shows the last that are known. Stay below the timeout of whoever scrapes. Default 2_000.
   */
  readonly scrapeMs?: number;
  /**
   * Makes what runs in the primary, such as an app: up before the first worker, stopped after the last. It talks with parts of the
   * apps by the team; they have `primaryLink`. Not called where there are no workers. Default: nothing but the workers.
   */
  readonly primary?: (team: WorkersTeam) => Runnable;
}

/** The same with every default. */
export type FilledWorkersOptions = Required<Omit<WorkersOptions, "primary">> & {
  readonly primary?: WorkersOptions["primary"] | undefined;
};

export const workersDefaults: FilledWorkersOptions = Object.freeze({
  count: 1,
  maxFailedStarts: 5,
  scrapeMs: 2_000,
});

/** @throws {@link OptionError} `ERR_OPTION_RANGE` or `ERR_OPTION_TYPE`, naming the option. */
export function toWorkersOptions(given: number | WorkersOptions): FilledWorkersOptions {
  if (typeof given !== "number" && (typeof given !== "object" || given === null)) {
    const what = `workers must be a number or { count }, not ${JSON.stringify(given)}`;
    throw new OptionError("ERR_OPTION_TYPE", "invalid_argument", what);
  }
  const known: WorkersOptions = typeof given === "number" ? { count: given } : given;
  const options = { ...withDefaults(workersDefaults, known), primary: known.primary };
  requireWhole(typeof given === "number" ? "workers" : "workers.count", options.count, { min: 1, max: 1_024 });
  requireWhole("workers.maxFailedStarts", options.maxFailedStarts, { min: 1 });
  requireNumber("workers.scrapeMs", options.scrapeMs, { min: 1, max: 60_000 });
  return options;
}
