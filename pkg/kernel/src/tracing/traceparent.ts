import { parseTracestate } from "./tracestate.ts";

/** Where a span stands: what crosses a wire as `traceparent`. */
export interface SpanContext {
  /** 32 lower-case hex digits, not all zero. */
  readonly traceId: string;
  /** 16 lower-case hex digits, not all zero. */
  readonly spanId: string;
  readonly sampled: boolean;
  /** What tracing systems on the way keep with the trace: a `tracestate` header as {@link parseTracestate} gives it. */
  readonly traceState?: string | undefined;
  /** False where the other process is a stranger: a trace begins here, under an id of our own, with a link to its span. Default: it is trusted. */
  readonly isTrusted?: boolean | undefined;
}

const pattern = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const noTrace = "0".repeat(32);
const noSpan = "0".repeat(16);

/**
 * Reads a `traceparent` header.
 * @returns undefined for anything the specification tells to ignore: bad form, version ff, all-zero ids, extra fields in version 00.
 * @see https://www.w3.org/TR/trace-context/#traceparent-header
 */
export function parseTraceparent(header: string | undefined): SpanContext | undefined {
  if (header === undefined || header.length < 55 || header.length > 256) return undefined;
  const match = pattern.exec(header);
  if (!match) return undefined;
  const [, version, traceId = noTrace, spanId = noSpan, flags = "00", rest] = match;
  if (version === "ff" || (version === "00" && rest !== undefined)) return undefined;
  if (traceId === noTrace || spanId === noSpan) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/** The header that makes `context` the parent of what the other side does. */
export function formatTraceparent({ traceId, spanId, sampled }: SpanContext): string {
  return `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
}

/**
 * The span of another process that a request continues, from its headers.
 *
 * @param tracestate - All lines of it, joined by commas.
 * @param isTrusted - Whether the peer's trace is continued; a stranger's is only linked to, by its ids alone. Default true.
 * @returns Undefined without a valid `traceparent`; a `tracestate` that is invalid is dropped alone.
 */
export function parseTraceContext(
  traceparent: string | undefined,
  tracestate: string | undefined,
  isTrusted = true,
): SpanContext | undefined {
  const caller = parseTraceparent(traceparent);
  if (caller === undefined) return undefined;
  if (!isTrusted) return { ...caller, isTrusted };
  const traceState = parseTracestate(tracestate);
  return traceState === undefined ? caller : { ...caller, traceState };
}
