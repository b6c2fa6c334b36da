import type { App, AppOptions, BuiltIn } from "../app/app.ts";
import { createApp } from "../app/create-app.ts";
import type { Module, ProvidedBy } from "../app/module.ts";
import { MemoryLog } from "./memory-log.ts";

/** A started app that stops at the end of its `await using` block. */
export type TestApp<A extends App> = A & AsyncDisposable & { readonly logged: MemoryLog };

/**
 * Starts an app for a test: nothing from the real environment, no announce delay, log kept in memory.
 *
 * @example await using app = await testApp({ name: "notes", modules: [coreModule, notesModule] });
 */
export async function testApp<const M extends readonly Module[]>(
  options: AppOptions<M>,
): Promise<TestApp<App<ProvidedBy<M[number]> | BuiltIn>>> {
  const logged = new MemoryLog();
  const { defaults, ...sources } = options.config ?? {};
  const app = createApp<M>({
    logDestination: logged,
    ...options,
    config: {
      environment: {},
      defaults: { ...defaults, lifecycle: { announceDelayMs: 0, ...asObject(defaults?.lifecycle) } },
      ...sources,
    },
  });
  await app.start();
  return Object.assign(app, { logged, [Symbol.asyncDispose]: () => app.stop() });
}

function asObject(value: unknown): object {
  return typeof value === "object" && value !== null ? value : {};
}
