import { provider } from "../app/provider.ts";
import { lifecycleSettings } from "../app/settings.ts";
import { token } from "../app/token.ts";
import { appInfo, clock } from "../app/tokens.ts";
import type { MetricsExposition } from "../metrics/exposition.ts";
import { metrics, metricsExposition } from "../metrics/module.ts";
import type { AppLink } from "./app-link.ts";

/** What the app has to do with other workers; in a process that is none, nothing. */
interface WorkerLink {
  readonly exposition: MetricsExposition;
  readonly link: AppLink | undefined;
}

const workerLink = token("workers.link").of<WorkerLink>();

export const provideWorkerLink = provider({
  provides: workerLink,
  needs: { own: metrics, info: appInfo, clock, limits: lifecycleSettings },
  ground: true,
  create: async ({ own, info, clock, limits }) => {
    if (process.env.PLINTH_WORKER === undefined) return { exposition: own, link: undefined };
    const { linkApp } = await import("./link-app.ts"); // which no other process needs
    const link = linkApp({ app: info.name, own, clock, stopMs: limits.stopMs });
    return { exposition: link ?? own, link };
  },
  stop: ({ link }) => link?.close(),
});

export const provideMetricsExposition = provider({
  provides: metricsExposition,
  needs: { worker: workerLink },
  ground: true,
  create: ({ worker }) => worker.exposition,
});
