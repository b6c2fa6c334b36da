// The gateway in several processes while they are killed, stand still and are told to stop under load, and one gets most of the requests.
import assert from "node:assert/strict";
import { Agent } from "node:http";
import { describe } from "node:test";
import { faultTest } from "../support/fault-row.ts";
import { startGatewayWorkers } from "../support/gateway-workers.ts";
import { startLoad, type LoadReport } from "../support/load.ts";
import { killNow } from "../support/processes.ts";
import { until } from "../support/until.ts";

const limitMs = 60_000;
const patient = { PLINTH_GATEWAY_MAX_LOOP_DELAY_MS: "0" };

const sent = ({ statuses, broken }: LoadReport): number =>
  Object.values(statuses).reduce((total, count) => total + count, 0) + broken.length;
const failed = ({ statuses, broken }: LoadReport): number =>
  sent({ statuses, broken, refused: 0, unaccepted: 0 }) - (statuses["200"] ?? 0);

describe("a gateway with workers", () => {
  faultTest(
    {
      fault: "gateway worker",
      done: "SIGKILL of one of three under load",
      expected: "at most the requests of its own connections failed",
    },
    async (witness) => {
      await using gateway = await startGatewayWorkers({ workers: 3, environment: patient });
      const connections = 9;
      const load = startLoad({ url: `${gateway.url}/`, connections });
      await load.untilMore(300);
      const [victim = assert.fail()] = (await gateway.routes()).workers;
      killNow(victim.pid);
      await load.untilMore(300);
      await until(
        async () => {
          const { workers } = await gateway.routes();
          return workers.length === 3 && workers.every(({ isReady, pid }) => isReady && pid !== victim.pid);
        },
        "another is in its place",
        limitMs,
      );
      await load.untilMore(300);
      assert.equal(await gateway.metric('workers_restarts_total{reason="signal"}'), 1);
      gateway.program.signal("SIGTERM");
      await load.ended;
      assert.deepEqual(await gateway.program.exit, { code: 0, signal: null }, gateway.program.stderr());
      const report = load.report();
      witness.count({ sent: sent(report), failed: failed(report) });
      assert.deepEqual(Object.keys(report.statuses), ["200"]);
      assert.ok(report.broken.length <= connections, report.broken.join("; "));
      witness.saw(`${report.broken.length} of ${connections} connections broken, the rest served on`);
    },
  );

  faultTest({ fault: "gateway with workers", done: "SIGTERM under load" }, async (witness) => {
    await using gateway = await startGatewayWorkers({ workers: 3, environment: patient });
    const load = startLoad({ url: `${gateway.url}/limited`, connections: 9 });
    await load.untilMore(500);
    gateway.program.signal("SIGTERM");
    await load.ended;
    assert.deepEqual(await gateway.program.exit, { code: 0, signal: null }, gateway.program.stderr());
    const report = load.report();
    witness.count({ sent: sent(report), failed: failed(report) });
    assert.deepEqual([Object.keys(report.statuses), report.broken], [["200"], []]);
  });

  faultTest(
    {
      fault: "uneven load",
      done: "one worker gets nearly all of the requests for a limit and for places",
      expected: "exactly the limit, and all of the places, let through",
    },
    async (witness) => {
      await using gateway = await startGatewayWorkers({ workers: 3, limit: 50, places: 6, environment: patient });
      // one connection, so one worker; and now and then another
      const one = new Agent({ keepAlive: true, maxSockets: 1 });
      const statuses: number[] = [];
      for (let each = 0; each < 120; each++)
        statuses.push((await gateway.get("/limited", each % 10 === 0 ? {} : { agent: one })).status);
      one.destroy();
      const through = statuses.filter((status) => status === 200).length;
      const all = await Promise.all(Array.from({ length: 60 }, () => gateway.get("/capped")));
      witness.count({ sent: 180, failed: all.filter(({ status }) => status !== 200).length });
      const most = gateway.most();
      witness.saw(`${through} of a limit of 50, ${most} of 6 places at one time`);
      const late = await gateway.metric('gateway_rate_limit_events_total{policy="limited",event="share"}');
      assert.ok(late > 0 ? through <= 100 : through === 50, `${through} of 50 let through, ${late} by shares`);
      assert.ok(most <= 6, `${most} at one time`);
      assert.ok(most >= 5, `only ${most} at one time`);
    },
  );

  faultTest(
    {
      fault: "gateway primary",
      done: "it stands still while workers serve",
      expected: "connections that are there are served; of the limit, another one at most in shares",
    },
    async (witness) => {
      const limit = 20;
      await using gateway = await startGatewayWorkers({ workers: 2, limit, environment: patient });
      const agents = [0, 1].map(() => new Agent({ keepAlive: true, maxSockets: 1 }));
      const ask = async (path: string): Promise<number[]> =>
        Promise.all(agents.map(async (agent) => (await gateway.get(path, { agent })).status));
      assert.deepEqual(await ask("/"), [200, 200], "a connection to each");
      for (let each = 0; each < limit / 4; each++) await ask("/limited");
      process.kill(gateway.program.pid, "SIGSTOP");
      const during: number[] = [];
      try {
        for (let each = 0; each < limit; each++) during.push(...(await ask("/limited")));
        assert.deepEqual(await ask("/"), [200, 200]);
      } finally {
        process.kill(gateway.program.pid, "SIGCONT");
      }
      const through = during.filter((status) => status === 200).length;
      witness.count({
        sent: during.length,
        failed: during.filter((status) => status !== 200 && status !== 429).length,
      });
      witness.saw(`${through} more of a limit of ${limit} while it stood still`);
      assert.ok(through > 0 && through <= limit, `${through}`);
      for (const agent of agents) agent.destroy();
    },
  );

  faultTest(
    {
      fault: "gateway workers",
      done: "a document is replaced twenty times under load, while a worker is killed",
      expected: "none failed but those of the killed, and all go by the same document",
    },
    async (witness) => {
      await using gateway = await startGatewayWorkers({ workers: 2, environment: patient });
      const connections = 6;
      const load = startLoad({ url: `${gateway.url}/`, connections });
      for (let each = 1; each <= 20; each++) {
        gateway.write({ limit: 1_000 + each });
        await load.untilMore(50);
        if (each === 10) killNow((await gateway.routes()).workers[0]?.pid ?? assert.fail());
      }
      await until(
        async () => {
          const { generation, workers } = await gateway.routes();
          return workers.length === 2 && workers.every((each) => each.isReady && each.generation === generation);
        },
        "all go by one document",
        limitMs,
      );
      gateway.program.signal("SIGTERM");
      await load.ended;
      await gateway.program.exit;
      const report = load.report();
      witness.count({ sent: sent(report), failed: failed(report) });
      assert.deepEqual(Object.keys(report.statuses), ["200"]);
      assert.ok(report.broken.length <= connections, report.broken.join("; "));
    },
  );
});
