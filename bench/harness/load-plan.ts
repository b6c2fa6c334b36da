// What passes between the harness and the load generator, which is a program of its own: a plan in, a report out.

/** The load every row gets: a closed loop, each connection sending its next request when the last is answered. */
export interface Load {
  /** Keep-alive connections, each with one request in flight. 1 or more. */
  readonly connections: number;
  /** Path and query of each request. */
  readonly path: string;
  /** What each request brings, which makes it a `POST`. Default: a `GET` without a body. */
  readonly body?: LoadBody;
  /** Head lines such as `Authorization: Bearer …`, one for each request in turn, from the first again after the last. Default none. HTTP only. */
  readonly lines?: readonly string[];
  /** `grpc`: unary calls over HTTP/2, `connections` of them at once; the body is their message. Default `http`, version 1.1. */
  readonly protocol?: "http" | "grpc";
  /** Status that each reply must have: of HTTP, or of gRPC. */
  readonly status: number;
  /** Body length that each reply must have, in bytes; of gRPC with its prefix of five bytes. */
  readonly bodyBytes: number;
}

export interface LoadBody {
  readonly contentType: string;
  readonly base64: string;
}

export interface LoadPlan {
  readonly load: Load;
  /** Port of the server under test on 127.0.0.1. */
  readonly port: number;
  /** The server's process; its descendants are measured with it. */
  readonly serverPid: number;
  readonly warmupMs: number;
  readonly windowMs: number;
}

export interface LoadReport {
  /** Replies that were completed in the window. */
  readonly requests: number;
  /** Length of the window as measured. */
  readonly seconds: number;
  /** CPU time of the server and its descendants in the same window. */
  readonly cpuSeconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Wrong replies and broken connections, warm-up included. */
  readonly errors: number;
  /** The first few different reasons. */
  readonly reasons: readonly string[];
}

/** @throws TypeError when the text is not a plan that the harness wrote. */
export function parseLoadPlan(text: string): LoadPlan {
  const plan: unknown = JSON.parse(text);
  if (!isLoadPlan(plan)) throw new TypeError(`not a load plan: ${text}`);
  return plan;
}

/** @throws TypeError when the text is not a report that the load generator printed. */
export function parseLoadReport(text: string): LoadReport {
  const report: unknown = JSON.parse(text);
  if (!isLoadReport(report)) throw new TypeError(`not a load report: ${text}`);
  return report;
}

function isLoadPlan(value: unknown): value is LoadPlan {
  return (
    hasNumbers(value, ["port", "serverPid", "warmupMs", "windowMs"]) &&
    "load" in value &&
    hasNumbers(value.load, ["connections", "status", "bodyBytes"]) &&
    "path" in value.load &&
    typeof value.load.path === "string" &&
    (!("body" in value.load) || isLoadBody(value.load.body)) &&
    (!("lines" in value.load) || isTexts(value.load.lines))
  );
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((line) => typeof line === "string");
}

function isLoadBody(value: unknown): value is LoadBody {
  return (
    typeof value === "object" &&
    value !== null &&
    "contentType" in value &&
    typeof value.contentType === "string" &&
    "base64" in value &&
    typeof value.base64 === "string"
  );
}

function isLoadReport(value: unknown): value is LoadReport {
  return (
    hasNumbers(value, ["requests", "seconds", "cpuSeconds", "errors"]) &&
    "reasons" in value &&
    Array.isArray(value.reasons)
  );
}

function hasNumbers(value: unknown, names: readonly string[]): value is object {
  if (typeof value !== "object" || value === null) return false;
  const found = new Map<string, unknown>(Object.entries(value));
  return names.every((name) => typeof found.get(name) === "number");
}
