import { webhookReporterModule } from "@plinth/reporters";
import { sentryReporterModule } from "@plinth/reporters/sentry";

/** Take each app's errors to `PLINTH_WEBHOOK_URL` and `PLINTH_SENTRY_DSN`, where these are set; without them they do nothing. */
export const reporterModules = [webhookReporterModule, sentryReporterModule] as const;
