import { withDefaults } from "@plinth/kernel";
import { ReporterError } from "../errors.ts";
import { openSentryReporter } from "./client-reporter.ts";
import { dsnForm, isDsn } from "./dsn.ts";
import { checkSentryLimits, sentryDefaults, type SentryOptions, type SentryReporter } from "./options.ts";
import { loadSentrySdk } from "./sdk.ts";

/**
 * Sends reports to Sentry by a client of its own: no `init`, no hub, no integrations, nothing patched, and several of them live side by
 * side. Nothing is tried again; pauses that Sentry asks for are kept.
 *
 * @throws {@link ReporterError} `ERR_REPORTER_URL` for what is no DSN, `ERR_REPORTER_PEER` without the package `@sentry/core`.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when a limit is out of range.
 */
export async function createSentryReporter(options: SentryOptions): Promise<SentryReporter> {
  const limits = checkSentryLimits(withDefaults(sentryDefaults, options));
  if (!isDsn(options.dsn.reveal())) {
    throw new ReporterError("ERR_REPORTER_URL", "invalid_argument", `dsn: ${dsnForm}`);
  }
  return openSentryReporter(await loadSentrySdk(), { ...options, ...limits });
}
