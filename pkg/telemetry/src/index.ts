export { TelemetryError, type TelemetryErrorCode } from "./errors.ts";
export { exportDefaults, exportOptionsOf, type ExportOptions } from "./export-options.ts";
export { telemetry, telemetryModule } from "./module.ts";
export { createTelemetry, type Telemetry, type TelemetryOptions } from "./provider.ts";
export { telemetrySettings, type TelemetrySettings } from "./settings.ts";
