import {
  appEvents,
  appInfo,
  defineModule,
  logger,
  metrics,
  provider,
  token,
  spanSinks,
  type SpanSink,
} from "@plinth/kernel";
import { exportOptionsOf } from "./export-options.ts";
import { watchForeignSdk } from "./foreign-sdk.ts";
import { offerToPreload, takeFromPreload } from "./preload-link.ts";
import { createTelemetry, type Telemetry } from "./provider.ts";
import { telemetrySettings } from "./settings.ts";

/** `off` when no exporter is configured. */
export const telemetry = token("telemetry").of<Telemetry | "off">();

const provideTelemetry = provider({
  provides: telemetry,
  needs: { info: appInfo, events: appEvents, settings: telemetrySettings, log: logger, metrics },
  ground: true,
  create: async ({ info, events, settings, log: root, metrics: own }) => {
    const log = root.named("telemetry");
    const options = await exportOptionsOf(settings, info.environment);
    watchForeignSdk(events, options?.url, (what) => log.warn(what));
    if (options === undefined) return "off";
    if (options.ignored.length > 0)
      log.warn("variables of OpenTelemetry that do nothing here; unset them", { variables: options.ignored });
    const made = await createTelemetry({ settings: options, service: info, log, metrics: own });
    offerToPreload(made);
    return made;
  },
  stop: async (own) => {
    if (own === "off") return;
    takeFromPreload(own);
    await own.close();
  },
});

const offer = provider({
  provides: spanSinks,
  needs: { own: telemetry },
  create: ({ own }): SpanSink | undefined => (own === "off" ? undefined : own),
});

/** Exports the kernel's spans when a collector is configured; costs nothing when none is. */
export const telemetryModule = defineModule("telemetry", [provideTelemetry, offer]);
