import type { Http1Connection } from "./http1-connection.ts";
import type { RequestText } from "./http1-request.ts";
import type { FailureKind, UpstreamCall, UpstreamHandlers, UpstreamRequest } from "./upstream.ts";

/** A request, from when it is given to a connection until its reply is whole. */
export class Http1Call implements UpstreamCall {
  readonly request: UpstreamRequest;
  readonly head: RequestText;
  /** Undefined once nothing is to be told any more. */
  handlers: UpstreamHandlers | undefined;
  /** Undefined before it has one and after it has ended. */
  connection: Http1Connection | undefined;
  sent = false;
  reused = false;

  constructor(request: UpstreamRequest, head: RequestText, handlers: UpstreamHandlers) {
    this.request = request;
    this.head = head;
    this.handlers = handlers;
  }

  abort(): void {
    this.handlers = undefined;
    this.connection?.abandon();
  }

  resume(): void {
    this.connection?.resume();
  }

  fail(kind: FailureKind, cause: unknown): void {
    const { handlers, sent, reused } = this;
    this.handlers = undefined;
    handlers?.onFailure({ kind, sent, reused, cause });
  }
}
