// A gateway whose event loop can be blocked, run as a program by the test of that: SIGUSR2 blocks it for `STALL_MS` milliseconds.
// Its instances are on the ports `INSTANCE_PORTS`; it prints where it listens.
import { gateway, gatewayModuleOf } from "@plinth/gateway";
import { coreModule, createApp, defineModule, provider, token } from "@plinth/kernel";
import { registry, registryModule } from "@plinth/registry";
import { opsModule } from "@plinth/transport";
import { block } from "../support/block.ts";

const { INSTANCE_PORTS = "", STALL_MS = "0", PLINTH_HTTP_PORT = "0" } = process.env;

const instances = provider({
  provides: token("instances").of<true>(),
  needs: { registry },
  create: async ({ registry: own }) => {
    for (const port of INSTANCE_PORTS.split(",").map(Number))
      await own.register({ service: "s", id: `s-${port}`, host: "127.0.0.1", ports: { http: port } });
    return true as const;
  },
  start: () => {},
});

const app = createApp({
  name: "stalling-gateway",
  modules: [
    coreModule,
    opsModule,
    registryModule,
    defineModule("instances", [instances]),
    gatewayModuleOf({ routes: [{ name: "all", match: { path: "/**" }, service: "s", anonymous: true }] }),
  ],
  config: { defaults: { gateway: { port: 0 }, ops: { port: Number(PLINTH_HTTP_PORT) } } },
});
process.on("SIGUSR2", () => block(Number(STALL_MS)));
process.exitCode = await app.run({
  onReady: () =>
    void process.stdout.write(`${JSON.stringify({ gateway: `http://127.0.0.1:${app.get(gateway).port}` })}\n`),
});
