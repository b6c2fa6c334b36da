import type { ContractError } from "../errors.ts";

/** Every code that `plinth.authz.v1` names. */
export const authzErrors = [
  { code: "ERR_PAGE_TOKEN", status: "invalid_argument" },
  { code: "ERR_AUTHZ_CONSISTENCY_TOKEN", status: "invalid_argument" },
  { code: "ERR_AUTHZ_CYCLE", status: "failed_precondition" },
  { code: "ERR_AUTHZ_DEPTH", status: "failed_precondition" },
  { code: "ERR_AUTHZ_ETAG", status: "aborted" },
  { code: "ERR_AUTHZ_RELATIONSHIP_EXISTS", status: "already_exists" },
  { code: "ERR_AUTHZ_ROLE_BOUND", status: "failed_precondition" },
  { code: "ERR_AUTHZ_ROLE_EXISTS", status: "already_exists" },
  { code: "ERR_AUTHZ_ROLE_NOT_FOUND", status: "not_found" },
] as const satisfies readonly ContractError[];

export type AuthzErrorCode = (typeof authzErrors)[number]["code"];
