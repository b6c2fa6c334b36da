// Why a real server for a test or a bench could not be had.

/** `MISSING`: there is none and none could be fetched. `OVERRIDE`: a variable names a file that cannot run. `START`: it did not come up. */
export type ServerErrorCode = "ERR_SERVER_MISSING" | "ERR_SERVER_OVERRIDE" | "ERR_SERVER_START";

export class ServerError extends Error {
  override readonly name = "ServerError";
  readonly code: ServerErrorCode;

  constructor(code: ServerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
