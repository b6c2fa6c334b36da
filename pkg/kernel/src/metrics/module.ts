import { provider } from "../app/provider.ts";
import { token } from "../app/token.ts";
import { appEvents, appInfo, requestScopes } from "../app/tokens.ts";
import { collectAppMetrics } from "./app-metrics.ts";
import type { Metrics } from "./metrics.ts";
import { collectProcessMetrics } from "./process-metrics.ts";
import { createMetrics } from "./prometheus.ts";

export const metrics = token("metrics").of<Metrics>();

export const provideMetrics = provider({
  provides: metrics,
  needs: { info: appInfo, events: appEvents, scopes: requestScopes },
  ground: true,
  create: ({ info, events, scopes }) => {
    const own = createMetrics();
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
