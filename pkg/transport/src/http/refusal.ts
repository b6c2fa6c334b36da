import { TransportError, type TransportErrorCode } from "../errors.ts";
import { fromHttpStatus } from "../status.ts";

interface RefusalText {
  readonly code: TransportErrorCode;
  readonly httpStatus: number;
  readonly message: string;
}

/** What HTTP tells apart and the canonical statuses do not, as 413 and 415. */
export class HttpRefusal extends TransportError {
  override readonly name = "HttpRefusal";
  readonly httpStatus: number;

  constructor({ code, httpStatus, message }: RefusalText) {
    super(code, fromHttpStatus(httpStatus), message);
    this.httpStatus = httpStatus;
  }
}
