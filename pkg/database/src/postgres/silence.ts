import { DatabaseError } from "../errors.ts";

/** The server said nothing at all within a limit: it hangs, or what lies between swallows everything. */
export class SilenceError extends DatabaseError {}

/** No connection came about in time. */
export function noConnection(waitedMs: number): SilenceError {
  const message = `no connection to the database after ${Math.round(waitedMs)} ms`;
  return new SilenceError("ERR_DATABASE_UNAVAILABLE", "unavailable", message);
}

/** Something was asked on a connection that stands. */
export function noAnswer(waitedMs: number): SilenceError {
  const message = `the database did not answer within ${Math.round(waitedMs)} ms`;
  return new SilenceError("ERR_DATABASE_UNAVAILABLE", "unavailable", message);
}
