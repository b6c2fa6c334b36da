import type { App, AppOptions, BuiltIn } from "../app/app.ts";
import { createApp } from "../app/create-app.ts";
import type { Module, ProvidedBy } from "../app/module.ts";
import { isError } from "../errors/app-error.ts";
import { MemoryLog } from "./memory-log.ts";
import { TeeLog } from "./tee-log.ts";
import { warningsIn } from "./warnings.ts";

/** A started app that stops at the end of its `await using` block. `logged` has its log lines, also with a `logDestination` of its own. */
export type TestApp<A extends App> = A & AsyncDisposable & { readonly logged: MemoryLog };

/**
 * Starts an app for a test: nothing from the real environment, no announce delay, log kept in memory.
 *
 * @throws what {@link App.start} throws. Its property `logged` holds the last 20 log lines at level warn and above as texts, for
 * the output of the test, where there are any that say more than the error does.
 * @example await using app = await testApp({ name: "notes", modules: [coreModule, notesModule] });
 */
export async function testApp<const M extends readonly Module[]>(
  options: AppOptions<M>,
): Promise<TestApp<App<ProvidedBy<M[number]> | BuiltIn>>> {
  const logged = new MemoryLog();
  const { defaults, ...sources } = options.config ?? {};
  const app = createApp<M>({
    ...options,
    logDestination: options.logDestination ? new TeeLog(logged, options.logDestination) : logged,
    config: {
      environment: {},
      defaults: { ...defaults, lifecycle: { announceDelayMs: 0, ...asObject(defaults?.lifecycle) } },
      ...sources,
    },
  });
  try {
    await app.start();
  } catch (error) {
    const warnings = warningsIn(logged, error);
    if (warnings.length > 0) attach(error, warnings);
    throw error;
  }
  return Object.assign(app, { logged, [Symbol.asyncDispose]: () => app.stop() });
}

/** Nothing, where what was thrown takes no property. */
function attach(error: unknown, logged: readonly string[]): void {
  if (isError(error)) Reflect.defineProperty(error, "logged", { value: logged, enumerable: true, configurable: true });
}

function asObject(value: unknown): object {
  return typeof value === "object" && value !== null ? value : {};
}
