import { TransportError } from "./errors.ts";

/** Carries the id of the instance that a call is for, as the registry tells it: header over HTTP, metadata over gRPC. */
export const instanceHeader = "plinth-instance";

/**
 * Refuses what is for another instance: its address is ours now, and whoever calls it has not heard so. Nothing is done for such a call,
 * so that any call can be made again elsewhere, whatever its method. A call that names nobody is for whoever is there.
 *
 * @param named - What the call says, if anything.
 * @throws {@link TransportError} `ERR_MISDIRECTED`, over HTTP status 421, over gRPC UNAVAILABLE.
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-15.5.20
 */
export function requireMeant(named: string | undefined, instanceId: string): void {
  if (named !== undefined && named !== instanceId) throw misdirected();
}

/** It names nobody: a stranger is not told who is here. */
export function misdirected(): TransportError {
  return new TransportError(
    "ERR_MISDIRECTED",
    "unavailable",
    "the call is for another instance, which is no longer at this address; nothing was done, try again at another",
    { retryable: true },
  );
}
