import type { Clock } from "@plinth/kernel";
import type { RegisterOptions } from "./registry.ts";

/** Asks whether an instance should get traffic. Throwing, or taking longer than `limitMs`, counts as no. */
export async function askReadiness(
  isReady: NonNullable<RegisterOptions["isReady"]>,
  { clock, limitMs }: { readonly clock: Clock; readonly limitMs: number },
): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = clock.schedule(limitMs, () => late.resolve(false), { keepAlive: false });
  const answer = (async () => isReady())().catch(() => false); // the app's own health check has told why
  try {
    return await Promise.race([answer, late.promise]);
  } finally {
    timer.cancel();
  }
}
