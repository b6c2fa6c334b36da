import { fromBinary } from "@bufbuild/protobuf";
import { type Duration, DurationSchema } from "@bufbuild/protobuf/wkt";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { AppError, type Status } from "@plinth/kernel";
import type { CircuitDescription } from "./describe.ts";
import { type Outcome, parseRetryAfterMs } from "@plinth/resilience";
import { RequestError, RpcError, type RpcMetadata, TransportError } from "@plinth/transport";

/** Who is called, and by which method. */
export interface Called {
  readonly peer: string;
  /** `package.Service/Method`. */
  readonly method: string;
}

/** Below this a timeout tells more of the caller's haste than of the instance, in milliseconds. */
const hasteMs = 100;

const faults: ReadonlySet<Status> = new Set<Status>(["internal", "unknown", "data_loss", "unavailable"]);

/** What a failed attempt says of the instance. @param elapsedMs - How long it had. */
export function outcomeOf(error: AppError, elapsedMs: number): Outcome {
  if (error.status === "deadline_exceeded") return elapsedMs < hasteMs ? "unknown" : "local_failure";
  // what the client itself refused went nowhere
  if (error.status === "cancelled" || (error instanceof TransportError && !(error instanceof RequestError)))
    return "unknown";
  if (error instanceof RpcError && error.code === "ERR_RPC_UNAVAILABLE") return "local_failure";
  return faults.has(error.status) ? "failure" : "success";
}

/** Whether nothing at all came back though there was time for it. @param elapsedMs - How long it had. */
export function isSilence(error: AppError, elapsedMs: number): boolean {
  const isTold = error instanceof RpcError && error.details.length > 0;
  return error.status === "deadline_exceeded" && !isTold && elapsedMs >= hasteMs;
}

/** Whether surely nothing was done with an attempt that failed so. */
export function isUnsent(error: AppError): boolean {
  // the instance has just left the set, and its channel took no more
  return error instanceof RpcError ? error.isUnsent : error.code === "ERR_RPC_CLIENT_CLOSED";
}

/**
 * How long the far side asks to be left alone, in milliseconds: by the detail `RetryInfo`, or the header `retry-after`.
 * @param headers - What came ahead of the error.
 * @see https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto
 */
export function retryAfterMsOf(error: AppError, headers: RpcMetadata | undefined, nowMs: number): number | undefined {
  const detail =
    error instanceof RpcError ? error.details.find(({ typeName }) => typeName === "google.rpc.RetryInfo") : undefined;
  if (detail) return retryDelayIn(detail.value);
  const value = headers?.["retry-after"];
  return value === undefined ? undefined : parseRetryAfterMs(value, { nowMs, date: headers?.["date"] });
}

/** Its only field, `retry_delay`; undefined where the bytes are somebody else's. */
function retryDelayIn(bytes: Uint8Array): number | undefined {
  try {
    const reader = new BinaryReader(bytes);
    let delay: Duration | undefined;
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      if (field === 1 && type === WireType.LengthDelimited) delay = fromBinary(DurationSchema, reader.bytes());
      else reader.skip(type);
    }
    if (delay === undefined) return undefined;
    return Math.max(0, Number(delay.seconds) * 1_000 + Math.ceil(delay.nanos / 1e6));
  } catch {
    return undefined; // the error itself is still told
  }
}

/**
 * The error of a call that was tried as often as is good, as one that nobody above is to try again.
 * @param wasUnsent - Whether nothing was done by any of its attempts.
 */
export function givenUp(error: AppError, wasUnsent: boolean): AppError {
  const { code, status, message, metadata } = error;
  if (!(error instanceof RpcError))
    return error.retryable ? new AppError(code, status, message, { metadata, cause: error, retryable: false }) : error;
  if (!error.retryable && error.isUnsent === wasUnsent) return error;
  const { peer, method, details } = error;
  const own = { peer, method, details, metadata, cause: error, retryable: false, isUnsent: wasUnsent };
  return new RpcError(code, status, message, own);
}

export function noTime(): TransportError {
  return new TransportError(
    "ERR_DEADLINE_EXCEEDED",
    "deadline_exceeded",
    "no time is left for a call; nothing was sent",
  );
}

/** @param retryable - Whether there may be time for another attempt. */
export function tooSlow(ms: number, retryable: boolean): TransportError {
  const message = `no reply within the ${ms} ms that were left`;
  return new TransportError("ERR_DEADLINE_EXCEEDED", "deadline_exceeded", message, { retryable });
}

export function closed(service: string): TransportError {
  return new TransportError(
    "ERR_RPC_CLIENT_CLOSED",
    "unavailable",
    `the client of ${service} has been closed; close it after whatever calls it`,
  );
}

export function overloaded(service: string, maxInFlight: number): TransportError {
  const message = `${maxInFlight} calls of ${service} are under way already, and no place came free`;
  return new TransportError("ERR_OVERLOADED", "unavailable", message);
}

/** There is nobody to send a call to. */
export function nobody(called: Called, why: string, cause?: AppError): RpcError {
  return new RpcError("ERR_NO_INSTANCE", "unavailable", why, { ...called, cause, isUnsent: true });
}

/** Whether there was nobody to send the call to: the next moment there will be nobody either. */
export function isAbsence(error: AppError): boolean {
  return error instanceof RpcError && error.code === "ERR_NO_INSTANCE" && error.isUnsent;
}

/** Every instance has failed at this method too often of late. */
export function circuitsOpen(called: Called, open: readonly Pick<CircuitDescription, "retryAfterMs">[]): RpcError {
  const afterMs = Math.min(...open.map(({ retryAfterMs }) => retryAfterMs));
  return new RpcError(
    "ERR_CIRCUIT_OPEN",
    "unavailable",
    `${called.method} has failed too often of late; ${called.peer} is called again in ${afterMs} ms`,
    { ...called, metadata: { retryAfterMs: String(afterMs) }, isUnsent: true, retryable: false },
  );
}
