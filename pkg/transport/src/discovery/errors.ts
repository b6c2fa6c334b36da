import type { AppError } from "@plinth/kernel";
import { TransportError } from "../errors.ts";

/** There is nobody to send a call to. */
export function noInstance(service: string, protocol: "http" | "grpc", cause?: AppError): TransportError {
  const why = cause === undefined ? "" : `: ${cause.message}`;
  return new TransportError(
    "ERR_NO_INSTANCE",
    "unavailable",
    `the registry knows no instance of ${service} that speaks ${protocol}${why}`,
    { cause },
  );
}

/** Nobody knows yet whether there is somebody. */
export function noAnswer(service: string, waitedMs: number): TransportError {
  return new TransportError(
    "ERR_NO_INSTANCE",
    "unavailable",
    `the registry has not told within ${waitedMs} ms who serves ${service}; look whether it can be reached`,
  );
}

export function dispatcherClosed(): TransportError {
  return new TransportError(
    "ERR_RPC_CLIENT_CLOSED",
    "unavailable",
    "the service dispatcher has been closed; close it after whatever calls through it",
  );
}
