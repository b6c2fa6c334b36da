import { appInfo, clock, defineModule, errorReporters, metrics, provider, token } from "@plinth/kernel";
import type { SentryReporter } from "./options.ts";
import { createSentryReporter } from "./reporter.ts";
import { sentrySettings } from "./settings.ts";

const sentry = token("reporters.sentry").of<SentryReporter | "off">();

const provideSentry = provider({
  provides: sentry,
  needs: { info: appInfo, settings: sentrySettings, clock, metrics },
  ground: true,
  create: async ({ info, settings: { dsn, ...settings }, clock: time, metrics: own }) => {
    if (dsn === undefined) return "off";
    const { release = `${info.name}@${info.version}`, serverName = info.instanceId } = settings;
    return createSentryReporter({ ...settings, dsn, release, serverName, clock: time, metrics: own });
  },
  // the bus has flushed by now: what is still under way is nobody's
  stop: async (own) => {
    if (own !== "off") await own.close({ signal: AbortSignal.abort() });
  },
});

const offer = provider({
  provides: errorReporters,
  needs: { own: sentry },
  create: ({ own }) => (own === "off" ? undefined : own),
});

/** Sends each error of the app to Sentry, when `sentry.dsn` is configured; without it not even the SDK is loaded. */
export const sentryReporterModule = defineModule("sentry-reporter", [provideSentry, offer]);
