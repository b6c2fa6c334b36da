// The issuer of tokens is away, rotates its keys and gives garbage while load with its tokens flows; and a flood asks for keys that are not.
import assert from "node:assert/strict";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe } from "node:test";
import { type SigningKey, signingKey, tokenOf } from "../../pkg/gateway/src/testing/issuer.ts";
import { createFaultIssuer, type FaultIssuer, keySetOf } from "../support/fault-issuer.ts";
import { faultTest } from "../support/fault-row.ts";
import { type Stage, startStage } from "../support/gateway-stage.ts";
import { ask } from "../support/http.ts";
import { asRecord } from "../support/json.ts";
import { quantile } from "../support/open-load.ts";
import { startProgram, userEnvironment } from "../support/program.ts";
import { until } from "../support/until.ts";

const limitMs = 120_000;
const refreshMs = 1_000;
const floodMs = 20_000;
const root = join(import.meta.dirname, "../..");
const first = signingKey("first");
const second = signingKey("second");
const provider = { provider: "own" } as const;

/** `orders` wants a token of the issuer, `users` none. */
const stageOf = (issuer: FaultIssuer, refresh = refreshMs): Promise<Stage> =>
  startStage({
    document: ({ services, routes }) => ({
      services,
      jwt: { own: { issuer: "test-issuer", audiences: ["test"], jwks: issuer.url, refreshMs: refresh } },
      routes: routes.map(({ anonymous, ...route }) =>
        route.name === "orders" ? { ...route, auth: {} } : { ...route, anonymous },
      ),
    }),
    environment: { PLINTH_GATEWAY_MAX_LOOP_DELAY_MS: "0", PLINTH_GATEWAY_ACCESS_LOG: "false" },
  });

/** Another token with each tenth request, so that most of them are known from before. */
function fresh(key: SigningKey): () => Record<string, string> {
  let turn = 0;
  let token = "";
  return () => {
    if (turn++ % 10 === 0) token = tokenOf(key, { jti: crypto.randomUUID() });
    return { authorization: `Bearer ${token}` };
  };
}

const statusOf = async ({ url }: Stage, key: SigningKey): Promise<number> =>
  // Nobody listens until the issuer was asked.
  (await ask(`${url}/orders`, { headers: fresh(key)() }).catch(() => ({ status: 0 }))).status;

const fetched = ({ metric }: Stage, outcome: "ok" | "failed"): Promise<number> =>
  metric("gateway_jwks_fetches_total", { ...provider, outcome });

async function untilFetched(stage: Stage, outcome: "ok" | "failed", more: number): Promise<void> {
  const wanted = (await fetched(stage, outcome)) + more;
  await until(
    async () => (await fetched(stage, outcome)) >= wanted,
    `${more} more fetches that are ${outcome}`,
    limitMs,
  );
}

describe("the issuer of tokens fails under load", () => {
  faultTest(
    {
      fault: "20 issuer down, key rotated, garbage",
      done: "killed until it was asked in vain four times; back with another key beside; then six kinds of garbage",
      expected: "0 failed: keys serve past their time, the new key within its cooldown, garbage replaces none",
      limitMs: 200_000,
    },
    async (witness) => {
      await using issuer = await createFaultIssuer(keySetOf(first));
      await issuer.start();
      await using stage = await stageOf(issuer);
      await until(async () => (await statusOf(stage, first)) === 200, "its keys are known", limitMs);
      let headers = fresh(first);
      const warm = stage.load({ name: "warm", headers: () => headers() });
      await stage.more(warm, 2_000); // what is compiled and remembered at first is not counted
      assert.deepEqual((await stage.judge(warm, witness)).failures, {});
      const load = stage.load({ headers: () => headers() });
      await stage.more(load, 300);
      await issuer.kill();
      await untilFetched(stage, "failed", 4);
      const ageS = await stage.metric("gateway_jwks_age_seconds", provider);
      assert.ok(ageS * 1_000 > 2 * refreshMs, `the keys are ${ageS} s old`);
      assert.equal(await statusOf(stage, second), 401);
      issuer.say(keySetOf(first, second));
      await issuer.start();
      const atMs = performance.now();
      await until(async () => (await statusOf(stage, second)) === 200, "the new key is known", limitMs);
      const knownMs = performance.now() - atMs;
      headers = fresh(second);
      issuer.say(
        ...["", "<html>", '{"keys":[]}', keySetOf(second, second).body, "x".repeat(2_000_000)].map((body) => ({
          status: 200,
          body,
        })),
        { status: 500, body: keySetOf(first).body },
      );
      await untilFetched(stage, "failed", 6);
      assert.deepEqual([await statusOf(stage, first), await statusOf(stage, second)], [200, 200]);
      issuer.say(keySetOf(second));
      await until(async () => (await statusOf(stage, first)) === 401, "the old key is withdrawn", limitMs);
      const report = await stage.judge(load, witness);
      witness.saw(`keys ${Math.round(ageS)} s old served; the new one known after ${Math.round(knownMs)} ms`);
      assert.deepEqual(report.failures, {});
    },
  );

  faultTest(
    {
      fault: "21 issuer down at a cold start",
      done: "the gateway is started with it down, which comes ten seconds later",
      expected:
        "with a token 503 keys_unavailable and never 401, open routes served; a fetch for each step of the wait",
      limitMs: 200_000,
    },
    async (witness) => {
      await using issuer = await createFaultIssuer(keySetOf(first));
      await using stage = await stageOf(issuer);
      await until(
        async () => (await ask(`${stage.url}/users`).catch(() => undefined))?.status === 200,
        "it serves",
        limitMs,
      );
      const during = stage.load({ name: "during", headers: fresh(first) });
      const atMs = performance.now();
      const before = await fetched(stage, "failed");
      await delay(10_000);
      const seconds = (performance.now() - atMs) / 1_000;
      const fetches = (await fetched(stage, "failed")) - before;
      const report = await stage.judge(during, witness);
      assert.deepEqual(Object.keys(report.failures).toSorted(), [
        "GET 503 keys_unavailable",
        "POST 503 keys_unavailable",
      ]);
      assert.equal(report.tookMs.length, Math.floor(report.sent / 4), "what wants no token is served");
      assert.deepEqual(
        report.book.filter(({ kind }) => kind === "done").length,
        report.writes - countOf(report.failures, "POST"),
      );
      // Steps of 1, 2, 4 ... s, each at least half as long; what is left over is 500 ms at the shortest.
      assert.ok(fetches <= 2 + Math.log2(2 * seconds + 1), `${fetches} fetches in ${seconds} s`);
      await issuer.start();
      await until(async () => (await statusOf(stage, first)) === 200, "its keys are known", limitMs);
      const after = stage.load({ name: "after", headers: fresh(first) });
      await stage.more(after, 400);
      assert.deepEqual((await stage.judge(after, witness)).failures, {});
      witness.saw(`${fetches} fetches in ${Math.round(seconds)} s`);
    },
  );

  faultTest(
    {
      fault: "22 flood of random key ids",
      done: "5000 a second for 20 s, each with a key id of its own, beside the load",
      expected: "0 of the load failed; at most two fetches for them; each of the flood 401",
      limitMs: 200_000,
    },
    async (witness) => {
      await using issuer = await createFaultIssuer(keySetOf(first));
      await issuer.start();
      await using stage = await stageOf(issuer, 86_400_000);
      await until(async () => (await statusOf(stage, first)) === 200, "its keys are known", limitMs);
      const load = stage.load({ headers: fresh(first) });
      await stage.more(load, 1_000);
      const quiet = load.sent();
      const before = issuer.fetches();
      const statuses = await floodOf(stage);
      const flooding = Number(statuses["401"]);
      const flooded = load.sent();
      const fetches = issuer.fetches() - before;
      const report = await stage.judge(load, witness);
      const orders = report.tookMs.filter(({ service }) => service === "orders");
      const took = (from: number, to: number): string => {
        const ms = orders.filter(({ atMs }) => atMs >= from * 5 && atMs < to * 5).map((each) => each.ms); // 200 a second
        return `${Math.round(quantile(ms, 0.5))} and ${Math.round(quantile(ms, 0.99))} ms`;
      };
      witness.saw(
        `${Math.round(flooding / (floodMs / 1_000))} a second, ${fetches} fetches; p50 and p99 of good tokens ${took(quiet / 2, quiet)} before, ${took(quiet, flooded)} within`,
      );
      assert.deepEqual(Object.keys(statuses), ["401"]);
      assert.ok(flooding > 10_000, `a flood of ${flooding} in all`);
      assert.ok(fetches <= 2, `${fetches} fetches`);
      assert.deepEqual(report.failures, {});
    },
  );
});

const countOf = (failures: Readonly<Record<string, number>>, method: string): number =>
  Object.entries(failures).reduce((sum, [why, times]) => sum + (why.startsWith(method) ? times : 0), 0);

/** In a process of its own, so that it is not in the way of the load. @returns How many replies there were, by status. */
async function floodOf({ port }: Stage): Promise<Readonly<Record<string, unknown>>> {
  const [, ...rest] = tokenOf(first).split(".");
  await using flood = await startProgram(process.execPath, [join(root, "test/programs/token-flood.ts")], {
    folder: root,
    environment: {
      ...userEnvironment(),
      PORT: String(port),
      PER_SECOND: "5000",
      FOR_MS: String(floodMs),
      REST: rest.join("."),
    },
  });
  await flood.untilPrinted("}\n", limitMs);
  return asRecord(JSON.parse(flood.stdout()));
}
