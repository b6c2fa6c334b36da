import { type ContractError, commonErrors } from "../errors.ts";

/** Every code that `plinth.identity.v1` names. */
export const identityErrors = [
  ...commonErrors,
  { code: "ERR_IDENTITY_CREDENTIALS", status: "unauthenticated" },
  { code: "ERR_IDENTITY_EMAIL_TAKEN", status: "already_exists" },
  { code: "ERR_IDENTITY_ETAG", status: "aborted" },
  { code: "ERR_IDENTITY_PASSWORD_WEAK", status: "invalid_argument" },
  { code: "ERR_IDENTITY_TOKEN_INVALID", status: "failed_precondition" },
  { code: "ERR_IDENTITY_TOO_MANY_MESSAGES", status: "resource_exhausted" },
  { code: "ERR_IDENTITY_USER_NOT_FOUND", status: "not_found" },
] as const satisfies readonly ContractError[];

export type IdentityErrorCode = (typeof identityErrors)[number]["code"];
