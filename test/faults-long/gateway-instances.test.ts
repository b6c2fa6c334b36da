// Instances behind a gateway are killed, stand still, end connections, are slow and refuse, under load that comes whether replies do or not.
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { describe } from "node:test";
import { faultTest, type Witness } from "../support/fault-row.ts";
import { type FaultProxy, startFaultProxy } from "../support/fault-proxy.ts";
import { type Stage, startStage } from "../support/gateway-stage.ts";
import { quantile } from "../support/open-load.ts";
import { until } from "../support/until.ts";

const limitMs = 90_000;
const retries = { attempts: 2 };

/** Failures of a kind of request. */
function of(method: string, failures: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(failures).filter(([why]) => why.startsWith(method)));
}

const sum = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((total, each) => total + each, 0);

/** Waits until an instance gets its share again. What was slow is forgotten by time alone, a tenth in a second. */
async function untilUsed(stage: Stage, port: number | undefined, witness: Witness): Promise<void> {
  const fromMs = Date.now();
  // What came while it stood still is read when it goes on.
  const count = (): number => stage.book().filter((line) => line.port === port && line.atMs > fromMs + 500).length;
  await until(
    () => count() > 20,
    () => `it is used again, not ${count()} times`,
    limitMs,
  );
  witness.saw(`used again after ${Date.now() - fromMs} ms`);
}

describe("instances fail behind a gateway", () => {
  faultTest(
    {
      fault: "1 instance killed",
      done: "one of three by SIGKILL under load, twice, each time back after a second",
      expected:
        "at most 0.1 % of the reads failed; of the writes only those that it may have had, with 502, none twice",
    },
    async (witness) => {
      await using stage = await startStage({ route: { retries } });
      const [victim = assert.fail()] = stage.orders;
      await victim.set({ delayMs: 30 });
      const load = stage.load();
      await stage.more(load, 300);
      for (let round = 0; round < 2; round++) {
        victim.program().signal("SIGKILL");
        await delay(1_000);
        await victim.restart();
        await stage.more(load, 300);
      }
      const report = await stage.judge(load, witness);
      const reads = of("GET", report.failures);
      assert.ok(sum(reads) <= report.reads / 1_000, JSON.stringify(reads));
      assert.ok(Object.keys(of("POST", report.failures)).every((why) => why === "POST 502 upstream_reset"));
      assert.ok(sum(of("POST", report.failures)) <= 10);
    },
  );

  faultTest(
    {
      fault: "2 instance killed within its reply",
      done: "SIGKILL when the head and a part of the body have come, under load",
      expected: "the client sees that it is cut off, and nobody sends it again",
    },
    async (witness) => {
      await using stage = await startStage({ processes: 1, route: { retries } });
      const load = stage.load();
      await stage.more(load, 200);
      const asked = Array.from({ length: 10 }, async (_, at) => {
        const reply = await fetch(`${stage.url}/orders/slow-body`, { headers: { "x-load-id": `load-cut-${at}` } });
        assert.equal(reply.status, 200);
        return reply;
      });
      const replies = await Promise.all(asked);
      stage.orders[0]?.program().signal("SIGKILL");
      for (const reply of replies) await assert.rejects(reply.text(), "it was taken for whole");
      await stage.orders[0]?.restart();
      const report = await stage.judge(load, witness);
      const tries = report.book.filter(({ id }) => id.startsWith("load-cut-")).length;
      assert.equal(tries, 10);
      const cut = await stage.metric("gateway_upstream_attempts_total", { service: "orders", outcome: "reset" });
      witness.saw(`${tries} replies cut off after one try each; ${cut} tries counted as reset`);
      assert.ok(cut >= 10, "they count");
    },
  );

  faultTest(
    {
      fault: "3 instance stands still",
      done: "SIGSTOP of one of three for 4 s under load, then SIGCONT; a try has 250 ms",
      expected: "no read failed; few tries at it, since it is ejected or avoided; used again afterwards",
    },
    async (witness) => {
      await using stage = await startStage({
        service: { ejection: { countSlow: true, localFailures: 5, ejectMs: 1_000 } },
        route: { retries: { attempts: 3, perTryTimeoutMs: 250 }, timeoutMs: 3_000 },
      });
      for (const each of stage.orders) await each.set({ delayMs: 50 });
      const [victim = assert.fail()] = stage.orders;
      const load = stage.load();
      await stage.more(load, 300);
      victim.program().signal("SIGSTOP");
      await delay(4_000);
      const late = await stage.metric("gateway_upstream_attempts_total", { service: "orders", outcome: "timeout" });
      victim.program().signal("SIGCONT");
      await untilUsed(stage, victim.ports[0], witness);
      const report = await stage.judge(load, witness);
      witness.saw(`${late} tries at it in vain`);
      assert.deepEqual(of("GET", report.failures), {});
      for (const why of Object.keys(report.failures))
        assert.match(why, /^POST 504 (upstream_timeout|deadline_exceeded)$/);
      assert.ok(late >= 1 && late <= 60, `${late} tries at it in vain`);
    },
  );

  faultTest(
    {
      fault: "4 idle connections closed",
      done: "instances end connections after 1.5 s and say so; bursts come as often",
      expected: "0 failed",
    },
    async (witness) => {
      await using stage = await startStage();
      await Promise.all([...stage.orders, stage.users].map((each) => each.set({ keepAliveMs: 1_500 })));
      const load = stage.load({ perSecond: 1 });
      const pauses: number[] = [];
      for (let burst = 0; burst < 8; burst++) {
        const pauseMs = 1_440 + burst * 20;
        pauses.push(pauseMs);
        const own = stage.load({ perSecond: 400, name: `burst${burst}` });
        await stage.more(own, 60);
        assert.deepEqual((await stage.judge(own, witness)).failures, {});
        await delay(pauseMs);
      }
      assert.deepEqual((await stage.judge(load, witness)).failures, {});
      witness.saw(`pauses of ${pauses[0]} to ${pauses.at(-1)} ms`);
    },
  );

  faultTest(
    {
      fault: "4 idle connections closed unannounced",
      done: "instances end connections after 10 ms without a word of it, under load",
      expected: "no read failed; a write that met the end of its connection is 502, and not sent again",
    },
    async (witness) => {
      await using stage = await startStage();
      await Promise.all([...stage.orders, stage.users].map((each) => each.set({ keepAliveMs: 10, announces: false })));
      const load = stage.load();
      await stage.more(load, 1_500);
      const report = await stage.judge(load, witness);
      const again = await stage.metric("gateway_upstream_retries_total");
      witness.saw(`${again} sent again`);
      assert.deepEqual(of("GET", report.failures), {});
      for (const why of Object.keys(report.failures)) assert.equal(why, "POST 502 upstream_reset");
    },
  );

  faultTest(
    {
      fault: "5 network half-open",
      done: "everything between the gateway and one of three is swallowed both ways for 4 s, new connections too; a try has 250 ms",
      expected: "no read failed; nothing waits longer than its route's 3 s; used again afterwards",
    },
    async (witness) => {
      const proxies: FaultProxy[] = [];
      const targets: number[] = [];
      for (let at = 0; at < 3; at++) proxies.push(await startFaultProxy(() => targets[at] ?? 0));
      try {
        await using stage = await startStage({
          through(ports) {
            targets.push(...ports);
            return proxies.map(({ port }) => port);
          },
          service: { ejection: { countSlow: true, ejectMs: 1_000 } },
          route: { retries: { attempts: 3, perTryTimeoutMs: 250 }, timeoutMs: 3_000 },
          environment: { PLINTH_GATEWAY_UPSTREAM_CONNECT_TIMEOUT_MS: "300" },
        });
        for (const each of stage.orders) await each.set({ delayMs: 50 });
        const load = stage.load();
        await stage.more(load, 300);
        proxies[0]?.freeze();
        await delay(4_000);
        proxies[0]?.thaw();
        await untilUsed(stage, targets[0], witness);
        const report = await stage.judge(load, witness);
        assert.deepEqual(of("GET", report.failures), {});
        for (const why of Object.keys(report.failures))
          assert.match(why, /^POST (504 (upstream_timeout|deadline_exceeded)|502 upstream_reset)$/);
        const slowest = Math.max(...report.tookMs.map(({ ms }) => ms));
        assert.ok(slowest < 6_000, `one has taken ${slowest} ms`);
        witness.saw(`slowest ${Math.round(slowest)} ms`);
      } finally {
        for (const proxy of proxies) await proxy[Symbol.asyncDispose]();
      }
    },
  );

  faultTest(
    {
      fault: "6 one of ten slow",
      done: "one of ten answers in 400 ms instead of 20, under load",
      expected: "0 failed; the 99th percentile at most twice that of before in the same run",
    },
    async (witness) => {
      await using stage = await startStage({ processes: 1, portsEach: 10 });
      const [orders = assert.fail()] = stage.orders;
      await orders.set({ delayMs: 20 });
      const p99 = async (name: string): Promise<number> => {
        const load = stage.load({ name });
        await stage.more(load, 1_400);
        const report = await stage.judge(load, witness);
        assert.deepEqual(report.failures, {});
        const settled = report.tookMs.filter(({ service, atMs }) => service === "orders" && atMs > 2_000);
        return quantile(
          settled.map(({ ms }) => ms),
          0.99,
        );
      };
      const healthy = await p99("healthy");
      await orders.set({ delayMs: 400 }, orders.ports[0]);
      const slow = await p99("slow");
      witness.saw(`p99 ${healthy.toFixed(1)} ms, then ${slow.toFixed(1)} ms`);
      assert.ok(slow <= 2 * healthy, `${slow} ms instead of ${healthy} ms`);
    },
  );

  for (const status of [500, 503]) {
    faultTest(
      {
        fault: `7 all instances answer ${status}`,
        done: "all four of a service for 4 s under load, with retries; then they are well",
        expected:
          "at most a fifth sent besides, and a floor; the service's own replies are passed on; all well at once afterwards",
      },
      async (witness) => {
        await using stage = await startStage({ processes: 2, portsEach: 2, route: { retries } });
        const before = stage.load({ name: "before" });
        await stage.more(before, 300);
        assert.deepEqual((await stage.judge(before, witness)).failures, {});
        for (const each of stage.orders) await each.set({ status });
        const load = stage.load({ name: "during" });
        await stage.more(load, 800);
        const report = await stage.judge(load, witness);
        const toOrders = report.sent * 0.75;
        const arrived = report.book.filter(({ kind }) => kind === "refused").length;
        witness.saw(`${arrived} tries for ${toOrders} requests`);
        assert.ok(arrived <= toOrders * 1.2 + 60, `${arrived} tries for ${toOrders} requests`);
        assert.ok(arrived >= toOrders * 0.95, "panic keeps serving");
        for (const why of Object.keys(report.failures))
          assert.match(why, new RegExp(`^(GET|POST) ${status} of the service$`));
        for (const each of stage.orders) await each.set({ status: 200 });
        const after = stage.load({ name: "after" });
        await stage.more(after, 300);
        assert.deepEqual((await stage.judge(after, witness)).failures, {});
      },
    );
  }

  faultTest(
    {
      fault: "8 brown-out with Retry-After",
      done: "each of four refuses 30 % of the requests with 503 and Retry-After: 1 for 6 s, under load, with retries",
      expected: "at most a fifth sent besides, and a floor; no wave a second later; no instance stays out",
    },
    async (witness) => {
      await using stage = await startStage({ processes: 2, portsEach: 2, route: { retries } });
      for (const each of stage.orders) await each.set({ failShare: 0.3, retryAfter: "1" });
      const load = stage.load();
      await stage.more(load, 1_200);
      const report = await stage.judge(load, witness);
      const toOrders = report.sent * 0.75;
      const own = report.book.filter(({ port }) => !stage.users.ports.includes(port));
      const startMs = own[0]?.atMs ?? 0;
      const buckets: number[] = [];
      for (const { atMs } of own) {
        const at = Math.floor((atMs - startMs) / 250);
        buckets[at] = (buckets[at] ?? 0) + 1;
      }
      const inner = [...buckets.keys()].map((at) => buckets[at] ?? 0).slice(1, -1);
      const mean = inner.reduce((total, each) => total + each, 0) / inner.length;
      const most = Math.max(...inner);
      witness.saw(
        `${own.length} tries for ${toOrders} requests; ${most} in the fullest quarter of a second, ${mean.toFixed(0)} on average`,
      );
      assert.ok(own.length <= toOrders * 1.2 + 60, `${own.length} tries for ${toOrders} requests`);
      assert.ok(most < 3 * mean, "a wave");
      for (const why of Object.keys(report.failures)) assert.match(why, /^(GET|POST) 503 of the service$/);
      assert.ok(report.failed < 0.3 * report.sent, `${report.failed} of ${report.sent} failed`);
    },
  );
});
