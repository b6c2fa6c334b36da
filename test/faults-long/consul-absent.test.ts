// There is no Consul when programs start, or there are no instances any more.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe } from "node:test";
import { startConsulFleet } from "../support/consul-fleet.ts";
import { faultTest } from "../support/fault-row.ts";
import { startFleetLoad, startMember, untilInUse } from "../support/fleet.ts";
import { ask } from "../support/http.ts";
import { asRecord } from "../support/json.ts";
import { until } from "../support/until.ts";

const limitMs = 30_000;
/** The floor of Consul, its reaper that looks every half minute, and some air. */
const reapedLimitMs = 130_000;

describe("there is no Consul, or nobody in it", () => {
  faultTest(
    {
      fault: "18 started with no Consul",
      done: "a gateway starts while its agent is down, then the agent comes",
      expected: "it lives, is not ready and answers 503 until the agent is there; then 0 failed",
    },
    async (witness) => {
      await using running = await startConsulFleet();
      const { cluster, fleet } = running;
      await running.untilPassing(2);
      await cluster.agent.kill("SIGKILL");
      await using gateway = await startMember("fleet-gateway", fleet.environment);
      const early = await ask(`${gateway.url}/items`).then(
        ({ status, json }) => `${status} ${String(asRecord(json())["reason"])}`,
        () => "not listening",
      );
      assert.equal((await ask(`${gateway.opsUrl}/ready`)).status, 503);
      witness.saw(`before: ${early}`);
      assert.ok(early === "not listening" || early === "503 no_instance", early);
      await cluster.agent.restart();
      await until(async () => (await ask(`${gateway.opsUrl}/ready`)).status === 200, "it is ready", limitMs);
      await untilInUse(gateway, fleet.instances);
      const load = startFleetLoad(gateway, fleet.instances, 100);
      await load.untilMore(200);
      witness.clean(await load.stop());
    },
  );

  faultTest(
    {
      fault: "18 started with no Consul, with a snapshot",
      done: "a gateway starts while its agent is down, on what it wrote to disk before",
      expected: "0 failed; ready, and stale until the agent is there",
    },
    async (witness) => {
      const folder = await mkdtemp(join(tmpdir(), "plinth-snapshot-"));
      try {
        const gatewayEnvironment = { PLINTH_REGISTRY_SNAPSHOT_FILE: join(folder, "registry.json") };
        await using running = await startConsulFleet({ gatewayEnvironment });
        const { cluster, fleet } = running;
        await running.untilPassing(2);
        await untilInUse(fleet.gateway, fleet.instances);
        fleet.gateway.program.signal("SIGTERM");
        assert.deepEqual(await fleet.gateway.program.exit, { code: 0, signal: null }, fleet.gateway.log());
        await cluster.agent.kill("SIGKILL");

        await using gateway = await startMember("fleet-gateway", { ...fleet.environment, ...gatewayEnvironment });
        await until(async () => (await ask(`${gateway.opsUrl}/ready`)).status === 200, "it is ready", limitMs);
        const load = startFleetLoad(gateway, fleet.instances, 100);
        await load.untilMore(200);
        const stale = (): Promise<number> => gateway.metric("registry_set_stale", { service: "counted" });
        assert.equal(await stale(), 1);
        await cluster.agent.restart();
        await until(async () => (await stale()) === 0, "it is confirmed", limitMs);
        await load.untilMore(200);
        witness.clean(await load.stop());
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  );

  faultTest(
    {
      fault: "23 services start before Consul",
      done: "two services and a gateway start while the agent is down, then it comes",
      expected: "0 failed from then on; each is registered once",
    },
    async (witness) => {
      await using running = await startConsulFleet({ instances: 0 });
      const { cluster, fleet } = running;
      await cluster.agent.kill("SIGKILL");
      await fleet.add();
      await fleet.add();
      await cluster.agent.restart();
      await running.untilPassing(2);
      assert.equal((await running.heldBy(cluster.agent)).length, 2);
      await untilInUse(fleet.gateway, fleet.instances);
      const load = fleet.load();
      await load.untilMore(200);
      witness.clean(await load.stop());
    },
  );

  faultTest(
    {
      fault: "23 instance killed",
      done: "one of two is ended by SIGKILL",
      expected:
        "0 failed; critical within its time to live, gone from Consul after deregisterAfterMs and the reaper's half minute",
      limitMs: reapedLimitMs + 60_000,
    },
    async (witness) => {
      await using running = await startConsulFleet();
      const { fleet } = running;
      await running.untilPassing(2);
      const load = fleet.load();
      await load.untilMore(100);
      const killedAtMs = performance.now();
      const sinceKilled = (): string => `${((performance.now() - killedAtMs) / 1_000).toFixed(1)} s`;
      fleet.instances[1]!.program.signal("SIGKILL");
      await until(async () => Object.values(await running.listed()).includes("critical"), "it is critical", limitMs);
      witness.saw(`critical after ${sinceKilled()}`);
      await load.untilMore(200);
      const report = await load.stop();
      await until(async () => Object.keys(await running.listed()).length === 1, "its entry is gone", reapedLimitMs);
      witness.saw(`gone after ${sinceKilled()}`);
      // Writes that it had taken when it was killed have no answer, and are nobody's to send again.
      const lost = Object.keys(report.failures).filter((why) => !/^502 upstream_reset$/.test(why));
      witness.count(report);
      assert.deepEqual(lost, [], JSON.stringify(report.failures));
      assert.ok(report.failed <= 16, `${report.failed} failed`);
    },
  );

  faultTest(
    {
      fault: "24 all instances leave",
      done: "both are told to stop, and deregister",
      expected: "503 no_instance, and never an old address; one that comes is found",
    },
    async (witness) => {
      await using running = await startConsulFleet();
      const { fleet } = running;
      await running.untilPassing(2);
      for (const { program } of fleet.instances) program.signal("SIGTERM");
      for (const { program, log } of fleet.instances) {
        assert.deepEqual(await program.exit, { code: 0, signal: null }, log());
      }
      const seen = new Set<string>();
      await until(
        async () => {
          const answer = await ask(`${fleet.gateway.url}/items`);
          const reason = `${answer.status} ${String(asRecord(answer.json())["reason"])}`;
          seen.add(reason);
          return (
            reason === "503 no_instance" &&
            (await fleet.gateway.metric("registry_instances", { service: "counted" })) === 0
          );
        },
        () => `no instance is known; answers: ${[...seen].join(", ")}`,
        limitMs,
      );
      witness.saw(`answers: ${[...seen].join(", ")}`);
      assert.deepEqual(
        [...seen].filter((reason) => !/^(?:503 no_instance|502 upstream_(?:unreachable|reset))$/.test(reason)),
        [],
      );
      const next = await fleet.add();
      await untilInUse(fleet.gateway, [next]);
    },
  );
});
