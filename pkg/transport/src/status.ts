import { isServerFault, type Status, statuses } from "@plinth/kernel";

interface Row {
  /** HTTP status code of a reply with this status. */
  readonly http: number;
  /** Number of the gRPC status code. */
  readonly grpc: number;
  /** The Connect protocol spells the name its own way. */
  readonly connect: string;
}

/**
 * The one table between the canonical statuses and their numbers on the wires.
 * @see https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
 * @see https://connectrpc.com/docs/protocol#error-codes
 */
const table: Readonly<Record<Status, Row>> = {
  cancelled: { http: 499, grpc: 1, connect: "canceled" },
  unknown: { http: 500, grpc: 2, connect: "unknown" },
  invalid_argument: { http: 400, grpc: 3, connect: "invalid_argument" },
  deadline_exceeded: { http: 504, grpc: 4, connect: "deadline_exceeded" },
  not_found: { http: 404, grpc: 5, connect: "not_found" },
  already_exists: { http: 409, grpc: 6, connect: "already_exists" },
  permission_denied: { http: 403, grpc: 7, connect: "permission_denied" },
  resource_exhausted: { http: 429, grpc: 8, connect: "resource_exhausted" },
  failed_precondition: { http: 400, grpc: 9, connect: "failed_precondition" },
  aborted: { http: 409, grpc: 10, connect: "aborted" },
  out_of_range: { http: 400, grpc: 11, connect: "out_of_range" },
  unimplemented: { http: 501, grpc: 12, connect: "unimplemented" },
  internal: { http: 500, grpc: 13, connect: "internal" },
  unavailable: { http: 503, grpc: 14, connect: "unavailable" },
  data_loss: { http: 500, grpc: 15, connect: "data_loss" },
  unauthenticated: { http: 401, grpc: 16, connect: "unauthenticated" },
};

export function toHttpStatus(status: Status): number {
  return table[status].http;
}

export function toGrpcCode(status: Status): number {
  return table[status].grpc;
}

const byGrpc: ReadonlyMap<number, Status> = new Map(statuses.map((status) => [table[status].grpc, status]));

/** The name of a status code of gRPC; what is none is `unknown`. */
export function fromGrpcCode(code: number): Status | "ok" {
  return code === 0 ? "ok" : (byGrpc.get(code) ?? "unknown");
}

export function toConnectCode(status: Status): string {
  return table[status].connect;
}

const byConnect: ReadonlyMap<string, Status> = new Map(statuses.map((status) => [table[status].connect, status]));

/** The status that an error of the Connect protocol names; undefined for what is none. */
export function fromConnectCode(code: unknown): Status | undefined {
  return typeof code === "string" ? byConnect.get(code) : undefined;
}

const byHttp: ReadonlyMap<number, Status> = new Map<number, Status>([
  [400, "invalid_argument"],
  [401, "unauthenticated"],
  [403, "permission_denied"],
  [404, "not_found"],
  [408, "deadline_exceeded"],
  [409, "aborted"],
  [412, "failed_precondition"],
  [413, "resource_exhausted"],
  [416, "out_of_range"],
  [421, "unavailable"],
  [429, "resource_exhausted"],
  [431, "resource_exhausted"],
  [499, "cancelled"],
  [500, "internal"],
  [501, "unimplemented"],
  [502, "unavailable"],
  [503, "unavailable"],
  [504, "deadline_exceeded"],
]);

/** The status that a foreign HTTP reply most likely means. */
export function fromHttpStatus(http: number): Status {
  return byHttp.get(http) ?? (http >= 400 && http < 500 ? "invalid_argument" : "unknown");
}

/** True for failures that operators should hear of: the server's own, and what it could not do in time or for want of others. */
export function isIncident(status: Status): boolean {
  return isServerFault(status) || status === "unavailable" || status === "deadline_exceeded";
}
