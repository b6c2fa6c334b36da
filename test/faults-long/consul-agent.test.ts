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

const tenMinutesS = 600;
const rate = 40;

/** Longer than the time to live of an entry, so that its checks have turned critical in the meantime. */
const outageMs = 8_000;
/** Longer than a service must be without instances for the last ones to be dropped. */
const deadNodeMs = 12_000;

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
      fault: "11 agent stopped 10 min",
      done: `killed by SIGKILL; ten minutes of the registries' time pass, ${rate} times as fast; started again`,
      expected: "0 failed; ready and stale throughout; at most one try a second and watch, and one for each heartbeat",
    },
    async (witness) => {
      const environment = { CLOCK_SCRIPT: `rate ${rate}, rate 1` };
      await using running = await startConsulFleet({ environment });
      const { cluster, fleet } = running;
      const { gateway } = fleet;
      const all = [gateway, ...fleet.instances];
      const warp = async (printed: string): Promise<void> => {
        for (const { program } of all) program.signal("SIGUSR2");
        for (const { program } of all) await program.untilPrinted(printed, recoveryLimitMs);
      };
      const age = (): Promise<number> => gateway.metric("registry_set_age_seconds", { service: "counted" });
      await running.untilPassing(2);
      const load = fleet.load();
      await load.untilMore(100);
      await cluster.agent.kill("SIGKILL");
      await warp(`clock:rate ${rate}`);
      await until(async () => (await age()) > tenMinutesS, "ten minutes have passed", 60_000);
      const [aged, stale, watchErrors, beatErrors] = await Promise.all([
        age(),
        gateway.metric("registry_set_stale", { service: "counted" }),
        gateway.metric("registry_watch_errors_total", { service: "counted" }),
        fleet.instances[0]!.metric("registry_registration_errors_total"),
      ]);
      await warp("clock: rate 1");
      witness.saw(`age ${Math.round(aged)} s; ${watchErrors} tries to watch, ${beatErrors} to register`);
      await cluster.agent.restart();
      await running.untilPassing(2);
      await load.untilMore(200);
      witness.clean(await load.stop());
      assert.equal(stale, 1);
      assert.ok(watchErrors > 20 && watchErrors < tenMinutesS, `${watchErrors} tries to watch`);
      // As often as heartbeats, which come every 1.5 s, but for the first few; the clock has run on while it was read.
      const beats = aged / 1.5;
      assert.ok(
        beatErrors > 0.3 * beats && beatErrors < 1.1 * beats + 20,
        `${beatErrors} tries in ${beats} heartbeats`,
      );
      await untilConfirmed(gateway);
    },
  );

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

  faultTest(
    {
      fault: "11 agent of the services dies",
      done: `the gateway asks another agent; that of both services is killed by SIGKILL for ${deadNodeMs / 1_000} s: Consul takes its machine for dead`,
      expected: "0 failed: nothing says that the services are dead",
    },
    async (witness) => {
      await using cluster = await startConsulCluster({ agents: 2 });
      const [ofServices, ofGateway] = cluster.agents;
      assert.ok(ofServices && ofGateway);
      const { secret } = await cluster.createToken(fleetRules);
      await using fleet = await startFleet({
        environment: { PLINTH_CONSUL_ADDR: ofServices.address, PLINTH_CONSUL_TOKEN: secret },
        gatewayEnvironment: { PLINTH_CONSUL_ADDR: ofGateway.address },
      });
      const { untilPassing, listed } = readerOf(cluster);
      await untilPassing(2);
      const load = fleet.load();
      await load.untilMore(100);
      await ofServices.kill("SIGKILL");
      await until(
        async () => Object.values(await listed()).every((state) => state === "critical"),
        "Consul takes the machine for dead",
        60_000,
      );
      await delay(deadNodeMs);
      witness.saw(`after it: ${load.failed()} failed`);
      await ofServices.restart();
      await untilPassing(2);
      await load.untilMore(200);
      witness.clean(await load.stop());
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
