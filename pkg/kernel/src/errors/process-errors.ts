import { z } from "zod";
import type { LiveSettings } from "../app/needs.ts";
import type { ProcessErrors } from "../app/runnable.ts";
import type { Clock } from "../clock.ts";
import { defineSettings } from "../config/settings.ts";
import type { Logger } from "../logger/logger.ts";
import { AppError } from "./app-error.ts";
import type { ErrorBus } from "./error-bus.ts";
import { withoutNumbers } from "./fingerprint.ts";
import { Ring } from "./ring.ts";
import { fieldOf, messageOf } from "./thrown.ts";

const policy = (what: string): z.ZodDefault<z.ZodEnum<{ stop: "stop"; keep: "keep" }>> =>
  z
    .enum(["stop", "keep"])
    .default("stop")
    .meta({
      description: `What ${what} does: \`stop\` stops the app in order, with exit code 1; \`keep\` reports it and goes on.`,
    });

/** What errors do to the process that nobody has dealt with. */
export const processSettings = defineSettings(
  "process",
  z.strictObject({
    uncaughtException: policy("an exception that nobody catches"),
    unhandledRejection: policy("a rejected promise that nobody handles"),
    maxKept: z.int().min(1).max(10_000).default(30).meta({
      description: "Of those kept, so many in a minute; the next one stops the app all the same.",
    }),
  }),
  { reloadable: ["uncaughtException", "unhandledRejection", "maxKept"] },
);

const windowMs = 60_000;
/** Different warnings that are reported; they come from code, and are few. */
const maxWarnings = 100;

interface ProcessPolicy {
  readonly uncaughtException: "stop" | "keep";
  readonly unhandledRejection: "stop" | "keep";
  readonly maxKept: number;
}

export interface ProcessErrorsOptions {
  readonly errors: ErrorBus;
  readonly settings: Pick<LiveSettings<ProcessPolicy>, "current">;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Takes to the error bus what happens to the process, and says whether that goes on. */
export function createProcessErrors({ errors, settings, clock, log }: ProcessErrorsOptions): ProcessErrors {
  const keptAtMs = new Ring<number>();
  const warnings = new Set<string>();
  return {
    keeps(event, error) {
      const { maxKept, [event]: what } = settings.current;
      if (what === "stop") return false;
      const nowMs = clock.monotonicMs();
      while (keptAtMs.size > 0 && nowMs - (keptAtMs.first ?? 0) >= windowMs) keptAtMs.shift();
      if (keptAtMs.size >= maxKept) {
        log.error("stopping, though errors of the process are kept: there are too many in a minute", {
          maxKept,
          event,
        });
        return false;
      }
      keptAtMs.push(nowMs);
      // Node calls from where the error came, so that the report has the ids of the request
      errors.report(error, { origin: "process", handled: false, attributes: { event } });
      return true;
    },
    warn(warning) {
      const name = fieldOf(warning, "name");
      const text = `${typeof name === "string" ? name : "Warning"}: ${messageOf(warning)}`;
      // A reporter may cause the same warning each time it is told of one.
      const key = withoutNumbers(text);
      if (warnings.has(key) || warnings.size >= maxWarnings) return;
      warnings.add(key);
      const error = AppError.internal("ERR_PROCESS_WARNING", text, { cause: warning });
      errors.report(error, { origin: "process", severity: "warning" });
    },
    flushSync: () => errors.flushSync(),
  };
}
