import { provider } from "../app/provider.ts";
import { token } from "../app/token.ts";
import { appEvents, appInfo, clock, requestScopes } from "../app/tokens.ts";
import { collectAppMetrics } from "./app-metrics.ts";
import { createMetrics } from "./create-metrics.ts";
import type { MetricsExposition } from "./exposition.ts";
import type { Metrics } from "./metrics.ts";
import { collectProcessMetrics } from "./process-metrics.ts";

export const metrics = token("metrics").of<Metrics>();

/** What `/metrics` shows: this app's own metrics or, where several processes share a port, those of all together. */
export const metricsExposition = token("metrics.exposition").of<MetricsExposition>();

export const provideMetrics = provider({
  provides: metrics,
  needs: { info: appInfo, events: appEvents, scopes: requestScopes, clock },
  ground: true,
  create: ({ info, events, scopes, clock }) => {
    const own = createMetrics({ clock });
    collectAppMetrics(own, { info, events, scopes });
    return own;
  },
});

const processMetrics = token("metrics.process").of<{ close(): void }>();

export const provideProcessMetrics = provider({
  provides: processMetrics,
  needs: { own: metrics },
  ground: true,
  create: ({ own }) => collectProcessMetrics(own),
  stop: (sampling) => sampling.close(),
});
