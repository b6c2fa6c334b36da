// The gateway in several processes, as those see it who send requests, reload it and ask its ops endpoints.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { createMemoryRateStore } from "@plinth/resilience";
import { FakeTeam } from "../../pkg/gateway/src/testing/fake-team.ts";
import { answerRates, PrimaryRateStore } from "../../pkg/gateway/src/workers/rates.ts";
import { testRateLimiter } from "../../pkg/resilience/src/testing/rate-limiter-suite.ts";
import { startGatewayWorkers } from "../support/gateway-workers.ts";
import { until } from "../support/until.ts";

const limitMs = 60_000;

describe("a rate limit that workers count in their primary", () => {
  testRateLimiter(async ({ limit, windowMs }) => {
    const clock = new FakeClock();
    const team = new FakeTeam(2);
    answerRates(team, createMemoryRateStore({ clock }));
    const stores = team.workers.map(({ link }) => new PrimaryRateStore(link, clock));
    let asked = 0;
    const take = (key: string, cost = 1) =>
      (stores[asked++ % 2] ?? assert.fail()).take({ name: "a", key, limit, windowMs, cost, owed: 0 });
    return { clock, take };
  });
});

describe("plinth-gateway with workers", { timeout: limitMs }, () => {
  it("serves one limit from all, has them take a document all or none, and ends in order", async () => {
    await using gateway = await startGatewayWorkers({ limit: 5 });
    const statuses = await Promise.all(Array.from({ length: 12 }, () => gateway.get("/limited")));
    const through = statuses.filter(({ status }) => status === 200).length;
    assert.ok(statuses.every(({ status }) => status === 200 || status === 429));
    // where this machine was so slow that the primary answered late, shares have decided
    const late = await gateway.metric('gateway_rate_limit_events_total{policy="limited",event="share"}');
    assert.ok(late > 0 ? through <= 10 : through === 5, `${through} of 5 let through, ${late} by shares`);
    const before = await gateway.routes();
    assert.deepEqual(
      before.workers.map(({ generation, isReady }) => [generation, isReady]),
      [
        [1, true],
        [1, true],
      ],
    );
    let instances = "";
    await until(
      async () => {
        instances = (await gateway.get(`${gateway.opsUrl}/instances`)).body;
        return /"inFlight":0.*"workers":\[\{"worker":1,.*\{"worker":2,/.test(instances);
      },
      () => `both have found the instance: ${instances}`,
      limitMs,
    );
    assert.match(instances, /^\{"workers":\[1,2\],"missing":\[\],"services":\[\{"service":"s",/);
    gateway.write({ limit: 8 });
    await until(async () => (await gateway.routes()).generation === 2, "all have the next document", limitMs);
    gateway.write({ limit: 0 });
    await until(
      async () => (await gateway.metric('gateway_document_reloads_total{outcome="refused"}')) === 1,
      "the faulty one is refused once, by the primary",
      limitMs,
    );
    const { generation, workers } = await gateway.routes();
    assert.deepEqual([generation, ...workers.map((each) => each.generation)], [2, 2, 2]);
    gateway.program.signal("SIGTERM");
    assert.deepEqual(await gateway.program.exit, { code: 0, signal: null }, gateway.program.stderr());
  });
});
