import { describe, it } from "node:test";
import type { NewInstance, Registry } from "../registry.ts";
import { filtering } from "./suite-filter.ts";
import type { Define } from "./suite-context.ts";
import { lookingUp } from "./suite-lookup.ts";
import { registering } from "./suite-register.ts";

/** One place where instances are kept, and ways into it. */
export interface RegistryWorld extends AsyncDisposable {
  /** Opens another registry on the same instances, as another process would. The suite closes it. */
  open(): Registry;
  /** How an instance is put there, where registering does not do it; returns how to take it away. Default: by registering it. */
  readonly give?: ((instance: NewInstance) => () => void) | undefined;
}

/**
 * What every registry must do, as tests for `node:test`. Registries must tell changes and ask `readiness` well within a second,
 * so open them with short times.
 *
 * @param createWorld - Called once for each test.
 * @param options.parts - Which halves it takes. A registry that only finds what others have written down takes `finding`. Default: both.
 * @example registrySuite("memory", async () => worldOn(createMemoryStore()));
 */
export function registrySuite(
  name: string,
  createWorld: () => Promise<RegistryWorld>,
  { parts = ["registering", "finding"] }: { readonly parts?: readonly ("registering" | "finding")[] } = {},
): void {
  let tests = 0;
  const define: Define = (title, test) => {
    const service = `suite-${++tests}`;
    it(title, { timeout: 30_000 }, async () => {
      await using world = await createWorld();
      const [mine, other] = [world.open(), world.open()];
      try {
        await test({
          mine,
          other,
          service,
          give: world.give
            ? async (given) => {
                const takeAway = world.give?.(given);
                return async () => takeAway?.();
              }
            : async (given) => {
                const registration = await other.register(given);
                return () => registration.deregister();
              },
          instance: (id, more = {}) => ({ service, id, host: "127.0.0.1", ports: { http: 3_000 }, ...more }),
        });
      } finally {
        await Promise.all([mine.close(), other.close()]);
      }
    });
  };
  describe(`${name} registry`, () => {
    if (parts.includes("registering")) registering(define);
    if (!parts.includes("finding")) return;
    lookingUp(define);
    filtering(define);
  });
}
