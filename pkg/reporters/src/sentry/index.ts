export { ReporterError, type ReporterErrorCode } from "../errors.ts";
export { sentryReporterModule } from "./module.ts";
export { sentryDefaults, type SentryOptions } from "./options.ts";
export { createSentryReporter, type SentryReporter } from "./reporter.ts";
export { sentrySettings, type SentrySettings } from "./settings.ts";
