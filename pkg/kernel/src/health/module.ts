import { provider } from "../app/provider.ts";
import { token } from "../app/token.ts";
import { appEvents, clock } from "../app/tokens.ts";
import { logger } from "../logger/module.ts";
import { metrics } from "../metrics/module.ts";
import type { CheckChange, HealthCheck } from "./check.ts";
import { eventLoopCheck } from "./event-loop-check.ts";
import { collectHealthMetrics } from "./health-metrics.ts";
import { createHealth, type Health } from "./health.ts";
import { heapCheck } from "./heap-check.ts";
import { healthSettings } from "./settings.ts";
import { StallMonitor } from "./stall-monitor.ts";

export const health = token("health").of<Health>();
/** Readiness checks; every module may add some. */
export const healthChecks = token("health.checks").listOf<HealthCheck>();

const provideHealth = provider({
  provides: health,
  needs: { clock, events: appEvents, log: logger, metrics, settings: healthSettings },
  ground: true,
  create: ({ clock: time, events, log, metrics: registry, settings }) => {
    const healthLog = log.named("health");
    const { maxStallMs, stallMemoryMs: memoryMs } = settings;
    const onStall = (tookMs: number): void =>
      healthLog.warn("event loop stalled", { tookMs: Math.round(tookMs), maxStallMs });
    const own = createHealth({
      ...settings,
      clock: time,
      stalls: maxStallMs > 0 ? new StallMonitor({ clock: time, maxStallMs, memoryMs, onStall }) : undefined,
      onChange: ({ name: check, critical, passing, cause: error, afterMs }: CheckChange) => {
        if (passing) healthLog.info("health check passes again", { check, critical, failedForMs: Math.round(afterMs) });
        else healthLog.warn("health check failed", { check, critical, error });
      },
    });
    collectHealthMetrics(registry, own);
    events.subscribe((event) => {
      if (event.type !== "state") return;
      if (event.state === "ready") own.setPhase("ready");
      else if (event.state === "draining") own.setPhase("draining");
      else if (event.state !== "starting") own.setPhase("stopped");
    });
    return own;
  },
  stop: (own) => own.close(),
});

const wired = token("health.wired").of<true>();

/** Ground things are up before any module's checks exist, so these are handed over afterwards. */
const provideWiring = provider({
  provides: wired,
  needs: { own: health, checks: healthChecks },
  create: ({ own, checks }) => {
    for (const check of checks) own.register(check);
    return true as const;
  },
  start: () => {},
});

const loopCheck = token("health.event-loop").of<ReturnType<typeof eventLoopCheck>>();

const provideLoopCheck = provider({
  provides: loopCheck,
  needs: { settings: healthSettings },
  create: ({ settings }) => eventLoopCheck({ maxDelayMs: settings.maxLoopDelayMs }),
  stop: (check) => check.close(),
});

const provideLoopChecks = provider({ provides: healthChecks, needs: { loopCheck }, create: (own) => own.loopCheck });

const provideHeapCheck = provider({
  provides: healthChecks,
  needs: { settings: healthSettings },
  create: ({ settings }) => heapCheck({ maxUsedRatio: settings.maxHeapRatio }),
});

/** The app's health with its built-in checks, and those that modules add. */
export const healthProviders = [
  provideHealth,
  provideWiring,
  provideLoopCheck,
  provideLoopChecks,
  provideHeapCheck,
] as const;
