import { appInfo, clock, defineModule, errorReporters, metrics, provider, token } from "@plinth/kernel";
import { createWebhookReporter, type WebhookReporter } from "./reporter.ts";
import { webhookSettings } from "./settings.ts";

const webhook = token("reporters.webhook").of<WebhookReporter | "off">();

const provideWebhook = provider({
  provides: webhook,
  needs: { info: appInfo, settings: webhookSettings, clock, metrics },
  ground: true,
  create: ({ info, settings: { url, ...settings }, clock: time, metrics: own }) => {
    if (url === undefined) return "off";
    const source = { version: info.version, instanceId: info.instanceId };
    return createWebhookReporter({ ...settings, url, source, clock: time, metrics: own });
  },
  // the bus has flushed by now: what is still under way is nobody's
  stop: async (own) => {
    if (own !== "off") await own.close({ signal: AbortSignal.abort() });
  },
});

const offer = provider({
  provides: errorReporters,
  needs: { own: webhook },
  create: ({ own }) => (own === "off" ? undefined : own),
});

/** Posts each error of the app to `webhook.url`, when one is configured; costs nothing when none is. */
export const webhookReporterModule = defineModule("webhook-reporter", [provideWebhook, offer]);
