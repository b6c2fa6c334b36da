// More watches than an agent takes connections of one address: 200, unless its config says otherwise.
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { describe } from "node:test";
import { createConsulRegistry, type RegistryEvent } from "@plinth/registry";
import { startConsul } from "../../scripts/servers/index.ts";
import { faultTest } from "../support/fault-row.ts";

const services = 250;
const watchedMs = 10_000;

describe("connections to the agent run out", () => {
  faultTest(
    {
      fault: "connections used up",
      done: `one process watches ${services} services by an agent that takes 200 connections of one address`,
      expected: "every service is known; the process's own registration is never lost",
    },
    async (witness) => {
      await using consul = await startConsul();
      const events: RegistryEvent[] = [];
      const registry = createConsulRegistry({
        address: consul.address,
        ttlMs: 4_000,
        onEvent: (event) => events.push(event),
      });
      try {
        const views = Array.from({ length: services }, (_, at) => registry.follow(`service-${at}`));
        await Promise.all(views.map((view) => view.ready));
        const registration = await registry.register({
          service: "own",
          id: "own-1",
          host: "127.0.0.1",
          ports: { http: 3_000 },
        });
        await delay(watchedMs);
        assert.equal(registration.state, "registered");
        assert.ok(!events.some((event) => event.type === "registration_failed"), "no heartbeat failed");
        const refused = events.filter(({ type }) => type === "watch_failed").length;
        witness.saw(`${refused} refused tries to watch in ${watchedMs / 1_000} s`);
        assert.ok(refused > 0, "the agent did refuse some");
      } finally {
        await registry.close();
      }
    },
  );
});
