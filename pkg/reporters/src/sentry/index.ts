export { ReporterError, type ReporterErrorCode } from "../errors.ts";
export { sentryReporterModule } from "./module.ts";
export { sentryDefaults, type SentryOptions, type SentryReporter } from "./options.ts";
export { createSentryReporter } from "./reporter.ts";
export { sentrySettings, type SentrySettings } from "./settings.ts";
