// Instances stall, die and come back under load, with everything on that chooses among them: nobody gets another's reply, and nothing is held on to.
import assert from "node:assert/strict";
import { setTimeout as wait } from "node:timers/promises";
import { describe } from "node:test";
import { until } from "@plinth/kernel/testing";
import { httpInstance, openRoute, type Scripted, startGateway } from "../../pkg/gateway/src/testing/kit.ts";
import { faultTest } from "../support/fault-row.ts";

const callers = 40;
const lastsMs = 8_000;

/** Answers with the path that it was asked for; one in fifty replies takes long. */
function start(port = 0): Promise<Scripted> {
  return httpInstance((request, response) => {
    if (request.url === "/health") response.writeHead(204).end();
    else setTimeout(() => response.end(request.url), Math.random() < 0.02 ? 300 : Math.random() * 3);
  }, port);
}

describe("what is behind a gateway", () => {
  faultTest(
    {
      fault: "instances die and return",
      done: "with probes, ejection, breakers, caps, retries and hedges, under 40 callers",
      expected: "below 1 % failed: hedges and retries have one budget, which a dying instance may use up",
    },
    async ({ count, saw }) => {
      const instances = [await start(), await start(), await start(), await start()];
      await using kit = await startGateway({
        document: {
          services: {
            s: {
              static: instances.map(({ port }) => `127.0.0.1:${port}`),
              health: { path: "/health", intervalMs: 200, timeoutMs: 100, fall: 2, rise: 2 },
              ejection: { ejectMs: 500, countSlow: true },
              breaker: { minRequests: 20, openMs: 200, recoveryMs: 500 },
              caps: { maxConnections: 15, maxPending: 40, maxWaitMs: 2_000 },
            },
          },
          routes: [openRoute({ retries: { attempts: 4 }, hedging: { afterMs: 50, max: 1 } })],
        },
      });
      let sent = 0;
      let failed = 0;
      const wrong = new Set<string>();
      const endsAtMs = performance.now() + lastsMs;
      const caller = async (id: number): Promise<void> => {
        for (let turn = 0; performance.now() < endsAtMs; turn++) {
          sent++;
          const path = `/${id}/${turn}`;
          // Some leave before they have their reply.
          const signal = turn % 20 === 0 ? AbortSignal.timeout(2) : null;
          try {
            const reply = await fetch(kit.url + path, { signal });
            const text = await reply.text();
            if (reply.status !== 200) failed++;
            else if (text !== path) wrong.add(`${text} for ${path}`);
          } catch (error) {
            if (signal?.aborted !== true) wrong.add(String(error));
          }
        }
      };
      const chaos = async (): Promise<void> => {
        for (let turn = 0; performance.now() < endsAtMs - 1_500; turn++) {
          const at = turn % instances.length;
          const port = instances[at]?.port ?? 0;
          await instances[at]?.close();
          await wait(400);
          instances[at] = await start(port);
          await wait(300);
        }
      };
      await Promise.all([chaos(), ...Array.from({ length: callers }, (_, id) => caller(id))]);
      assert.deepEqual([...wrong], []);
      await until(() => kit.gateway.describe().services[0]?.instances.every(({ inFlight }) => inFlight === 0));
      let metrics = "";
      const total = (name: string): number =>
        [...metrics.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\d+)$`, "gm"))].reduce(
          (sum, [, n]) => sum + Number(n),
          0,
        );
      await until(async () => {
        metrics = await kit.metrics();
        return total("gateway_requests_in_flight") + total("gateway_upstream_requests_waiting") === 0;
      });
      const again = total("gateway_upstream_hedges_total") + total("gateway_upstream_retries_total");
      assert.ok(again > 0);
      assert.deepEqual(kit.reports, []);
      assert.ok(failed < sent / 100, `${failed} of ${sent} failed`);
      count({ sent, failed });
      saw(`${failed} failed, ${again} sent again or beside`);
      for (const instance of instances) await instance.close();
    },
  );
});
