import type { Clock } from "@plinth/kernel";
import type { Readiness, RegisterOptions } from "./registry.ts";

/** Asks how an instance does. Throwing, or taking longer than `limitMs`, counts as critical. */
export async function askReadiness(
  readiness: NonNullable<RegisterOptions["readiness"]>,
  { clock, limitMs }: { readonly clock: Clock; readonly limitMs: number },
): Promise<Readiness> {
  const late = Promise.withResolvers<Readiness>();
  const timer = clock.schedule(limitMs, () => late.resolve("critical"), { keepAlive: false });
  const answer = (async () => readiness())().catch((): Readiness => "critical"); // the app's own health check has told why
  try {
    return await Promise.race([answer, late.promise]);
  } finally {
    timer.cancel();
  }
}
