import {
  type Clock,
  formatBaggage,
  formatTraceparent,
  parseTraceContext,
  type RequestContext,
  type SpanContext,
} from "@plinth/kernel";
import { TransportError } from "./errors.ts";

/** What of a request goes with what is asked of others: `all`, only the `trace`, or nothing, as for hosts that are nobody of ours. */
export type Propagation = "all" | "trace" | "none";

export interface PropagateOptions {
  /** The span that the other side's become children of. */
  readonly span: SpanContext | undefined;
  /** The request that is being served. */
  readonly context: RequestContext | undefined;
  readonly clock: Clock;
  /** Default `all`. */
  readonly propagation?: Propagation | undefined;
}

/**
 * Hands a request's trace, baggage and remaining time to whoever is asked for it: `traceparent`, `tracestate`, `baggage` and `plinth-timeout-ms`.
 * @throws {@link TransportError} `ERR_DEADLINE_EXCEEDED` when no time is left: then nothing is to be sent.
 */
export function propagate(
  set: (name: string, value: string) => void,
  { span, context, clock, propagation = "all" }: PropagateOptions,
): void {
  const leftMs = leftOf(context, clock);
  if (propagation === "none") return;
  propagateTrace(set, span);
  if (propagation === "trace") return;
  const baggage = formatBaggage(context?.baggage);
  if (baggage !== undefined) set("baggage", baggage);
  if (leftMs !== undefined) set("plinth-timeout-ms", String(leftMs));
}

/** The part of {@link propagate} that names the trace. */
export function propagateTrace(set: (name: string, value: string) => void, span: SpanContext | undefined): void {
  if (span === undefined) return;
  set("traceparent", formatTraceparent(span));
  if (span.traceState !== undefined) set("tracestate", span.traceState);
}

/**
 * Whole milliseconds that a request has left, at least 1; undefined where it has no deadline.
 * @throws {@link TransportError} `ERR_DEADLINE_EXCEEDED` when there are none.
 */
export function leftOf(context: RequestContext | undefined, clock: Clock): number | undefined {
  if (context?.deadlineAtMs === undefined) return undefined;
  const leftMs = Math.floor(context.deadlineAtMs - clock.monotonicMs());
  if (leftMs >= 1) return leftMs;
  throw new TransportError(
    "ERR_DEADLINE_EXCEEDED",
    "deadline_exceeded",
    "no time is left for a request; nothing was sent",
  );
}

/**
 * The span of another process that a request continues, or only has a link to; null when there is none.
 * @param isTrusted - Whether the peer's trace is continued; asked only where there is a `traceparent`.
 */
export function callerOf(
  header: (name: "traceparent" | "tracestate") => string | undefined,
  isTrusted: () => boolean,
): SpanContext | null {
  const traceparent = header("traceparent");
  if (traceparent === undefined) return null;
  return parseTraceContext(traceparent, header("tracestate"), isTrusted()) ?? null;
}
