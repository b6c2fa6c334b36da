import { AppError } from "@plinth/kernel";

/** Every code this package throws. */
export type RegistryErrorCode =
  | "ERR_REGISTRY_ADDRESS"
  | "ERR_REGISTRY_CHECK"
  | "ERR_REGISTRY_CLOSED"
  | "ERR_REGISTRY_DENIED"
  | "ERR_REGISTRY_DUPLICATE"
  | "ERR_REGISTRY_ENDPOINT"
  | "ERR_REGISTRY_FILTER"
  | "ERR_REGISTRY_HOST"
  | "ERR_REGISTRY_INSTANCE"
  | "ERR_REGISTRY_LOOKUP"
  | "ERR_REGISTRY_NOT_FOUND"
  | "ERR_REGISTRY_OVERWRITTEN"
  | "ERR_REGISTRY_REJECTED"
  | "ERR_REGISTRY_RESPONSE"
  | "ERR_REGISTRY_RESPONSE_SIZE"
  | "ERR_REGISTRY_SNAPSHOT"
  | "ERR_REGISTRY_STALE"
  | "ERR_REGISTRY_TIMEOUT"
  | "ERR_REGISTRY_TLS"
  | "ERR_REGISTRY_TOKEN"
  | "ERR_REGISTRY_UNAVAILABLE"
  | "ERR_REGISTRY_UNCONFIRMED";

export class RegistryError extends AppError<RegistryErrorCode> {
  override readonly name = "RegistryError";
}

export function closedError(what: string): RegistryError {
  return new RegistryError(
    "ERR_REGISTRY_CLOSED",
    "failed_precondition",
    `${what} is closed; use it only while the app that opened it runs`,
  );
}

/** What an instance that has been deregistered is asked for. */
export function goneError({ id }: { readonly id: string }): RegistryError {
  return closedError(`the registration of ${id}`);
}

export function duplicateError({ id, service }: { readonly id: string; readonly service: string }): RegistryError {
  return new RegistryError(
    "ERR_REGISTRY_DUPLICATE",
    "already_exists",
    `${id} is registered already, as an instance of ${service}; give each start of a process an id of its own, or deregister the first`,
  );
}
