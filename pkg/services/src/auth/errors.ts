import { type ContractError, commonErrors } from "../errors.ts";

/** Every code that `plinth.auth.v1` names. */
export const authErrors = [
  ...commonErrors,
  { code: "ERR_AUTH_AUDIENCE", status: "invalid_argument" },
  { code: "ERR_AUTH_CREDENTIALS", status: "unauthenticated" },
  { code: "ERR_AUTH_LOCKED", status: "resource_exhausted" },
  { code: "ERR_AUTH_REFRESH_REUSED", status: "unauthenticated" },
  { code: "ERR_AUTH_ROTATION_PENDING", status: "failed_precondition" },
  { code: "ERR_AUTH_SCOPE", status: "permission_denied" },
  { code: "ERR_AUTH_SESSION_ENDED", status: "unauthenticated" },
  { code: "ERR_AUTH_SESSION_NOT_FOUND", status: "not_found" },
  { code: "ERR_AUTH_TOKEN_INVALID", status: "unauthenticated" },
  { code: "ERR_AUTH_USER_DISABLED", status: "permission_denied" },
] as const satisfies readonly ContractError[];

export type AuthErrorCode = (typeof authErrors)[number]["code"];
