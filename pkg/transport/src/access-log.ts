import { z } from "zod";

/** The settings of an access log, the same on every wire. */
export const accessLogFields = {
  accessLog: z
    .boolean()
    .default(true)
    .meta({ description: "Write one line for each request, as far as the sampling below lets it." }),
  accessLogSampleRatio: z.number().min(0).max(1).default(1).meta({
    description:
      "Share of the requests that are written to the access log, 0 to 1; failures of the server and slow ones always are.",
  }),
  accessLogSlowMs: z.number().min(0).max(3_600_000).default(1_000).meta({
    description:
      "A request that took at least so long, in ms, is written to the access log whatever the share; 0 counts none as slow.",
  }),
};

export interface AccessLogSettings {
  readonly accessLog: boolean;
  readonly accessLogSampleRatio: number;
  readonly accessLogSlowMs: number;
}

/**
 * Which requests the access log tells of.
 * @param random - Source of the sample, in [0, 1). Default `Math.random`.
 */
export function accessSampler(
  { accessLogSampleRatio: ratio, accessLogSlowMs: slowMs }: AccessLogSettings,
  random: () => number = Math.random,
): (isFailure: boolean, tookMs: number) => boolean {
  if (ratio >= 1) return () => true;
  return (isFailure, tookMs) => isFailure || (slowMs > 0 && tookMs >= slowMs) || random() < ratio;
}
