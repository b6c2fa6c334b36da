import { z } from "zod";
import { provider } from "../app/provider.ts";
import { token } from "../app/token.ts";
import { appEvents, clock } from "../app/tokens.ts";
import { defineSettings } from "../config/settings.ts";
import { logger } from "../logger/module.ts";
import { createHealth, type Health, type HealthCheck } from "./health.ts";

export const health = token("health").of<Health>();
/** Readiness checks; every module may add some. */
export const healthChecks = token("health.checks").listOf<HealthCheck>();

export const healthSettings = defineSettings(
  "health",
  z.strictObject({
    cacheMs: z
      .number()
      .min(0)
      .max(60_000)
      .default(1_000)
      .meta({ description: "How long a verdict of the readiness checks is kept, in ms." }),
  }),
);

export const provideHealth = provider({
  provides: health,
  needs: { clock, events: appEvents, log: logger, settings: healthSettings },
  ground: true,
  create: ({ clock: time, events, log, settings }) => {
    const healthLog = log.named("health");
    const own = createHealth({
      clock: time,
      cacheMs: settings.cacheMs,
      onFailure: (check, error) => healthLog.warn("health check failed", { check, error }),
    });
    events.subscribe((event) => {
      if (event.type !== "state") return;
      if (event.state === "ready") own.setState("ready");
      else if (event.state === "draining") own.setState("draining");
      else if (event.state !== "starting") own.setState("stopped");
    });
    return own;
  },
});

const wired = token("health.wired").of<true>();

/** Ground things are up before any module's checks exist, so these are handed over afterwards. */
export const provideHealthChecks = provider({
  provides: wired,
  needs: { own: health, checks: healthChecks },
  create: ({ own, checks }) => {
    for (const check of checks) own.register(check);
    return true as const;
  },
  start: () => {},
});
