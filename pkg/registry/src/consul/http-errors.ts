import { messageOf } from "@plinth/kernel";
import { errors as undiciErrors } from "undici";
import { closedError, RegistryError } from "../errors.ts";
import type { ConsulAddress } from "./address.ts";
import type { ResolvedConnection } from "./connection.ts";
import type { ConsulAdvice, ConsulRequest } from "./http.ts";
import { toTlsError } from "./tls.ts";

const registryAdvice: ConsulAdvice = {
  denied: "check consul.token, or the file of consul.tokenFile, and its policy",
  tooLarge: "raise consul.maxResponseBytes if so many instances are meant",
  unreachable: "is the agent running, and is consul.addr right?",
};

/** As much of an answer as stands in a message. */
const maxToldLength = 200;

/** The agent is there and could not do it: a 429 or a 5xx. */
export class AnsweredUnavailable extends RegistryError {
  constructor(message: string) {
    super("ERR_REGISTRY_UNAVAILABLE", "unavailable", message);
  }
}

export function statusError(
  status: number,
  text: string,
  request: ConsulRequest,
  address: ConsulAddress,
): RegistryError {
  const { advice = registryAdvice } = request;
  const what = `${nameOf(request, address)} was answered ${status}: ${text.trim().slice(0, maxToldLength)}`;
  if (status === 401 || status === 403) {
    return new RegistryError("ERR_REGISTRY_DENIED", "permission_denied", `${what}; ${advice.denied}`);
  }
  if (status === 404) return new RegistryError("ERR_REGISTRY_NOT_FOUND", "not_found", what);
  if (status >= 500 && /no path to datacenter/i.test(text)) {
    return new AnsweredUnavailable(`${what}; is the datacenter's name right, and are its servers joined?`);
  }
  if (/boolean expression evaluator/i.test(text)) {
    // a 500 of agents that are well
    return new RegistryError("ERR_REGISTRY_REJECTED", "invalid_argument", `${what}; mend the filter`);
  }
  if (status === 429) {
    return new AnsweredUnavailable(`${what}; look at the agent's limits (http_max_conns_per_client, request_limits)`);
  }
  if (status >= 500) return new AnsweredUnavailable(what);
  if (status === 400 && /to an HTTPS server/i.test(text)) {
    return new RegistryError("ERR_REGISTRY_REJECTED", "invalid_argument", `${what}; write the address as https://`);
  }
  return new RegistryError("ERR_REGISTRY_REJECTED", "invalid_argument", what);
}

export function timeoutError(request: ConsulRequest, address: ConsulAddress): RegistryError {
  return new RegistryError(
    "ERR_REGISTRY_TIMEOUT",
    "deadline_exceeded",
    `${nameOf(request, address)} had no answer within ${request.timeoutMs} ms; is the agent stalled, or the network cut?`,
    { retryable: true },
  );
}

export function sizeError(request: ConsulRequest, address: ConsulAddress, maxBytes: number): RegistryError {
  const { advice = registryAdvice } = request;
  return new RegistryError(
    "ERR_REGISTRY_RESPONSE_SIZE",
    "resource_exhausted",
    `${nameOf(request, address)} was answered with more than ${maxBytes} bytes; ${advice.tooLarge}`,
  );
}

/** Whatever a request failed with, but its deadline and its signal. */
export function toRegistryError(
  error: unknown,
  request: ConsulRequest,
  { address, maxResponseBytes, requestTimeoutMs }: ResolvedConnection,
): RegistryError {
  if (error instanceof RegistryError) return error;
  if (error instanceof undiciErrors.ClientDestroyedError) return closedError("the Consul client");
  const where = nameOf(request, address);
  const { advice = registryAdvice } = request;
  if (error instanceof undiciErrors.ResponseExceededMaxSizeError) return sizeError(request, address, maxResponseBytes);
  if (error instanceof undiciErrors.ConnectTimeoutError) {
    return new RegistryError(
      "ERR_REGISTRY_TIMEOUT",
      "deadline_exceeded",
      `${where} found no connection within ${requestTimeoutMs} ms; ${advice.unreachable}`,
      { cause: error, retryable: true },
    );
  }
  if (error instanceof undiciErrors.HTTPParserError || error instanceof undiciErrors.HeadersOverflowError) {
    return new RegistryError(
      "ERR_REGISTRY_RESPONSE",
      "internal",
      `${where} was answered with what is no HTTP: ${messageOf(error)}; does something other than Consul answer there?`,
      { cause: error },
    );
  }
  const tlsError = toTlsError(error, address.text);
  if (tlsError) return tlsError;
  // By TLS 1.3 a client's certificate is refused after the handshake, and the refusal is often lost in the end of the connection.
  const isCut = address.origin.startsWith("https:") && error instanceof undiciErrors.SocketError;
  const advised = isCut ? `${advice.unreachable} Does it take our certificate (tls.certFile)?` : advice.unreachable;
  return new RegistryError(
    "ERR_REGISTRY_UNAVAILABLE",
    "unavailable",
    `${where} failed: ${reasonOf(error)}; ${advised}`,
    { cause: error },
  );
}

function nameOf({ method, path }: ConsulRequest, address: ConsulAddress): string {
  return `${method} ${path} at ${address.text}`;
}

/** A refused connection to a name with several addresses is an `AggregateError` with an empty message. */
function reasonOf(error: unknown): string {
  const text = messageOf(error);
  if (text !== "") return text;
  return error instanceof AggregateError ? error.errors.map(messageOf).join(", ") : "no reason given";
}
