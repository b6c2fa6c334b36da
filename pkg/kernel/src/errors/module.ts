import { z } from "zod";
import type { AppEvent } from "../app/events.ts";
import { isCancelled } from "../app/limited.ts";
import { live } from "../app/needs.ts";
import { provider } from "../app/provider.ts";
import { token } from "../app/token.ts";
import { appEvents, appInfo, appProcess, clock } from "../app/tokens.ts";
import { defineSettings } from "../config/settings.ts";
import { logger, logSettings } from "../logger/module.ts";
import { metrics } from "../metrics/module.ts";
import { tracing } from "../tracing/module.ts";
import { createErrorBus, type ErrorBus, type ErrorReporter } from "./error-bus.ts";
import { createErrorLog } from "./error-log.ts";
import { collectErrorMetrics, countErrors, timeDeliveries } from "./error-metrics.ts";
import { createProcessErrors, processSettings } from "./process-errors.ts";

export const errorBus = token("errors").of<ErrorBus>();
/** Who is told of each error, beside the log and the metrics. They are up before the error bus and down after it, so they cannot need it; undefined where none is configured. */
export const errorReporters = token("errors.reporters").listOf<ErrorReporter | undefined>();

const milliseconds = (description: string): z.ZodNumber => z.number().min(1).max(3_600_000).meta({ description });

export const errorSettings = defineSettings(
  "errors",
  z.strictObject({
    maxQueued: z.int().min(1).max(1_000_000).default(1_000).meta({
      description: "Reports waiting for one reporter; when full, the oldest that is not fatal is dropped.",
    }),
    reportTimeoutMs: milliseconds("What a reporter may take for one call, in ms.").default(5_000),
    flushTimeoutMs: milliseconds(
      "What the last reports may take when the app stops, in ms, as far as `lifecycle.stopMs` has left.",
    ).default(3_000),
    foldIntervalMs: z.number().min(0).max(3_600_000).default(10_000).meta({
      description:
        "The same fault seen again is counted, and reported once in this time, in ms; 0 reports each error by itself.",
    }),
    maxFingerprints: z.int().min(1).max(1_000_000).default(1_000).meta({
      description: "Faults that are counted at the same time; beyond, the one counted longest is reported.",
    }),
    breakerFailures: z.int().min(1).max(1_000_000).default(5).meta({
      description: "Failures in a row after which a reporter is left alone for a while.",
    }),
    breakerPauseMs: milliseconds(
      "For how long, at first, in ms; it doubles while the reporter goes on failing.",
    ).default(1_000),
    breakerMaxPauseMs: milliseconds("The longest such pause, in ms.").default(60_000),
  }),
);

export const provideErrorBus = provider({
  provides: errorBus,
  needs: {
    clock,
    log: logger,
    info: appInfo,
    events: appEvents,
    metrics,
    tracing,
    reporters: errorReporters,
    settings: errorSettings,
    redaction: logSettings,
  },
  ground: true,
  create: ({ log, info, events, metrics: own, reporters, settings, ...parts }) => {
    const told = { onError: countErrors(own), onDelivery: timeDeliveries(own) };
    const bus = createErrorBus({ ...settings, ...parts, ...told, service: info.name });
    bus.subscribe(createErrorLog(log.named("errors")));
    for (const reporter of reporters) if (reporter) bus.subscribe(reporter);
    collectErrorMetrics(own, bus);
    events.subscribe((event) => reportEvent(bus, event));
    return bus;
  },
  stop: (bus, { signal }) => bus.close({ signal }),
});

const processErrors = token("errors.process").of<{ detach(): void }>();

export const provideProcessErrors = provider({
  provides: processErrors,
  needs: { clock, log: logger, errors: errorBus, link: appProcess, settings: live(processSettings) },
  ground: true,
  create: ({ link, log, ...parts }) => {
    const detach = link.attach(createProcessErrors({ ...parts, log: log.named("errors") }));
    return { detach };
  },
  stop: (attached) => attached.detach(),
});

function reportEvent(bus: ErrorBus, event: AppEvent): void {
  if (event.type === "fatal") {
    bus.report(event.error, { origin: event.origin, handled: false, severity: "fatal" });
  } else if (event.type === "config" && event.outcome === "refused") {
    bus.report(event.error, { origin: "lifecycle" });
  } else if (event.type === "hook" && event.step === "failed" && !isCancelled(event.error)) {
    // one that was cut short because something else failed is no error of its own
    bus.report(event.error, { origin: "lifecycle" });
  }
}
