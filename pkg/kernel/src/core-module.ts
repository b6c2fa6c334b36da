import { z } from "zod";
import { isCancelled } from "./app/limited.ts";
import { defineModule } from "./app/module.ts";
import { live } from "./app/needs.ts";
import { provider } from "./app/provider.ts";
import { appEvents, appInfo, appLog, clock, requestScopes } from "./app/tokens.ts";
import { token } from "./app/token.ts";
import { defineSettings } from "./config/settings.ts";
import { createErrorBus, type ErrorBus, type ErrorReport, type ErrorReporter } from "./errors/error-bus.ts";
import { createHealth, type Health, type HealthCheck } from "./health/health.ts";
import { loggerNamePattern, logThresholds } from "./logger/level-table.ts";
import { type Logger, logLevels } from "./logger/logger.ts";
import { createLogger } from "./logger/pino.ts";
import { redactPattern } from "./logger/redaction.ts";
import type { Metrics } from "./metrics/metrics.ts";
import { createMetrics } from "./metrics/prometheus.ts";
import { collectAppMetrics } from "./metrics/app-metrics.ts";
import { collectProcessMetrics } from "./metrics/process-metrics.ts";
import { createTracing, type SpanSink, type Tracing } from "./tracing/tracing.ts";

export const logger = token("logger").of<Logger>();
export const errorBus = token("errors").of<ErrorBus>();
export const health = token("health").of<Health>();
export const metrics = token("metrics").of<Metrics>();
export const tracing = token("tracing").of<Tracing>();

/** Readiness checks; every module may add some. */
export const healthChecks = token("health.checks").listOf<HealthCheck>();
/** Who is told of each error, beside the log and the metrics. */
export const errorReporters = token("errors.reporters").listOf<ErrorReporter>();
/** Where spans go; the first that is there is used. `@plinth/telemetry` adds one, or undefined when no exporter is configured. */
export const spanSinks = token("tracing.sinks").listOf<SpanSink | undefined>();

/** What is wrong with a key of `log.levels`; of a level, the schema says it. */
const badLoggerName = ({ code }: { readonly code: string }): string | undefined =>
  code === "invalid_key"
    ? "expected a logger's name: letters, digits, _ and -, with dots between its parts"
    : undefined;

export const logSettings = defineSettings(
  "log",
  z.strictObject({
    level: z.enum(logLevels).default("info").meta({ description: "Lines below this level are not written." }),
    format: z
      .enum(["auto", "json", "pretty"])
      .default("auto")
      .meta({ description: "`auto` is `pretty` in a terminal, else `json`." }),
    levels: z
      .record(z.string().regex(loggerNamePattern), z.enum(logThresholds), { error: badLoggerName })
      .default({})
      .meta({
        description:
          'Level by name of the logger, such as `{"database": "debug", "http.access": "off"}`; it holds for the names below it too, the longest wins.',
      }),
    redact: z
      .array(z.string().regex(redactPattern, "expected names joined by dots, `*` for any one of them"))
      .default([])
      .meta({
        description:
          "Paths of values that are never written, such as `user.email` or `payment.*.number`; `*` is any one name.",
      }),
    redactNames: z.array(z.string().min(1)).default([]).meta({
      description:
        "Fields that are never written, at any depth and in any case, beside `password`, `token` and the like.",
    }),
  }),
  { reloadable: ["level", "levels"] },
);

export const healthSettings = defineSettings(
  "health",
  z.strictObject({
    cacheMs: z
      .number()
      .min(0)
      .max(60_000)
      .default(1_000)
      .meta({ description: "How long a verdict of the readiness checks is kept, in ms." }),
  }),
);

const provideLogger = provider({
  provides: logger,
  needs: { info: appInfo, settings: live(logSettings), early: appLog },
  ground: true,
  create: async ({ info, settings, early }) => {
    const fields = { service: info.name };
    const log = await createLogger({ ...settings.current, fields, destination: info.logDestination });
    settings.subscribe((next) => log.setLevels(next));
    early.attach(log);
    return log;
  },
  stop: (log) => log.flush(),
});

const provideMetrics = provider({
  provides: metrics,
  needs: { info: appInfo, events: appEvents, scopes: requestScopes },
  ground: true,
  create: ({ info, events, scopes }) => {
    const own = createMetrics();
    collectAppMetrics(own, { info, events, scopes });
    return own;
  },
});

const processMetrics = token("metrics.process").of<{ close(): void }>();

const provideProcessMetrics = provider({
  provides: processMetrics,
  needs: { own: metrics },
  ground: true,
  create: ({ own }) => collectProcessMetrics(own),
  stop: (sampling) => sampling.close(),
});

const provideTracing = provider({
  provides: tracing,
  needs: { sinks: spanSinks },
  ground: true,
  create: ({ sinks }) => createTracing({ sink: sinks.find((each) => each !== undefined) }),
});

const provideErrorBus = provider({
  provides: errorBus,
  needs: { clock, log: logger, events: appEvents, metrics, tracing },
  ground: true,
  create: ({ clock: time, log, events, metrics: own }) => {
    const bus = createErrorBus({ clock: time });
    const errorLog = log.named("errors");
    bus.subscribe({ name: "log", report: (report) => logReport(errorLog, report) });
    const counter = own.counter({
      name: "errors_total",
      help: "Errors reported to the error bus.",
      labels: ["origin", "code"],
    });
    bus.subscribe({ name: "metrics", report: ({ origin, error }) => counter.inc({ origin, code: error.code }) });
    own.counter({
      name: "errors_dropped_total",
      help: "Error reports that a reporter did not get, because its queue was full or a flush ran out of time.",
      collect: (counter) => counter.set({}, bus.stats().dropped),
    });
    events.subscribe((event) => {
      if (event.type === "fatal") {
        bus.report(event.error, { origin: event.origin, handled: false, severity: "fatal" });
      } else if (event.type === "config" && event.outcome === "refused") {
        bus.report(event.error, { origin: "lifecycle" });
      } else if (event.type === "hook" && event.step === "failed" && !isCancelled(event.error)) {
        // one that was cut short because something else failed is no error of its own
        bus.report(event.error, { origin: "lifecycle" });
      }
    });
    return bus;
  },
  stop: (bus) => bus.flush(),
});

function logReport(
  log: Logger,
  { error, origin, handled, severity, traceId, spanId, requestId, attributes }: ErrorReport,
): void {
  const ids = { trace_id: traceId, span_id: spanId, request_id: requestId };
  const write =
    severity === "fatal" ? log.fatal.bind(log) : severity === "warning" ? log.warn.bind(log) : log.error.bind(log);
  write(error.message, { ...ids, origin, handled, ...attributes, error });
}

const provideHealth = provider({
  provides: health,
  needs: { clock, events: appEvents, log: logger, settings: healthSettings },
  ground: true,
  create: ({ clock: time, events, log, settings }) => {
    const healthLog = log.named("health");
    const own = createHealth({
      clock: time,
      cacheMs: settings.cacheMs,
      onFailure: (check, error) => healthLog.warn("health check failed", { check, error }),
    });
    events.subscribe((event) => {
      if (event.type !== "state") return;
      if (event.state === "ready") own.setState("ready");
      else if (event.state === "draining") own.setState("draining");
      else if (event.state !== "starting") own.setState("stopped");
    });
    return own;
  },
});

const wired = token("core.wired").of<true>();

/** Ground things are up before any module's checks and reporters exist, so these are handed over afterwards. */
const wireContributions = provider({
  provides: wired,
  needs: { health, bus: errorBus, checks: healthChecks, reporters: errorReporters, events: appEvents, log: logger },
  create: ({ health: own, bus, checks, reporters, events, log }) => {
    const lifecycleLog = log.named("app");
    for (const check of checks) own.register(check);
    for (const reporter of reporters) bus.subscribe(reporter);
    events.subscribe((event) => {
      if (event.type === "state" && event.state !== "starting") lifecycleLog.info(`app ${event.state}`);
      if (event.type === "config" && event.outcome === "changed") {
        lifecycleLog.info("config changed", { changed: event.changed });
      }
    });
    return true as const;
  },
  start: () => {},
});

/** What every service stands on: logger, error bus, health, metrics, tracing. */
export const coreModule = defineModule("core", [
  provideLogger,
  provideMetrics,
  provideProcessMetrics,
  provideTracing,
  provideErrorBus,
  provideHealth,
  wireContributions,
]);
