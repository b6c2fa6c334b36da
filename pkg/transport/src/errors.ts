import { AppError } from "@plinth/kernel";

/** Every code that the servers give to what they refuse or fail at themselves. */
export type TransportErrorCode =
  | "ERR_AUTH_NEED"
  | "ERR_AUTH_REVOCATION"
  | "ERR_AUTH_REVOCATIONS_FULL"
  | "ERR_AUTH_UNAVAILABLE"
  | "ERR_DEADLINE_EXCEEDED"
  | "ERR_LISTEN_ADDRESS"
  | "ERR_LISTEN_LIBRARY"
  | "ERR_LISTEN_LOST"
  | "ERR_LISTEN_PORT_BUSY"
  | "ERR_METHOD_NOT_ALLOWED"
  | "ERR_MIDDLEWARE_NEXT"
  | "ERR_MIDDLEWARE_ORDER"
  | "ERR_MISDIRECTED"
  | "ERR_NO_INSTANCE"
  | "ERR_ORIGIN_REFUSED"
  | "ERR_OVERLOADED"
  | "ERR_REPLY_BEGUN"
  | "ERR_REPLY_INVALID"
  | "ERR_REPLY_TOO_LARGE"
  | "ERR_REQUEST_BODY"
  | "ERR_REQUEST_INVALID"
  | "ERR_REQUEST_MALFORMED"
  | "ERR_REQUEST_MEDIA_TYPE"
  | "ERR_REQUEST_REFUSED"
  | "ERR_REQUEST_TIMEOUT"
  | "ERR_REQUEST_TOO_LARGE"
  | "ERR_ROUTE_NOT_FOUND"
  | "ERR_RPC_CLIENT_CLOSED"
  | "ERR_RPC_REQUEST"
  | "ERR_RPC_UNIMPLEMENTED"
  | "ERR_SCOPE_MISSING"
  | "ERR_SERVER_STOPPING"
  | "ERR_SERVICE_URL"
  | "ERR_STREAM_IDLE"
  | "ERR_TLS_CERTIFICATE"
  | "ERR_TLS_FILE"
  | "ERR_UNAUTHENTICATED"
  | "ERR_WEB_SOCKET_STALLED";

export class TransportError extends AppError<TransportErrorCode> {
  override readonly name: string = "TransportError";
}

/** One fault in what a caller sent. */
export interface FieldFault {
  /** JSON pointer into the body, or `/query/limit`, `/params/id`, `/headers/x`. RFC 6901. */
  readonly pointer: string;
  readonly detail: string;
}

/** What a caller sent does not fit; lists every fault. */
export class RequestError extends TransportError {
  override readonly name = "RequestError";
  readonly faults: readonly FieldFault[];

  constructor(faults: readonly FieldFault[]) {
    super(
      "ERR_REQUEST_INVALID",
      "invalid_argument",
      faults.map(({ pointer, detail }) => `${pointer || "/"} ${detail}`).join("; "),
    );
    this.faults = faults;
  }
}

/** A JSON pointer of these keys, escaped. @see https://www.rfc-editor.org/rfc/rfc6901 */
export function toPointer(prefix: string, keys: readonly PropertyKey[]): string {
  return [prefix, ...keys.map((key) => String(key).replaceAll("~", "~0").replaceAll("/", "~1"))].join("/");
}
