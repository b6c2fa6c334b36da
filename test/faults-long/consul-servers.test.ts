// The servers behind the agent lose their leader, or most of themselves, while load flows.
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { describe } from "node:test";
import { startConsulFleet } from "../support/consul-fleet.ts";
import { faultTest } from "../support/fault-row.ts";
import { startMember, untilInUse } from "../support/fleet.ts";
import { until } from "../support/until.ts";

const leaderlessS = 12;

describe("the Consul servers fail", () => {
  for (const signal of ["SIGKILL", "SIGSTOP"] as const) {
    faultTest(
      {
        fault: `13 leader ${signal === "SIGKILL" ? "killed" : "hangs"}`,
        done: `the leader gets ${signal}, and is back ${signal === "SIGKILL" ? "when there is another" : "when it has been missed"}`,
      },
      async (witness) => {
        await using running = await startConsulFleet();
        const { cluster, fleet } = running;
        await running.untilPassing(2);
        const load = fleet.load();
        await load.untilMore(100);
        const leader = await cluster.untilLed();
        const lostAtMs = performance.now();
        await leader.kill(signal);
        if (signal === "SIGKILL") {
          const next = await cluster.untilLed();
          assert.notEqual(next, leader);
          witness.saw(`another after ${Math.round(performance.now() - lostAtMs)} ms`);
          await load.untilMore(100);
          await leader.restart();
        } else {
          await delay(6_000);
          await leader.kill("SIGCONT");
          await cluster.untilLed();
        }
        await load.untilMore(300);
        await running.untilPassing(2);
        witness.clean(await load.stop());
      },
    );
  }

  faultTest(
    {
      fault: "13 leaderless",
      done: "two of three servers are killed by SIGKILL, and come back",
      expected:
        "0 failed; stale reads go on; at most one request a second and watch; what came meanwhile is found after",
    },
    async (witness) => {
      await using running = await startConsulFleet();
      const { cluster, fleet } = running;
      await running.untilPassing(2);
      const load = fleet.load();
      await load.untilMore(100);
      const lost = cluster.servers.slice(0, 2);
      await Promise.all(lost.map((node) => node.kill("SIGKILL")));
      const asked = (): Promise<number> =>
        fleet.gateway.metric("registry_request_duration_seconds_count", { operation: "watch" });
      await load.untilMore(100);
      const before = await asked();
      await delay(leaderlessS * 1_000);
      const perSecond = ((await asked()) - before) / leaderlessS;
      witness.saw(`${perSecond.toFixed(2)} requests a second for the watch`);
      assert.ok(perSecond <= 1.2, `${perSecond} a second`);

      // Who comes now finds the others by what a server without a leader still knows, and is found itself once there is one.
      await using late = await startMember("fleet-gateway", fleet.environment);
      const newcomer = await fleet.add();
      await untilInUse(late, fleet.instances.slice(0, 2));
      witness.saw("a gateway that started meanwhile found the instances");

      await Promise.all(lost.map((node) => node.restart()));
      await cluster.untilLed();
      await running.untilPassing(3);
      await untilInUse(fleet.gateway, [newcomer]);
      await load.untilMore(200);
      witness.clean(await load.stop());
      await until(
        async () => (await fleet.gateway.metric("registry_set_stale", { service: "counted" })) === 0,
        "the set is confirmed again",
        30_000,
      );
    },
  );
});
