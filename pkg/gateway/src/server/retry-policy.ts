import { createRetries, parseRetryAfterMs, type Retries, type RetryBudget } from "@plinth/resilience";
import type { RetriesConfig } from "../config/schema-retries.ts";
import { replyHeader, type ReplyHeaders } from "../headers/reply.ts";
import type { FailureKind, UpstreamFailure } from "../upstream/upstream.ts";
import type { DeadlineList, Deadlines } from "./deadlines.ts";
import type { RequestBody } from "./request-body.ts";

/** When requests of a route are sent again that may have had an effect. */
export interface RetryPolicy {
  readonly retries: Retries;
  readonly kinds: ReadonlySet<FailureKind>;
  readonly statuses: ReadonlySet<number>;
  /** Undefined: a try takes as long as it takes. */
  readonly perTry: DeadlineList | undefined;
}

/** @param budget - Shared by all routes to the service. */
export function toRetryPolicy(
  { attempts, on, perTryTimeoutMs }: RetriesConfig,
  { budget, deadlines }: { readonly budget: RetryBudget; readonly deadlines: Deadlines },
): RetryPolicy {
  return {
    retries: createRetries({ maxAttempts: attempts, budget }),
    kinds: new Set(on.filter((cause) => typeof cause === "string")),
    statuses: new Set(on.filter((cause) => typeof cause === "number")),
    perTry: perTryTimeoutMs === undefined ? undefined : deadlines.list(perTryTimeoutMs),
  };
}

/** How a try ended that was no success. */
export interface FailedTry {
  readonly method: string;
  readonly body: RequestBody | undefined;
  /** Tries so far, this one included. */
  readonly attempts: number;
  /** Whether there is an instance that was not tried. */
  readonly hasOther: boolean;
  /** How long the route's time still lasts, in milliseconds; `Infinity` without a limit. */
  readonly remainingMs: number;
}

/** Failures after which nothing can have happened at the instance. */
const neverArrived: ReadonlySet<FailureKind> = new Set<FailureKind>([
  "unreachable",
  "connect_timeout",
  "untrusted",
  "busy",
]);
/** So many instances are tried while each one takes no connection, or its address turns out to be another's. */
const maxUnsent = 3;
const safeMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
/** RFC 9110, 9.2.2, without TRACE. */
export const idempotentMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/**
 * Whether no try can have had an effect, so that another does no harm, whatever the route says: but once unless each is told at once.
 * A body that was touched is gone, but where the instance has refused it unread.
 */
function mayTryUnsent({ kind, sent, reused }: UpstreamFailure, failed: FailedTry): boolean {
  const { body, method, attempts, hasOther } = failed;
  if (kind === "misdirected" || kind === "refused") {
    const isWhole = body === undefined || body.again !== undefined;
    // Whoever refuses a stream may take it on another connection: GOAWAY ends the one alone.
    return isWhole && attempts < maxUnsent && (hasOther || kind === "refused");
  }
  if (body?.started === true) return false;
  if (!sent && kind === "unreachable") return attempts < maxUnsent && hasOther;
  if (attempts > 1) return false;
  if (!sent && neverArrived.has(kind)) return hasOther;
  // The instance closed an idle connection just as the request went out on it. Asking again is safe for safe methods.
  return kind === "reset" && reused && body === undefined && safeMethods.has(method);
}

/** In how many milliseconds to try again after a failure; undefined: not at all. */
export function failedInMs(
  policy: RetryPolicy | undefined,
  failure: UpstreamFailure,
  failed: FailedTry,
): number | undefined {
  return mayTryUnsent(failure, failed) ? 0 : retryInMs(policy, failure.kind, failed);
}

/** In how many milliseconds to try again what may have had an effect, as far as the route says so; undefined: not at all. */
export function retryInMs(
  policy: RetryPolicy | undefined,
  cause: FailureKind | number,
  { method, body, attempts, remainingMs }: FailedTry,
  reply?: { readonly headers: ReplyHeaders; readonly nowMs: number },
): number | undefined {
  if (!policy || !(typeof cause === "number" ? policy.statuses.has(cause) : policy.kinds.has(cause))) return undefined;
  if (body !== undefined && body.again === undefined) return undefined;
  const verdict = policy.retries.next({
    attempts,
    isUnsent: false,
    isIdempotent: idempotentMethods.has(method),
    isRetryable: true,
    hasReplyBegun: false,
    isCancelled: false,
    remainingMs,
    retryAfterMs:
      reply &&
      parseRetryAfterMs(replyHeader(reply.headers, "retry-after"), {
        nowMs: reply.nowMs,
        date: replyHeader(reply.headers, "date"),
      }),
  });
  return verdict.retry ? verdict.delayMs : undefined;
}

/** The head of a reply has not come in the time of one try. */
export function lateTry(): UpstreamFailure {
  return { kind: "timeout", sent: true, reused: false, cause: new Error("no reply within the time of a try") };
}
