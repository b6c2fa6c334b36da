import { defineModule } from "./app/module.ts";
import { provider } from "./app/provider.ts";
import { token } from "./app/token.ts";
import { appEvents } from "./app/tokens.ts";
import { provideErrorBus, provideProcessErrors } from "./errors/module.ts";
import { healthProviders } from "./health/module.ts";
import { logger, provideLogger, provideLogMetrics } from "./logger/module.ts";
import { provideMetrics, provideProcessMetrics } from "./metrics/module.ts";
import { provideTracing } from "./tracing/module.ts";
import { provideMetricsExposition, provideWorkerLink } from "./workers/module.ts";
import { providePrimaryLink } from "./workers/primary-link.ts";

const lifecycleLog = token("core.lifecycle-log").of<true>();

/** What the app goes through, in its log. */
const provideLifecycleLog = provider({
  provides: lifecycleLog,
  needs: { events: appEvents, log: logger },
  ground: true,
  create: ({ events, log }) => {
    const own = log.named("app");
    events.subscribe((event) => {
      if (event.type === "state" && event.state !== "starting") own.info(`app ${event.state}`);
      if (event.type === "config" && event.outcome === "changed") {
        own.info("config changed", { changed: event.changed });
      }
    });
    return true as const;
  },
});

/** What every service stands on: logger, error bus, health, metrics, tracing. */
export const coreModule = defineModule("core", [
  provideLogger,
  provideMetrics,
  provideProcessMetrics,
  provideLogMetrics,
  provideWorkerLink,
  providePrimaryLink,
  provideMetricsExposition,
  provideTracing,
  provideErrorBus,
  provideProcessErrors,
  ...healthProviders,
  provideLifecycleLog,
]);
