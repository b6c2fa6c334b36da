import { z } from "zod";
import { live } from "../app/needs.ts";
import { provider } from "../app/provider.ts";
import { token } from "../app/token.ts";
import { appInfo, appLog } from "../app/tokens.ts";
import { defineSettings } from "../config/settings.ts";
import { loggerNamePattern, logThresholds } from "./level-table.ts";
import { metrics } from "../metrics/module.ts";
import { type Logger, logLevels } from "./logger.ts";
import { createLogger } from "./pino.ts";
import { redactPattern } from "./redaction.ts";
import { standardOutput } from "./standard-output.ts";

export const logger = token("logger").of<Logger>();

/** What is wrong with a key of `log.levels`; of a level, the schema says it. */
const badLoggerName = ({ code }: { readonly code: string }): string | undefined =>
  code === "invalid_key"
    ? "expected a logger's name: letters, digits, _ and -, with dots between its parts"
    : undefined;

export const logSettings = defineSettings(
  "log",
  z.strictObject({
    level: z.enum(logLevels).default("info").meta({ description: "Lines below this level are not written." }),
    format: z
      .enum(["auto", "json", "pretty"])
      .default("auto")
      .meta({ description: "`auto` is `pretty` in a terminal, else `json`." }),
    levels: z
      .record(z.string().regex(loggerNamePattern), z.enum(logThresholds), { error: badLoggerName })
      .default({})
      .meta({
        description:
          'Level by name of the logger, such as `{"database": "debug", "http.access": "off"}`; it holds for the names below it too, the longest wins.',
      }),
    redact: z
      .array(z.string().regex(redactPattern, "expected names joined by dots, `*` for any one of them"))
      .default([])
      .meta({
        description:
          "Paths of values that are never written, such as `user.email` or `payment.*.number`; `*` is any one name.",
      }),
    redactNames: z.array(z.string().min(1)).default([]).meta({
      description:
        "Fields that are never written, at any depth and in any case, beside `password`, `token` and the like.",
    }),
  }),
  { reloadable: ["level", "levels"] },
);

export const provideLogger = provider({
  provides: logger,
  needs: { info: appInfo, settings: live(logSettings), early: appLog },
  ground: true,
  create: async ({ info, settings, early }) => {
    const fields = { service: info.name };
    const log = await createLogger({ ...settings.current, fields, destination: info.logDestination });
    settings.subscribe((next) => log.setLevels(next));
    early.attach(log);
    return log;
  },
  // no hook flushes it: the app does in the end, whatever becomes of the last lines
});

const logMetrics = token("logger.metrics").of<true>();

export const provideLogMetrics = provider({
  provides: logMetrics,
  needs: { info: appInfo, own: metrics },
  ground: true,
  create: ({ info, own }) => {
    const destination = info.logDestination ?? standardOutput();
    own.counter({
      name: "log_lines_dropped_total",
      help: "Log lines that could not be written, because the output failed, or was too slow for too long.",
      collect: (counter) => counter.set({}, destination.linesLost ?? 0),
    });
    return true as const;
  },
});
