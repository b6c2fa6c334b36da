export { ReporterError, type ReporterErrorCode } from "./errors.ts";
export { sentrySettings, type SentrySettings } from "./sentry/settings.ts";
export { webhookReporterModule } from "./webhook/module.ts";
export { webhookDefaults, type WebhookOptions } from "./webhook/options.ts";
export type { WebhookPayload, WebhookReport, WebhookSource } from "./webhook/payload.ts";
export { createWebhookReporter, type WebhookReporter } from "./webhook/reporter.ts";
export { webhookSettings, type WebhookSettings } from "./webhook/settings.ts";
