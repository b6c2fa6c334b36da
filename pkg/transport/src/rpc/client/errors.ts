import { AppError, type AppErrorOptions, type Status } from "@plinth/kernel";
import { TransportError } from "../../errors.ts";
import type { ErrorDetail } from "../details.ts";

/** Where a call went. */
export interface CallTarget {
  /** Name of the service that was called. */
  readonly peer: string;
  /** `package.Service/Method`. */
  readonly method: string;
}

export interface RpcErrorOptions extends AppErrorOptions, CallTarget {
  readonly details?: readonly ErrorDetail[];
  readonly isUnsent?: boolean;
}

/** What a call to another service failed with: what that service said, or what kept it from saying something. */
export class RpcError extends AppError {
  override readonly name = "RpcError";
  readonly peer: string;
  readonly method: string;
  /** What the service told beside code and metadata, as it came. */
  readonly details: readonly ErrorDetail[];
  /** True when surely nothing of the call has reached the service, so that sending it again repeats nothing. */
  readonly isUnsent: boolean;

  constructor(code: string, status: Status, message: string, options: RpcErrorOptions) {
    super(code, status, message, options);
    this.peer = options.peer;
    this.method = options.method;
    this.details = options.details ?? [];
    this.isUnsent = options.isUnsent ?? false;
  }
}

/** There was no connection, or it was lost. Addresses stay in the cause: the text may reach callers. */
export function unreachable(target: CallTarget, cause: unknown, isUnsent: boolean): RpcError {
  const why = isUnsent ? tlsFaultIn(cause) : undefined;
  const what = isUnsent ? `cannot be reached${why === undefined ? "" : `: ${why}`}` : "was lost while it was called";
  return new RpcError("ERR_RPC_UNAVAILABLE", "unavailable", `${target.peer} ${what}`, { ...target, cause, isUnsent });
}

/** The registry names nobody who could be called. */
export function nobody(target: CallTarget, message: string, cause?: unknown): RpcError {
  return new RpcError("ERR_NO_INSTANCE", "unavailable", message, { ...target, cause, isUnsent: true });
}

/**
 * What an instance answers that is not the one meant: it has done nothing. For its caller that is an instance which cannot be reached, and never
 * an error of this code: told on, it would say the same of whoever tells it, who may have done much.
 */
export const misdirectedCode = "ERR_MISDIRECTED";

/** Whether a call failed since another instance was meant. */
export function wasMisdirected(error: unknown): boolean {
  return error instanceof RpcError && AppError.is(error.cause) && error.cause.code === misdirectedCode;
}

/** What was wrong with TLS, where that is why there is no connection. The libraries tell it by a code or in their text. */
function tlsFaultIn(cause: unknown): string | undefined {
  if (!(cause instanceof Error)) return undefined;
  const text = `${"code" in cause ? String(cause.code) : ""} ${cause.message}`;
  return tlsFaults.find(([fault]) => fault.test(text))?.[1];
}

const tlsFaults: readonly (readonly [fault: RegExp, why: string])[] = [
  [/ERR_TLS_CERT_ALTNAME_INVALID/, "its certificate is for another name"],
  [/CERT_HAS_EXPIRED|certificate has expired/, "its certificate has expired"],
  [/CERT_NOT_YET_VALID|certificate is not yet valid/, "its certificate is not valid yet"],
  [
    /UNABLE_TO_|SELF_SIGNED|unable to (?:verify|get)|self-signed certificate/,
    "no authority that is trusted has signed its certificate",
  ],
  [/ALERT_|\balert /, "it broke the TLS handshake off"],
  [/ERR_SSL_|SSL routines/, "it does not speak TLS as this client does"],
];

/** What came is no reply of the protocol. */
export function badReply(target: CallTarget, what: string, { cause }: { readonly cause?: unknown } = {}): RpcError {
  return new RpcError("ERR_RPC_REPLY", "internal", answered(target, what), { ...target, cause });
}

/** The same where the status of the HTTP reply says at least what kind of failure it is. */
export function badStatus(
  target: CallTarget,
  what: string,
  reply: { readonly status: Status; readonly cause?: unknown },
): RpcError {
  const own = { code: "ERR_RPC_REPLY", status: reply.status };
  return new RpcError(own.code, own.status, answered(target, what), { ...target, cause: reply.cause });
}

function answered({ peer, method }: CallTarget, what: string): string {
  return `${peer} answered ${method} with ${what}`;
}

export function replyTooLarge(target: CallTarget, maxBytes: number, cause?: unknown): RpcError {
  return new RpcError(
    "ERR_RPC_REPLY_TOO_LARGE",
    "resource_exhausted",
    `the reply of ${target.peer} to ${target.method} is larger than ${maxBytes} bytes; ask for less, or raise maxReplyBytes`,
    { ...target, cause, retryable: false },
  );
}

export function requestTooLarge(target: CallTarget, cause?: unknown): RpcError {
  return new RpcError(
    "ERR_RPC_REQUEST",
    "resource_exhausted",
    `the request of ${target.method} is larger than the client may send; send less, or raise maxRequestBytes`,
    { ...target, cause, retryable: false, isUnsent: true },
  );
}

/** The caller of the client did something that no call can be made of. */
export function badCall({ method }: CallTarget, what: string, cause?: unknown): TransportError {
  return new TransportError("ERR_RPC_REQUEST", "internal", `${method} cannot be called: ${what}`, { cause });
}

export function clientClosed(peer: string): TransportError {
  return new TransportError(
    "ERR_RPC_CLIENT_CLOSED",
    "unavailable",
    `the client of ${peer} has been closed; close it after whatever calls it`,
  );
}
