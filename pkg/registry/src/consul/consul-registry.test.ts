import { after, before } from "node:test";
import { type ConsulAgent, startConsul } from "../../../../scripts/servers/index.ts";
import { registrySuite } from "../testing/index.ts";
import { createConsulRegistry } from "./consul-registry.ts";

let agent: ConsulAgent;
before(async () => {
  agent = await startConsul();
});
after(() => agent.stop());

registrySuite("consul", async () => ({
  open: () =>
    createConsulRegistry({
      address: agent.address,
      ttlMs: 600,
      emptyConfirmMs: 150,
      waitMs: 5_000,
      maxRequestsPerSecond: 50,
    }),
  [Symbol.asyncDispose]: async () => {},
}));
