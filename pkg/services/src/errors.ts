import { AppError, type Status } from "@plinth/kernel";

/** What the clients of this package give themselves; what a service answers has the codes of its contract. */
export type ServicesErrorCode = "ERR_ID_INVALID" | "ERR_PAGE_TOKEN" | "ERR_REQUEST_ID_REUSED" | "ERR_SERVICE_REPLY";

export class ServicesError extends AppError<ServicesErrorCode> {
  override readonly name = "ServicesError";
}

/** An error that a contract names. */
export interface ContractError {
  readonly code: string;
  readonly status: Status;
}

/** What every service that keeps pages, or remembers requests, may answer. */
export const commonErrors = [
  { code: "ERR_PAGE_TOKEN", status: "invalid_argument" },
  { code: "ERR_REQUEST_ID_REUSED", status: "failed_precondition" },
] as const satisfies readonly ContractError[];
