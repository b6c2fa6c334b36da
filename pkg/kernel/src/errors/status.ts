/**
 * What kind of failure an error is, by the names of the canonical status codes.
 * Their HTTP and gRPC numbers stand in one table in `@plinth/transport`.
 * @see https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
 */
export const statuses = Object.freeze([
  "cancelled",
  "unknown",
  "invalid_argument",
  "deadline_exceeded",
  "not_found",
  "already_exists",
  "permission_denied",
  "resource_exhausted",
  "failed_precondition",
  "aborted",
  "out_of_range",
  "unimplemented",
  "internal",
  "unavailable",
  "data_loss",
  "unauthenticated",
] as const);

export type Status = (typeof statuses)[number];

const known: ReadonlySet<unknown> = new Set(statuses);

export function isStatus(value: unknown): value is Status {
  return known.has(value);
}

/** True for failures of the server, whose text is for its operators and never for callers. */
export function isServerFault(status: Status): boolean {
  return status === "internal" || status === "unknown" || status === "data_loss";
}
