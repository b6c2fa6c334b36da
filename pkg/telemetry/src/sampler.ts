import type { SpanSink } from "@plinth/kernel";

export interface SamplerOptions {
  /** Share of traces that is recorded where no caller's word counts, from 0 to 1. */
  readonly sampleRatio: number;
  /** Whether the decision of a caller whose trace is continued is followed. Only `trusted` peers' traces are. */
  readonly trustCallerSampling: "trusted" | "never";
}

/** The bits of a trace id that are random by the specification, as digits of hex and as a count of values. */
const randomDigits = 14;
const randomValues = 2 ** 56;

/**
 * Decides whether a trace is recorded: as its caller did where that counts, else by its id, so that every service with the same
 * ratio comes to the same decision. A trace that begins here has an id of our own: strangers choose neither.
 * @see https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/
 */
export function samplerOf({ sampleRatio, trustCallerSampling }: SamplerOptions): SpanSink["isSampled"] {
  // digits of one length compare as their numbers do, and nothing is read from them for each request
  const rejected = Math.ceil((1 - sampleRatio) * randomValues)
    .toString(16)
    .padStart(randomDigits, "0");
  const byId = (traceId: string): boolean => {
    if (sampleRatio >= 1 || sampleRatio <= 0) return sampleRatio >= 1;
    return traceId.slice(-randomDigits) >= rejected;
  };
  return (caller, traceId) => {
    return caller === null || trustCallerSampling === "never" ? byId(traceId) : caller.sampled;
  };
}
