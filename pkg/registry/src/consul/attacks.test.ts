import assert from "node:assert/strict";
import { it } from "node:test";
import { checkLeaks } from "@plinth/kernel/testing";
import { type Script, ScriptedAgent, scriptedEntry } from "../testing/index.ts";
import { createConsulRegistry } from "./consul-registry.ts";

/** Repeatable, evenly spread numbers in [0, 1). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31;
}

it(
  "leaves no timer, connection or listener behind, in the middle of whatever it is closed",
  { timeout: 60_000 },
  async () => {
    await using _leaks = checkLeaks({ graceMs: 10_000 });
    for (let round = 0; round < 4; round++) {
      const next = numbers(round + 1);
      const moody: Script = () => {
        const mood = next();
        if (mood < 0.2) return "hang";
        if (mood < 0.3) return "cut";
        if (mood < 0.4) return { status: 500 };
        return { index: Math.floor(next() * 100), body: [scriptedEntry("a-1")] };
      };
      await using agent = await ScriptedAgent.start(moody);
      const own = createConsulRegistry({
        address: agent.address,
        requestTimeoutMs: 40,
        maxRequestsPerSecond: 1_000,
        maxBackoffMs: 5,
        ttlMs: 100,
        random: next,
        environment: {},
      });
      const stop = new AbortController();
      const under: Promise<unknown>[] = [];
      for (let at = 0; at < 4; at++) {
        own.follow(`followed-${at}`);
        const live = { service: "notes", id: `notes-${at}`, host: "10.0.0.1", ports: { http: 1 } };
        under.push(
          own.resolve(`read-${at}`).catch(() => "ended"),
          own.services().catch(() => "ended"),
          own
            .register(live, { readiness: () => (next() < 0.5 ? "passing" : "critical") })
            .then(async (registration) => {
              await registration.update({ weight: 2 });
              await registration.maintenance("upgrade");
            })
            .catch(() => "ended"),
          (async () => {
            for await (const _set of own.watch(`watched-${at}`, { signal: stop.signal })) if (next() < 0.1) break;
          })(),
        );
      }
      for (let turn = 0; turn < next() * 40; turn++) await new Promise(setImmediate);
      await Promise.all([own.close(), own.close()]);
      await Promise.all(under);
      assert.deepEqual(own.stats(), { registrations: [], services: [] });
    }
  },
);

it(
  "asks no more than it may, and loses nobody of ten thousand, while the index flaps",
  { timeout: 60_000 },
  async () => {
    let turn = 0;
    const flapping: Script = () => ({ index: ++turn % 2 === 0 ? turn : 1_000_000, body: [scriptedEntry(`a-${turn}`)] });
    await using agent = await ScriptedAgent.start(flapping);
    const own = createConsulRegistry({ address: agent.address, maxRequestsPerSecond: 20, environment: {} });
    const startedAtMs = performance.now();
    const views = Array.from({ length: 10_000 }, (_each, at) =>
      own.follow("notes", at % 2 === 0 ? {} : { filter: { tags: [`t-${at % 50}`] } }),
    );
    await Promise.all(views.map(({ ready }) => ready));
    const sixth = await agent.received(({ path }) => path.startsWith("/v1/health"), 6);
    const tookMs = sixth.atMs - startedAtMs;
    assert.ok(tookMs >= 195, `six requests in ${tookMs} ms; 2 at once and 20 a second are allowed`);
    for (const view of views) view.close();
    assert.deepEqual(own.stats().services, []);
    await own.close();
  },
);
