// Plinth's gateway with one route to the origin: no token, no limit, no access log, as for the other proxies.
import { gateway, gatewayModuleOf } from "@plinth/gateway";
import { coreModule, createApp } from "@plinth/kernel";
import { createMemoryRegistry, createMemoryStore, registryModuleOf } from "@plinth/registry";
import { opsModule } from "@plinth/transport";
import { tellReady } from "./ready.ts";

const store = createMemoryStore();
const origin = createMemoryRegistry({ store });
await origin.register({
  service: "origin",
  id: "origin-1",
  host: "127.0.0.1",
  ports: { http: Number(process.env.ORIGIN_PORT) },
});

const app = createApp({
  name: "gateway",
  modules: [
    coreModule,
    opsModule,
    registryModuleOf((context) => createMemoryRegistry({ ...context, store })),
    gatewayModuleOf({ routes: [{ name: "item", match: { path: "/item" }, service: "origin", anonymous: true }] }),
  ],
  config: { defaults: { ops: { port: 0 }, gateway: { port: 0, accessLog: false } } },
});
process.exitCode = await app.run({ onReady: () => tellReady(app.get(gateway).port) });
await origin.close();
