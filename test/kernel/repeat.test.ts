// An app is started and stopped over and over in one process, and beside another: nothing of it may stay.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { get } from "node:http";
import { describe, it } from "node:test";
import { text } from "node:stream/consumers";
import {
  type App,
  coreModule,
  createApp,
  current,
  defineModule,
  defineSettings,
  logger,
  metrics,
  provider,
  requestScopes,
  token,
} from "@plinth/kernel";
import { type MemoryLog, testApp } from "@plinth/kernel/testing";
import { createMemoryRegistry, createMemoryStore, registryModuleOf } from "@plinth/registry";
import { grpcModule, httpModule, httpRoutes, httpServer } from "@plinth/transport";
import { z } from "zod";
import { asRecord } from "../support/json.ts";
import { run, saidBy, say } from "./program.ts";

const rounds = 200;
const visit = token("visit").perRequest<{ readonly of: string }>();
const shopSettings = defineSettings("shop", z.strictObject({ name: z.string().default("shop") }));

const shopModule = defineModule("shop", [
  provider({
    provides: visit,
    needs: { settings: shopSettings },
    create: async ({ settings }) => ({ of: settings.name }),
    stop: async () => {},
  }),
  provider({
    provides: httpRoutes,
    needs: { visit: current(visit), log: logger },
    create:
      ({ visit: own, log }) =>
      (app) => {
        app.get("/visit", async () => {
          log.info("visited");
          return own();
        });
      },
  }),
]);

const modules = [coreModule, httpModule, grpcModule, shopModule] as const;
const defaults = { http: { port: 0 }, grpc: { port: 0 }, lifecycle: { announceDelayMs: 0 } };

/** What stays behind would be among these. */
function left(): Record<string, number> {
  const resources = Map.groupBy(process.getActiveResourcesInfo(), (name) => name);
  return {
    ...Object.fromEntries([...resources].map(([name, all]) => [name, all.length])),
    ...Object.fromEntries(process.eventNames().map((name) => [`on ${String(name)}`, process.listenerCount(name)])),
    files: readdirSync("/proc/self/fd").length,
  };
}

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** Until what is being closed is closed. */
async function settle(): Promise<void> {
  for (let turns = 0; turns < 50; turns++) await turn();
}

async function visitOnce(port: number): Promise<void> {
  const body = await new Promise<string>((resolve, reject) => {
    const request = get({ port, host: "127.0.0.1", path: "/visit", agent: false }, (response) => {
      text(response).then(resolve, reject);
    });
    request.once("error", reject);
  });
  assert.equal(body, '{"of":"shop"}');
}

async function liveOnce(): Promise<void> {
  const store = createMemoryStore();
  const registry = registryModuleOf((context) => createMemoryRegistry({ ...context, store }));
  const app = createApp({
    name: "again",
    modules: [...modules, registry],
    config: { environment: {}, defaults },
    logDestination: { write: () => {} },
  });
  await app.start();
  await visitOnce(app.get(httpServer).port);
  await app.get(requestScopes).run((scope) => scope.get(visit));
  await app.stop();
}

async function repeat(): Promise<void> {
  const heaps: number[] = [];
  let before: Record<string, number> = {};
  for (let round = 1; round <= rounds; round++) {
    await liveOnce();
    if (round % 50 !== 0) continue;
    await settle();
    globalThis.gc?.();
    await turn();
    globalThis.gc?.();
    heaps.push(process.memoryUsage().heapUsed);
    if (round === 50) before = left();
  }
  say(JSON.stringify({ heaps, before, after: left() }));
}

if (process.argv[2] === "repeat") await repeat();
else tests();

function tests(): void {
  describe(`an app that is started and stopped ${rounds} times in one process`, () => {
    it("leaves no listener, timer, socket, file or signal handler, and no more memory than it needs", async (t) => {
      const ended = await run(import.meta.filename, ["repeat"], { NODE_OPTIONS: "--expose-gc" });
      assert.deepEqual([ended.code, ended.stderr], [0, ""]);
      const said = asRecord(JSON.parse(saidBy(ended.stdout)[0] ?? ""));
      assert.deepEqual(said["after"], said["before"]);
      const heaps = said["heaps"];
      assert.ok(Array.isArray(heaps) && heaps.length === rounds / 50);
      const [, second, , last] = heaps.map(Number);
      assert.ok(second !== undefined && last !== undefined);
      const perRoundBytes = (last - second) / 100;
      t.diagnostic(`heap ${heaps.map((bytes) => (Number(bytes) / 2 ** 20).toFixed(1)).join(", ")} MiB`);
      // an app that stays costs more than 200 kB
      assert.ok(perRoundBytes < 20_000, `${perRoundBytes} bytes stay of each round: ${heaps.join(", ")}`);
    });
  });

  describe("two apps side by side", () => {
    it("see nothing of each other: settings, log, metrics, requests, and the end of the other", async (t) => {
      const start = async (
        name: string,
      ): Promise<{ app: App; log: MemoryLog; port: () => number; count: () => Promise<number> }> => {
        const app = await testApp({
          name,
          modules,
          expose: [metrics, visit],
          config: { defaults: { ...defaults, shop: { name } } },
        });
        t.after(() => app.stop());
        const count = async (): Promise<number> => {
          const { body } = await app.get(metrics).expose();
          const line = body
            .split("\n")
            .find((each) => /^http_server_request_duration_seconds_count\{.*visit/.test(each));
          return Number(line?.split(" ").at(-1) ?? 0);
        };
        return { app, log: app.logged, port: () => app.get(httpServer).port, count };
      };
      const [one, two] = [await start("one"), await start("two")];
      const ask = async (port: number): Promise<unknown> => (await fetch(`http://127.0.0.1:${port}/visit`)).json();
      assert.deepEqual(await ask(one.port()), { of: "one" });
      assert.deepEqual([await one.count(), await two.count()], [1, 0]);
      assert.deepEqual(
        [one, two].map(({ log }) => log.withMessage("visited").length),
        [1, 0],
      );
      const foreign = one.app.openScope();
      await one.app.stop();
      await assert.rejects(foreign.get(visit), { code: "ERR_SCOPE_CLOSED" });
      assert.equal(two.app.state, "ready");
      assert.deepEqual(await ask(two.port()), { of: "two" });
    });
  });
}
