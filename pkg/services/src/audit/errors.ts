import { AppError } from "@plinth/kernel";
import type { ContractError } from "../errors.ts";

/** Every code that `plinth.audit.v1` names. */
export const auditErrors = [
  { code: "ERR_PAGE_TOKEN", status: "invalid_argument" },
  { code: "ERR_AUDIT_ENTRY_NOT_FOUND", status: "not_found" },
  { code: "ERR_AUDIT_EVENT_CONFLICT", status: "already_exists" },
  { code: "ERR_AUDIT_EVENT_INVALID", status: "invalid_argument" },
  { code: "ERR_AUDIT_TOO_SLOW", status: "resource_exhausted" },
] as const satisfies readonly ContractError[];

/** What Audit's client side gives itself. */
export type AuditErrorCode =
  | "ERR_AUDIT_CHAIN"
  | "ERR_AUDIT_LOST"
  | "ERR_AUDIT_RECORDER_CLOSED"
  | "ERR_AUDIT_RECORDER_FULL"
  | "ERR_AUDIT_SPILL"
  | "ERR_AUDIT_UNCONFIRMED";

export class AuditError extends AppError<AuditErrorCode> {
  override readonly name = "AuditError";
}
