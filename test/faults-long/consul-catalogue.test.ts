// The catalogue says what is not so, or says it in a way that makes no sense, while load flows.
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { describe } from "node:test";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { ScriptedAgent, type ScriptedAnswer, type ScriptedRequest } from "../../pkg/registry/src/testing/index.ts";
import { startConsulFleet } from "../support/consul-fleet.ts";
import { faultTest } from "../support/fault-row.ts";
import { type Member, startFleetLoad, startMember, untilInUse } from "../support/fleet.ts";
import { ask } from "../support/http.ts";
import { asRecord } from "../support/json.ts";
import { until } from "../support/until.ts";

const gameS = 6;

interface Game {
  readonly request: ScriptedRequest;
  /** Answers before this one. */
  readonly turn: number;
  readonly entries: readonly Record<string, unknown>[];
}

/** What an agent must not do, each answered at once, as if there were always something new. */
const games: Readonly<Record<string, (game: Game) => ScriptedAnswer>> = {
  "the index goes backwards each time": ({ turn, entries }) => ({ index: 1_000_000 - turn, body: entries }),
  "the index is 0": ({ entries }) => ({ index: 0, body: entries }),
  "the index is missing": ({ entries }) => ({ body: entries }),
  "the same data with a new index": ({ turn, entries }) => ({ index: turn + 1, body: entries }),
  "a changed tag in each answer": ({ turn, entries }) => ({
    index: turn + 1,
    body: entries.map((entry) => ({ ...entry, Service: { ...asRecord(entry["Service"]), Tags: [`turn-${turn}`] } })),
  }),
  "every other answer is no JSON": ({ turn, entries }) => ({
    index: turn + 1,
    body: turn % 2 === 0 ? entries : '[{"Service":',
  }),
};

function entryOf({ port, program }: Member): Record<string, unknown> {
  return {
    Node: { Node: "scripted", Address: "127.0.0.1" },
    Service: { ID: `counted-${program.pid}`, Service: "counted", Address: "127.0.0.1", Port: port, Tags: [], Meta: {} },
    Checks: [{ CheckID: "serfHealth", Status: "passing", ServiceID: "" }],
  };
}

describe("the catalogue is wrong", () => {
  faultTest(
    {
      fault: "15 ghosts",
      done: "as many dead instances are listed as live ones, with no check that finds out",
    },
    async (witness) => {
      await using running = await startConsulFleet();
      const { cluster, fleet } = running;
      await running.untilPassing(2);
      const load = fleet.load();
      await load.untilMore(100);
      const ghosts = await findFreePorts(2);
      for (const port of ghosts) {
        const body = { ID: `ghost-${port}`, Name: "counted", Address: "127.0.0.1", Port: port };
        await cluster.ask(cluster.agent, "/v1/agent/service/register", { method: "PUT", body });
      }
      await until(
        async () => (await fleet.gateway.metric("registry_instances", { service: "counted" })) === 4,
        "the gateway knows of the ghosts",
        20_000,
      );
      await load.untilMore(500);
      witness.clean(await load.stop());
    },
  );

  faultTest(
    {
      fault: "15 instance not listed yet",
      done: "a live instance is added",
      expected: "0 failed; used within a second of being listed",
    },
    async (witness) => {
      await using running = await startConsulFleet();
      const { fleet } = running;
      await running.untilPassing(2);
      const load = fleet.load();
      await load.untilMore(100);
      const third = await fleet.add();
      await running.untilPassing(3);
      const listedAtMs = performance.now();
      await untilInUse(fleet.gateway, [third]);
      witness.saw(`used ${Math.round(performance.now() - listedAtMs)} ms after it was listed`);
      await load.untilMore(100);
      witness.clean(await load.stop());
    },
  );

  faultTest(
    {
      fault: "24 address taken over",
      done: "one of two instances is killed by SIGKILL, and another service takes its port, while Consul lists it still",
      expected: "0 failed; no call reaches the other service; the entry turns critical",
    },
    async (witness) => {
      const environment = { PLINTH_REGISTRY_CHECK: "http", PLINTH_REGISTRY_CHECK_INTERVAL_MS: "1000" };
      await using running = await startConsulFleet({ environment });
      const { fleet } = running;
      await running.untilPassing(2);
      const load = fleet.load();
      await load.untilMore(100);
      const killed = fleet.instances[1]!;
      killed.program.signal("SIGKILL");
      await killed.program.exit;
      await using stranger = await startMember("fleet-service", {
        SERVICE: "stranger",
        PLINTH_HTTP_PORT: String(killed.port),
      });
      await until(
        async () => Object.values(await running.listed()).includes("critical"),
        "the entry of the dead one is critical",
        20_000,
      );
      await load.untilMore(300);
      const report = await load.stop();
      const served = "http_server_request_duration_seconds_count";
      const [reads, writes, refused] = await Promise.all(
        ["200", "201", "421"].map((status) =>
          stranger.metric(served, { status, ...(status === "421" ? {} : { route: "/items" }) }),
        ),
      );
      witness.saw(`${reads! + writes!} calls reached the other service, ${refused!} were refused there`);
      witness.count(report);
      assert.equal(reads! + writes!, 0);
      assert.deepEqual((await ask(`${stranger.url}/effects`)).json(), {});
      // What was under way when it was killed has no answer, and writes are nobody's to send again.
      assert.deepEqual(
        Object.keys(report.failures).filter((why) => why !== "502 upstream_reset"),
        [],
        JSON.stringify(report.failures),
      );
      assert.ok(report.failed <= 16, `${report.failed} failed`);
    },
  );

  faultTest(
    {
      fault: "17 malformed entries",
      done: "entries with a port that is no number, an address that is none, and no port at all are registered",
      expected: "0 failed; they are skipped and counted, and the next instance is found",
    },
    async (witness) => {
      await using running = await startConsulFleet();
      const { cluster, fleet } = running;
      await running.untilPassing(2);
      const load = fleet.load();
      await load.untilMore(100);
      const entries = [
        { ID: "bad-1", Name: "counted", Address: "127.0.0.1", Port: 1, Meta: { "plinth-http-port": "eighty" } },
        { ID: "bad-2", Name: "counted", Address: "not an address", Port: 80 },
        { ID: "bad-3", Name: "counted", Address: "127.0.0.1", Port: 0 },
      ];
      for (const body of entries) {
        await cluster.ask(cluster.agent, "/v1/agent/service/register", { method: "PUT", body });
      }
      const skipped = (): Promise<number> =>
        fleet.gateway.metric("registry_entries_skipped_total", { service: "counted" });
      await until(async () => (await skipped()) === entries.length, "each is counted once", 20_000);
      const third = await fleet.add();
      await untilInUse(fleet.gateway, [third]);
      await load.untilMore(200);
      witness.clean(await load.stop());
      assert.equal(await skipped(), entries.length, "and not again with each answer");
    },
  );

  for (const [what, answer] of Object.entries(games)) {
    faultTest(
      {
        fault: "14 index games",
        done: `an agent by script: ${what}`,
        expected: "0 failed; a few requests a second at most",
      },
      async (witness) => {
        const instances = await Promise.all([startMember("fleet-service", {}), startMember("fleet-service", {})]);
        let turn = 0;
        let asked = 0;
        await using agent = await ScriptedAgent.start(async (request) => {
          if (!request.path.startsWith("/v1/health/service/")) return { body: {} };
          asked++;
          return answer({ request, turn: turn++, entries: instances.map(entryOf) });
        });
        const { port } = new URL(agent.address);
        try {
          await using gateway = await startMember("fleet-gateway", { PLINTH_CONSUL_ADDR: `127.0.0.1:${port}` });
          await untilInUse(gateway, instances);
          const load = startFleetLoad(gateway, instances, 100);
          const before = asked;
          await delay(gameS * 1_000);
          const perSecond = (asked - before) / gameS;
          witness.saw(`${perSecond.toFixed(1)} requests a second`);
          witness.clean(await load.stop());
          assert.ok(perSecond <= 4, `${perSecond} requests a second`);
        } finally {
          await Promise.all(instances.map((each) => each[Symbol.asyncDispose]()));
        }
      },
    );
  }
});
