// The agent that a gateway and its services ask fails in every way while load flows: it is killed, forgets, hangs, and is cut off.
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { describe } from "node:test";
import { faultTest } from "../support/fault-row.ts";
import { startFaultProxy } from "../support/fault-proxy.ts";
import { startConsulCluster } from "../support/consul-cluster.ts";
import { fleetRules, readerOf, startConsulFleet } from "../support/consul-fleet.ts";
import { startFleet } from "../support/fleet.ts";
import { until } from "../support/until.ts";

const recoveryLimitMs = 30_000;

/** Longer than the time to live of an entry, so that its checks have turned critical in the meantime. */
const outageMs = 8_000;

describe("the Consul agent fails", () => {
  for (const wipe of [false, true]) {
    faultTest(
      {
        fault: wipe ? "12 agent wiped" : "11 agent restarted",
        done: `killed by SIGKILL and started again ${wipe ? "without" : "with"} its data`,
        expected: "0 failed; all registered again within one heartbeat, once each",
      },
      async (witness) => {
        await using running = await startConsulFleet();
        const { cluster, fleet } = running;
        await running.untilPassing(2);
        const before = Object.keys(await running.listed()).toSorted();
        const load = fleet.load();
        await load.untilMore(100);
        await cluster.agent.kill("SIGKILL");
        await load.untilMore(200);
        await cluster.agent.restart({ wipe });
        const restartedAtMs = performance.now();
        await until(
          async () => (await running.heldBy(cluster.agent)).length === 2,
          "both are held by the agent again",
          recoveryLimitMs,
        );
        witness.saw(`held again after ${Math.round(performance.now() - restartedAtMs)} ms`);
        await running.untilPassing(2);
        await load.untilMore(200);
        const report = await load.stop();
        assert.deepEqual(Object.keys(await running.listed()).toSorted(), before, "under the same ids");
        witness.clean(report);
        await untilConfirmed(fleet.gateway);
      },
    );
  }

  faultTest(
    {
      fault: "11 agent hangs",
      done: `stopped by SIGSTOP for ${outageMs / 1_000} s, longer than entries live, then SIGCONT`,
      expected: "0 failed; the age of the set grows, and is told",
    },
    async (witness) => {
      await using running = await startConsulFleet();
      const { cluster, fleet } = running;
      await running.untilPassing(2);
      const load = fleet.load();
      await load.untilMore(100);
      await cluster.agent.kill("SIGSTOP");
      await delay(outageMs);
      const age = await fleet.gateway.metric("registry_set_age_seconds", { service: "counted" });
      const stale = await fleet.gateway.metric("registry_set_stale", { service: "counted" });
      witness.saw(`age ${age.toFixed(1)} s, stale ${stale}`);
      await cluster.agent.kill("SIGCONT");
      await load.untilMore(400);
      await running.untilPassing(2);
      await load.untilMore(300);
      witness.clean(await load.stop());
      assert.equal(stale, 1);
      assert.ok(age >= outageMs / 1_000 - 4, `an age of ${age} s`);
      await untilConfirmed(fleet.gateway);
    },
  );

  for (const what of ["everything", "answers"] as const) {
    faultTest(
      {
        fault: "11 network half-open",
        done: `${what === "everything" ? "nothing passes" : "no answer passes"} between the agent and all that ask it, and no connection ends`,
      },
      async (witness) => {
        await using cluster = await startConsulCluster();
        await using network = await startFaultProxy(() => cluster.agent.port, cluster.agent.host);
        const { secret } = await cluster.createToken(fleetRules);
        await using fleet = await startFleet({
          environment: { PLINTH_CONSUL_ADDR: `127.0.0.1:${network.port}`, PLINTH_CONSUL_TOKEN: secret },
        });
        const { untilPassing } = readerOf(cluster);
        await untilPassing(2);
        const load = fleet.load();
        await load.untilMore(100);
        network.freeze(what);
        await delay(outageMs);
        const errors = await fleet.gateway.metric("registry_watch_errors_total", { service: "counted" });
        network.thaw();
        await untilPassing(2);
        await load.untilMore(300);
        witness.clean(await load.stop());
        witness.saw(`${errors} failed tries to watch in ${outageMs / 1_000} s`);
        assert.ok(errors >= 1, "it was noticed");
        await untilConfirmed(fleet.gateway);
      },
    );
  }
});

/** The gateway has heard from the registry again. */
async function untilConfirmed(gateway: Awaited<ReturnType<typeof startFleet>>["gateway"]): Promise<void> {
  await until(
    async () => (await gateway.metric("registry_set_stale", { service: "counted" })) === 0,
    () => `the set is confirmed again; the gateway wrote:\n${gateway.log()}`,
    recoveryLimitMs,
  );
}
