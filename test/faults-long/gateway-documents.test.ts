// Documents come all the time, good and bad, small and large, under load.
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { describe } from "node:test";
import { faultTest, type Witness } from "../support/fault-row.ts";
import { startStage } from "../support/gateway-stage.ts";
import { ask } from "../support/http.ts";
import { quantile } from "../support/open-load.ts";
import { until } from "../support/until.ts";

const limitMs = 60_000;
const pushes = 300;
/** What a push may add to the 99th percentile, in milliseconds, on a machine that has other things to do. */
const maxBumpMs = 100;

describe("documents are pushed to a gateway", () => {
  faultTest(
    {
      fault: "30 documents pushed",
      done: `${pushes} at 100 a second under load: every third with an unknown key, every third no YAML at all`,
      expected: `0 failed; the last good one counts, and bad ones are told of; p99 not ${maxBumpMs} ms above that of before`,
    },
    async (witness) => {
      await using stage = await startStage();
      const p99Of = async (name: string, meanwhile: () => Promise<void>): Promise<number> => {
        const load = stage.load({ name });
        await stage.more(load, 100);
        await meanwhile();
        const report = await stage.judge(load, witness);
        assert.deepEqual(report.failures, {});
        return quantile(
          report.tookMs.filter(({ atMs }) => atMs > 500).map(({ ms }) => ms),
          0.99,
        );
      };
      const before = await p99Of("before", () => delay(3_000));
      const withRoute = (path: string) => ({
        ...stage.document,
        routes: [
          ...stage.document.routes,
          { name: "pushed", match: { path }, service: "users", anonymous: true as const },
        ],
      });
      const during = await p99Of("during", async () => {
        for (let push = 1; push <= pushes; push++) {
          if (push % 3 === 0) stage.write(withRoute(`/pushed-${push}`));
          else if (push % 3 === 1) stage.write(JSON.stringify({ ...stage.document, unheardOf: push }));
          else stage.write("routes: [\n  - {");
          await delay(10);
        }
        await until(
          async () => (await ask(`${stage.url}/pushed-${pushes}`)).text.startsWith("users"),
          "the last one counts",
          limitMs,
        );
      });
      witness.saw(`p99 ${before.toFixed(1)} ms before, ${during.toFixed(1)} ms during`);
      assert.equal((await ask(`${stage.url}/pushed-3`)).status, 404);
      stage.write(JSON.stringify({ ...stage.document, unheardOf: true }));
      await until(() => /unheardOf/.test(stage.gateway.stdout()), "the fault is told of", limitMs);
      assert.equal((await ask(`${stage.url}/pushed-${pushes}`)).status, 200, "the one before counts on");
      assert.ok(during < before + maxBumpMs, `${during} ms instead of ${before} ms`);
    },
  );

  const manyRoutes = (workers: number) => async (witness: Witness) => {
    // The text, its tree, what is checked and what is routed by are there at one time.
    await using stage = await startStage({
      maxGrowthBytes: 512 * 1024 * 1024,
      document: (document) => ({ ...document, workers }),
    });
    const load = stage.load();
    await stage.more(load, 200);
    const routes = Array.from({ length: 10_000 }, (_, at) => ({
      name: `many-${at}`,
      match: { path: `/many/${at}/:id` },
      service: at % 2 === 0 ? "orders" : "users",
      anonymous: true as const,
    }));
    stage.write({ ...stage.document, routes: [...stage.document.routes, ...routes] });
    const says = async (path: string): Promise<string> => (await ask(`${stage.url}${path}`)).text.split(" ")[0] ?? "";
    await until(async () => (await says("/many/9999/x")) === "users", "it counts", limitMs);
    assert.equal(await says("/many/5000/x"), "orders");
    await stage.more(load, 400);
    stage.write(stage.document);
    await until(async () => (await ask(`${stage.url}/many/9999/x`)).status === 404, "the first counts again", limitMs);
    await stage.more(load, 200);
    const report = await stage.judge(load, witness);
    const slowest = Math.max(...report.tookMs.map(({ ms }) => ms));
    witness.saw(`slowest ${Math.round(slowest)} ms`);
    assert.deepEqual(report.failures, {});
  };
  const done = "a document of 10 000 routes takes the place of one of two, and back, under load";
  const expected = "0 failed; each route leads where it says; the longest that a request waited is told";
  faultTest({ fault: "30 ten thousand routes", done, expected }, manyRoutes(1));
  faultTest({ fault: "30 ten thousand routes, two workers", done, expected }, manyRoutes(2));
});
