import { provider } from "../app/provider.ts";
import { token } from "../app/token.ts";
import type { Tracing } from "./span.ts";
import { createTracing, type SpanSink } from "./tracing.ts";

export const tracing = token("tracing").of<Tracing>();
/** Where spans go; the first that is there is used. `@plinth/telemetry` adds one, or undefined when no exporter is configured. */
export const spanSinks = token("tracing.sinks").listOf<SpanSink | undefined>();

export const provideTracing = provider({
  provides: tracing,
  needs: { sinks: spanSinks },
  ground: true,
  create: ({ sinks }) => createTracing({ sink: sinks.find((each) => each !== undefined) }),
});
