// The token that all ask with is revoked, and another one comes by a file, while load flows.
import assert from "node:assert/strict";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe } from "node:test";
import { startConsulCluster } from "../support/consul-cluster.ts";
import { fleetRules, readerOf, startConsulFleet } from "../support/consul-fleet.ts";
import { faultTest } from "../support/fault-row.ts";
import { startFleet, untilInUse } from "../support/fleet.ts";
import { until } from "../support/until.ts";

const limitMs = 30_000;
const revokedMs = 10_000;

describe("the ACL token fails", () => {
  faultTest(
    {
      fault: "16 token revoked, then rotated",
      done: "the token is deleted in Consul; ten seconds later another one is written to its file",
      expected: "0 failed; refusals are counted; recovery without a restart",
    },
    async (witness) => {
      const folder = await mkdtemp(join(tmpdir(), "plinth-token-"));
      try {
        const tokenFile = join(folder, "token");
        await using cluster = await startConsulCluster();
        const { untilPassing } = readerOf(cluster);
        const first = await cluster.createToken(fleetRules);
        await writeFile(tokenFile, `${first.secret}\n`);
        const environment = { PLINTH_CONSUL_ADDR: cluster.agent.address, PLINTH_CONSUL_TOKEN_FILE: tokenFile };
        await using fleet = await startFleet({ environment });
        const { gateway } = fleet;
        await untilPassing(2);
        const load = fleet.load();
        await load.untilMore(100);

        await cluster.revoke(first);
        const denied = (): Promise<number> =>
          gateway.metric("registry_request_duration_seconds_count", { operation: "watch", outcome: "denied" });
        await until(async () => (await denied()) > 0, "the gateway is refused", limitMs);
        const before = await denied();
        await delay(revokedMs);
        const tries = (await denied()) - before;
        witness.saw(`${tries} refused tries to watch in ${revokedMs / 1_000} s`);
        assert.ok(tries <= revokedMs / 1_000, `${tries} tries: refused ones are not made as fast as they can be`);
        assert.equal(await gateway.metric("registry_set_stale", { service: "counted" }), 1);
        assert.match(gateway.log(), /ERR_REGISTRY_DENIED/);

        const second = await cluster.createToken(fleetRules);
        await writeFile(`${tokenFile}.next`, `${second.secret}\n`);
        await rename(`${tokenFile}.next`, tokenFile);
        const rotatedAtMs = performance.now();
        await until(
          async () => (await gateway.metric("registry_set_stale", { service: "counted" })) === 0,
          () => `the set is confirmed again; the gateway wrote:\n${gateway.log()}`,
          limitMs,
        );
        witness.saw(`confirmed ${Math.round(performance.now() - rotatedAtMs)} ms after the rotation`);
        await untilPassing(2);
        const third = await fleet.add();
        await untilInUse(gateway, [third]);
        await load.untilMore(100);
        witness.clean(await load.stop());
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  );

  faultTest(
    {
      fault: "16 policy withdrawn",
      done: "the token stays, and may read no service for fifteen seconds: Consul answers with an empty list",
      expected:
        "what Consul hides looks like what is gone: 0 failed while registrations of the same token tell that it is denied",
    },
    async (witness) => {
      await using running = await startConsulFleet();
      const { fleet } = running;
      await running.untilPassing(2);
      const load = fleet.load();
      await load.untilMore(100);
      await running.setRules('node_prefix "" { policy = "read" }');
      await delay(15_000);
      witness.saw(`${load.failed()} failed until then`);
      await running.setRules(fleetRules);
      await running.untilPassing(2);
      await untilInUse(fleet.gateway, fleet.instances);
      await load.untilMore(100);
      witness.clean(await load.stop());
    },
  );
});
