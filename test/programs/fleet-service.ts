// One of several instances behind a gateway, found through the registry that the environment names, run as a program by the tests of
// that. It counts how often each write has had its effect, so that one that was done twice is seen.
import { coreModule, createApp, defineModule, provider, z } from "@plinth/kernel";
import { httpModule, httpRoutes } from "@plinth/transport";
import { fleetClock, fleetRegistry } from "./fleet-clock.ts";

const { SERVICE = "counted" } = process.env;
const effects = new Map<string, number>();

const countedModule = defineModule("counted", [
  provider({
    provides: httpRoutes,
    create: () => (app) => {
      app.get("/items", () => ({ service: SERVICE, pid: process.pid }));
      app.post("/items", { schema: { body: z.object({ id: z.string() }) } }, ({ body }, reply) => {
        effects.set(body.id, (effects.get(body.id) ?? 0) + 1);
        return reply.code(201).send({ service: SERVICE });
      });
      app.get("/effects", () => Object.fromEntries(effects));
    },
  }),
]);

process.exitCode = await createApp({
  name: SERVICE,
  modules: [coreModule, fleetRegistry, httpModule, countedModule],
  clock: fleetClock,
}).run();
