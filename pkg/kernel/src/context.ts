import { AsyncLocalStorage } from "node:async_hooks";
import type { RequestScope } from "./app/request-scope.ts";
import type { Baggage } from "./tracing/baggage.ts";
import type { SpanContext } from "./tracing/traceparent.ts";

/** What everything done for one request shares. Log lines, error reports and spans read it. */
export interface RequestContext {
  readonly requestId?: string | undefined;
  readonly span?: SpanContext | undefined;
  /** Route template or RPC method that is being served: what labels may hold. */
  readonly route?: string | undefined;
  /** Facts that go with the request from service to service. */
  readonly baggage?: Baggage | undefined;
  /** Aborts when the caller has gone or the deadline has passed. */
  readonly signal?: AbortSignal | undefined;
  /** When the work must be done, in milliseconds of the monotonic clock. */
  readonly deadlineAtMs?: number | undefined;
  /** What lives for this request only. Servers open it when it is first asked for. */
  readonly scope?: RequestScope | undefined;
  /** What another library's context manager keeps with it. */
  readonly foreign?: unknown;
  /** The context that the server, or the task, began with. Absent: this is it. */
  readonly root?: RequestContext | undefined;
}

const storage = new AsyncLocalStorage<RequestContext | undefined>();

/** Runs `fn`, and all that it starts, inside `context`. */
export function runInContext<T>(context: RequestContext, fn: () => T): T {
  return storage.run(context, fn);
}

/** Runs `fn` as no part of any request: for work that several requests share, or that outlives the one which caused it. */
export function runOutsideContext<T>(fn: () => T): T {
  return storage.run(undefined, fn);
}

/** The context of the request being served, if any. */
export function currentContext(): RequestContext | undefined {
  return storage.getStore();
}

/**
 * The same request with something of its own: a span, a signal, a scope, more baggage. What is not replaced stays with the outer context,
 * which may make its signal and scope only when they are asked for.
 */
export function deriveContext(
  outer: RequestContext | undefined,
  own: Pick<RequestContext, "span" | "signal" | "scope" | "baggage" | "foreign">,
): RequestContext {
  return {
    root: outer?.root ?? outer,
    requestId: outer?.requestId,
    span: own.span ?? outer?.span,
    deadlineAtMs: outer?.deadlineAtMs,
    foreign: own.foreign ?? outer?.foreign,
    get baggage() {
      return own.baggage ?? outer?.baggage;
    },
    get signal() {
      return own.signal ?? outer?.signal;
    },
    get scope() {
      return own.scope ?? outer?.scope;
    },
  };
}
