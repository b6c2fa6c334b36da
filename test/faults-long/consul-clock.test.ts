// Somebody sets the clock of the machine, forward and back, while load flows: nothing that the registry waits for hangs on it.
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { describe } from "node:test";
import { startConsulFleet } from "../support/consul-fleet.ts";
import { faultTest } from "../support/fault-row.ts";

const minuteMs = 60_000;
/** More than an entry lives without heartbeats. */
const settledMs = 8_000;

describe("the clock is set", () => {
  faultTest(
    {
      fault: "33 clock steps",
      done: "the clocks of the gateway and both services go five minutes forward, ten back, five forward",
      expected: "0 failed; heartbeats go on, and ages are right",
    },
    async (witness) => {
      const environment = { CLOCK_SCRIPT: `step ${5 * minuteMs}, step ${-10 * minuteMs}, step ${5 * minuteMs}` };
      await using running = await startConsulFleet({ environment });
      const { fleet } = running;
      await running.untilPassing(2);
      const load = fleet.load();
      await load.untilMore(100);
      for (const by of [5, -10]) {
        for (const { program } of [fleet.gateway, ...fleet.instances]) program.signal("SIGUSR2");
        for (const { program } of [fleet.gateway, ...fleet.instances]) {
          await program.untilPrinted(`step ${by * minuteMs}`, 10_000);
        }
        await delay(settledMs);
        assert.deepEqual(Object.values(await running.listed()), ["passing", "passing"]);
        const age = await fleet.gateway.metric("registry_set_age_seconds", { service: "counted" });
        assert.ok(age >= 0 && age < 60, `an age of ${age} s`);
      }
      witness.clean(await load.stop());
      for (const { metric } of fleet.instances) assert.equal(await metric("registry_registration_errors_total"), 0);
    },
  );
});
