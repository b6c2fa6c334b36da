import { availableParallelism } from "node:os";
import { coreModule, createApp, defineModule, metrics, provider, z } from "@plinth/kernel";
import { httpModule, httpRoutes } from "@plinth/transport";

const params = z.object({ below: z.coerce.number().int().min(2).max(10_000_000) });

/** Work that keeps a processor busy, and with one process every other request waiting. */
function countPrimes(below: number): number {
  const isComposite = new Uint8Array(below);
  let count = 0;
  for (let number = 2; number < below; number++) {
    if (isComposite[number]) continue;
    count++;
    for (let multiple = number * number; multiple < below; multiple += number) isComposite[multiple] = 1;
  }
  return count;
}

const primesModule = defineModule("primes", [
  provider({
    provides: httpRoutes,
    needs: { own: metrics },
    create: ({ own }) => {
      const found = own.counter({ name: "primes_found_total", help: "Primes found." });
      return (app) => {
        app.get("/primes/:below", { schema: { params } }, (request) => {
          const count = countPrimes(request.params.below);
          found.inc({}, count);
          return { count, worker: process.pid };
        });
      };
    },
  }),
]);

const app = createApp({ name: "primes", modules: [coreModule, httpModule, primesModule] });
process.exitCode = await app.run({ workers: Number(process.env.WORKERS ?? availableParallelism()) });
