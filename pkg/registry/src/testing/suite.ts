import { describe, it } from "node:test";
import type { Registry } from "../registry.ts";
import type { Define } from "./suite-context.ts";
import { lookingUp } from "./suite-lookup.ts";
import { registering } from "./suite-register.ts";

/** One place where instances are kept, and ways into it. */
export interface RegistryWorld extends AsyncDisposable {
  /** Opens another registry on the same instances, as another process would. The suite closes it. */
  open(): Registry;
}

/**
 * What every registry must do, as tests for `node:test`. Registries must tell changes and ask `readiness` well within a second,
 * so open them with short times.
 *
 * @param createWorld - Called once for each test.
 * @example registrySuite("memory", async () => worldOn(createMemoryStore()));
 */
export function registrySuite(name: string, createWorld: () => Promise<RegistryWorld>): void {
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
          instance: (id, more = {}) => ({ service, id, host: "127.0.0.1", ports: { http: 3_000 }, ...more }),
        });
      } finally {
        await Promise.all([mine.close(), other.close()]);
      }
    });
  };
  describe(`${name} registry`, () => {
    registering(define);
    lookingUp(define);
  });
}
