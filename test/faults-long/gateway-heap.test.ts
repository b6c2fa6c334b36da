// The heap of a gateway fills up: what is less important is refused, the rest is served, and all is when there is room again.
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe } from "node:test";
import { faultTest } from "../support/fault-row.ts";
import { startStage } from "../support/gateway-stage.ts";
import { ask } from "../support/http.ts";
import { until } from "../support/until.ts";

const limitMs = 30_000;
const filler = join(import.meta.dirname, "../programs/filled-heap.ts");

describe("memory runs out at a gateway", () => {
  faultTest(
    {
      fault: "32 heap nearly full",
      done: "93 % of the 256 MiB that old objects may have is held, under load, and let go of",
      expected:
        "routes of normal importance are refused with 503 gateway_overloaded; critical ones, /healthz and /metrics are not; all are served afterwards",
    },
    async (witness) => {
      await using stage = await startStage({
        maxGrowthBytes: 512 * 1024 * 1024,
        document: (document) => ({
          ...document,
          routes: document.routes.map((route) =>
            route.name === "users" ? { ...route, importance: "critical" } : route,
          ),
        }),
        environment: { HEAP_SHARE: "0.93", HEAP_MB: "256", PLINTH_GATEWAY_MAX_LOOP_DELAY_MS: "0" },
        flags: ["--max-old-space-size=256", "--import", filler],
      });
      const healthy = stage.load({ name: "before" });
      await stage.more(healthy, 200);
      assert.deepEqual((await stage.judge(healthy, witness)).failures, {});
      stage.gateway.signal("SIGUSR2");
      await stage.gateway.untilPrinted("filled\n", limitMs);
      await until(async () => (await ask(`${stage.url}/orders`)).status === 503, "it refuses", limitMs);
      const full = stage.load({ name: "full" });
      await stage.more(full, 400);
      const report = await stage.judge(full, witness);
      for (const why of Object.keys(report.failures)) assert.match(why, /^(GET|POST) 503 gateway_overloaded$/);
      assert.ok(report.failed > 50, "it refused");
      const served = report.tookMs.filter(({ service }) => service === "users").length;
      assert.equal(served, Math.floor(report.sent / 4), "critical routes are served");
      assert.match((await ask(`${stage.opsUrl}/metrics`)).text, /reason="gateway_overloaded"/);
      stage.gateway.signal("SIGUSR2");
      await stage.gateway.untilPrinted("emptied\n", limitMs);
      await until(async () => (await ask(`${stage.url}/orders`)).status === 200, "it serves again", limitMs);
      const after = stage.load({ name: "after" });
      await stage.more(after, 400);
      assert.deepEqual((await stage.judge(after, witness)).failures, {});
    },
  );
});
