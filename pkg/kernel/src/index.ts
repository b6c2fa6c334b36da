export type { App, AppOptions } from "./app/app.ts";
export type { AppConfig } from "./app/app-config.ts";
export { createApp } from "./app/create-app.ts";
export { LifecycleError, type LifecycleErrorCode } from "./app/errors.ts";
export type { AppEvent, AppEvents, AppState, ConfigEvent, HookEvent } from "./app/events.ts";
export type {
  AppDescription,
  HookDescription,
  NeedDescription,
  NodeDescription,
  NodeState,
} from "./app/description.ts";
export { type AppDocument, appDocuments, type WrittenDocument } from "./app/documents.ts";
export { type AppTask, appTasks, type TaskArguments, type TaskRequest, type TaskResult } from "./app/tasks.ts";
export { defineModule, type Module } from "./app/module.ts";
export { current, live, type LiveSettings, optional, type ValueOf, type WantedNames } from "./app/needs.ts";
export {
  type HookContext,
  type HookLimits,
  type Provider,
  provider,
  type ProviderDefinition,
  type StopContext,
} from "./app/provider.ts";
export {
  requestInput,
  type RequestScope,
  type RequestScopes,
  type ScopeOptions,
  type ScopeValue,
  scopeValue,
} from "./app/request-scope.ts";
export {
  type CommandAnswer,
  commandVariable,
  joinTexts,
  type RunCommand,
  toCommandAnswer,
} from "./app/command-protocol.ts";
export { type GraphFormat, graphFormats, renderGraph } from "./app/render-graph.ts";
export { type ProcessHost, type Runnable, type RunnableConfig, runApps, type RunOptions } from "./app/run.ts";
export { lifecycleSettings } from "./app/settings.ts";
export { type ListToken, type RequestToken, type Token, token } from "./app/token.ts";
export { type AppControl, appControl, appEvents, type AppInfo, appInfo, clock, requestScopes } from "./app/tokens.ts";

export { backoffDefaults, backoffDelayMs, type BackoffOptions } from "./backoff.ts";
export { type Clock, type Scheduled, sleep, systemClock } from "./clock.ts";
export { currentContext, deriveContext, type RequestContext, runInContext, runOutsideContext } from "./context.ts";

export { ConfigError, type ConfigErrorCode, type ConfigFault } from "./config/errors.ts";
export { type ConfigEntry, renderExplanation } from "./config/explain.ts";
export { type ConfigDocument, parseConfig, readConfigFile, readConfigText } from "./config/file.ts";
export { type Config, type ConfigData, type ConfigSources, type Environment, loadConfig } from "./config/load.ts";
export { configSchema } from "./config/json-schema.ts";
export { didYouMean, nearest } from "./config/nearest.ts";
export { Secret, secretString } from "./config/secret.ts";
export { defineSettings, type SettingsOptions, type SettingsToken } from "./config/settings.ts";
// As a file of its own zod takes as long to load as all of Plinth; this one comes with the kernel.
export { z } from "zod";
export type { ConfigSource } from "./config/source.ts";
export { type ConfigStore, createConfigStore, type ReloadResult } from "./config/store.ts";
export { readTextFile, type TextFile, UnreadableFile } from "./config/read-text.ts";
export type { WatchOptions } from "./config/watch.ts";
export { watchFiles, type WatchFilesOptions } from "./config/watch-files.ts";
export type { StandardSchemaV1 } from "@standard-schema/spec";

export { AppError, type AppErrorOptions, messageOf, type WrappedErrorCode } from "./errors/app-error.ts";
export {
  createErrorBus,
  type ErrorBus,
  type ErrorBusOptions,
  type ErrorBusStats,
  type ErrorContext,
  type ErrorOrigin,
  type ErrorReport,
  type ErrorReporter,
  type ReporterStats,
} from "./errors/error-bus.ts";
export type { Guarded, GuardOptions } from "./errors/guard.ts";
export { OptionError, type OptionErrorCode, requireNumber, requireWhole, withDefaults } from "./errors/option-error.ts";
export { isServerFault, isStatus, type Status, statuses } from "./errors/status.ts";

export type {
  CheckChange,
  CheckDetails,
  CheckResult,
  CheckSchedule,
  CheckStatus,
  HealthCheck,
} from "./health/check.ts";
export { diskSpaceCheck, type DiskSpaceCheckOptions } from "./health/disk-space-check.ts";
export {
  type AppHealth,
  type AppPhase,
  createHealth,
  type Health,
  type HealthDetails,
  type HealthOptions,
  type LivenessReport,
  type ReadinessReport,
} from "./health/health.ts";
export { StallMonitor, type StallMonitorOptions } from "./health/stall-monitor.ts";
export { createEarlyLogger, type EarlyLogger, type EarlyLoggerOptions } from "./logger/early-logger.ts";
export type { RedactionOptions } from "./logger/field-rules.ts";
export {
  type LineWriter,
  lineWriter,
  type LogFields,
  type Logger,
  type LogLevel,
  type LogLevels,
  logLevels,
  type LogThreshold,
  type RootLogger,
} from "./logger/logger.ts";
export { createLogger, type LogDestination, type LoggerOptions } from "./logger/pino.ts";
export { type SerializedError, serializeError } from "./logger/serialize-error.ts";
export { createMetrics, type MetricsOptions } from "./metrics/create-metrics.ts";
export { MetricError, type MetricErrorCode } from "./metrics/errors.ts";
export type { ExposedMetrics, ExposeOptions, MetricsExposition } from "./metrics/exposition.ts";
export {
  type Counter,
  durationBucketsSeconds,
  type Gauge,
  type Histogram,
  type Labels,
  type Metrics,
} from "./metrics/metrics.ts";
export type { MetricsSnapshot } from "./metrics/snapshot.ts";
export { type Baggage, type BaggageEntry, formatBaggage, parseBaggage } from "./tracing/baggage.ts";
export { currentBaggage, withBaggage } from "./tracing/current-baggage.ts";
export { fromOtelSpan, toOtelSpan, tracingOf } from "./tracing/otel-bridge.ts";
export type { Span, SpanAttributes, SpanLink, StartSpanOptions, Tracing } from "./tracing/span.ts";
export { formatTraceparent, parseTraceContext, parseTraceparent, type SpanContext } from "./tracing/traceparent.ts";
export { parseTracestate } from "./tracing/tracestate.ts";
export { createTracing, sinkOf, type SpanSink, withSpan } from "./tracing/tracing.ts";
export { randomHex } from "./tracing/ids.ts";

export { coreModule } from "./core-module.ts";
export { errorBus, errorReporters, errorSettings } from "./errors/module.ts";
export { processSettings } from "./errors/process-errors.ts";
export { health, healthChecks } from "./health/module.ts";
export { healthSettings } from "./health/settings.ts";
export { logger, logSettings } from "./logger/module.ts";
export { metrics, metricsExposition } from "./metrics/module.ts";
export { spanSinks, tracing } from "./tracing/module.ts";

export { WorkersError, type WorkersErrorCode } from "./workers/errors.ts";
export { type LastConnectionsOptions, takeLastConnections } from "./workers/last-connections.ts";
export type { WorkersOptions } from "./workers/options.ts";
export type { PrimaryLink, PrimaryLinkListener } from "./workers/link-over.ts";
export { primaryLink } from "./workers/primary-link.ts";
export type { TeamListener, TeamMember, WorkersTeam } from "./workers/team.ts";
