// Config that is wrong, secret, or changes while the service runs: with real files, variables and signals.
import assert from "node:assert/strict";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { inspect } from "node:util";
import {
  coreModule,
  createApp,
  defineModule,
  defineSettings,
  live,
  logger,
  provider,
  type Secret,
  secretString,
  token,
} from "@plinth/kernel";
import { httpModule, httpRoutes, httpServer } from "@plinth/transport";
import { z } from "zod";
import { ask, seriesOf } from "../support/http.ts";
import type { Program } from "../support/program.ts";
import { until } from "../support/until.ts";
import { limitMs, loggedBy, run, say, start } from "./program.ts";

const secret = "hunter2-hunter2";

const shopSettings = defineSettings(
  "shop",
  z.strictObject({
    currency: z.enum(["EUR", "USD"]).default("EUR"),
    perSecond: z.number().min(1).default(10),
    url: z.string().default("http://127.0.0.1:9"),
    isOpen: z.stringbool().or(z.boolean()).default(true),
    apiKey: secretString("Key of the payment provider.").optional(),
  }),
  { reloadable: ["perSecond"] },
);

/** Says its settings in every way that a careless hand would. */
const shopModule = defineModule("shop", [
  provider({
    provides: token("careless").of<string>(),
    needs: { shop: shopSettings, log: logger },
    create: ({ shop, log }) => {
      const error = new Error("could not pay", { cause: { shop } });
      log.warn("careless", { shop, key: shop.apiKey, error });
      const ways: readonly unknown[] = [
        JSON.stringify(shop),
        inspect(shop, { depth: 9, showHidden: true }),
        String(shop.apiKey),
        JSON.stringify({ shop: { key: shop.apiKey } }),
        Object.entries(shop.apiKey ?? {}),
      ];
      for (const way of ways) say(`careless ${String(way)}`);
      console.log(shop, shop.apiKey satisfies Secret | undefined);
      return "careless";
    },
    start: () => {},
  }),
  provider({
    provides: httpRoutes,
    needs: { shop: live(shopSettings) },
    create:
      ({ shop }) =>
      (app) => {
        app.get("/settings", () => ({ perSecond: shop.current.perSecond, url: shop.current.url }));
      },
  }),
]);

if (process.argv[2] === "shop") {
  const app = createApp({
    name: "shop",
    modules: [coreModule, httpModule, shopModule],
    config: { defaults: { http: { port: 0 }, lifecycle: { announceDelayMs: 0 } }, arguments: [], watch: false },
  });
  process.exitCode = await app.run({ onReady: () => say(`ready on http://127.0.0.1:${app.get(httpServer).port}`) });
} else tests();

function tests(): void {
  let folder: string;
  before(async () => (folder = await mkdtemp(join(tmpdir(), "plinth-kernel-config-"))));
  after(() => rm(folder, { recursive: true }));
  /** As deployments do it: never half written. */
  const write = async (file: string, text: string): Promise<void> => {
    await writeFile(`${file}.new`, text);
    await rename(`${file}.new`, file);
  };

  describe("a config with six faults", () => {
    it("is refused with all of them, each with key, source, what was expected and what was given; no secret is shown", async () => {
      const file = join(folder, "faulty.yaml");
      const lines = [
        "shop:",
        "  curency: EUR",
        "  perSecond: 0",
        "  isOpen: perhaps",
        "  apiKey: { is: hunter2 }",
        "sop: {}",
        "",
      ];
      await write(file, lines.join("\n"));
      const environment = { PLINTH_CONFIG: file, PLINTH_SHOP_CURRENCY: "GBP" };
      const ended = await run(import.meta.filename, ["shop"], environment);
      assert.equal(ended.code, 1);
      const report = ended.stderr.replaceAll(file, "faulty.yaml");
      assert.match(report, /^shop did not start: 6 faults in the config:\n/);
      const faults = report.split("\n").slice(1);
      for (const expected of [
        /shop\.curency: .*did you mean "shop\.currency".*\(.*faulty\.yaml:2/,
        /shop\.perSecond: .*>=1.*0 \(.*faulty\.yaml:3/,
        /shop\.isOpen: .*perhaps.* \(.*faulty\.yaml:4/,
        /sop: .*did you mean "shop".*\(.*faulty\.yaml:6/,
        /shop\.currency: .*"EUR".*"USD".*GBP.* \(PLINTH_SHOP_CURRENCY/,
        /shop\.apiKey.*: .*\(.*faulty\.yaml:5/,
      ]) {
        assert.ok(
          faults.some((fault) => expected.test(fault)),
          `${expected} is not in\n${report}`,
        );
      }
      assert.doesNotMatch(ended.stdout + ended.stderr, /hunter2/);
    });
  });

  describe("a secret", () => {
    it("is shown by no log line, JSON, inspect, text or crash, however careless the code", async () => {
      await using shop = await start(import.meta.filename, ["shop"], { PLINTH_SHOP_API_KEY: secret });
      await shop.untilPrinted("ready on", limitMs);
      shop.signal("SIGTERM");
      assert.equal((await shop.exit).code, 0, shop.stderr());
      assert.match(shop.stdout(), /careless/);
      assert.match(shop.stdout(), /\*\*\*/);
      assert.doesNotMatch(shop.stdout() + shop.stderr(), new RegExp(secret));
    });
  });

  describe("SIGHUP", () => {
    let shop: Program;
    let url: string;
    let file: string;
    before(async () => {
      file = join(folder, "shop.yaml");
      await write(file, "shop:\n  perSecond: 20\n");
      shop = await start(import.meta.filename, ["shop"], { PLINTH_CONFIG: file });
      await shop.untilPrinted("ready on", limitMs);
      url = /ready on (\S+)/.exec(shop.stdout())?.[1] ?? assert.fail(shop.stdout());
    });
    after(() => shop?.[Symbol.asyncDispose]());
    const settings = async (): Promise<unknown> => (await ask(`${url}/settings`)).json();
    const reloads = async (outcome: string): Promise<number> =>
      seriesOf((await ask(`${url}/metrics`)).text, "app_config_reloads_total", { outcome });
    const errors = (): Record<string, unknown>[] => loggedBy(shop.stdout()).filter(({ level }) => level === "error");
    const reload = async (text: string, outcome: string): Promise<void> => {
      const before = await reloads(outcome);
      const told = errors().length + (outcome === "refused" ? 1 : 0);
      await write(file, text);
      shop.signal("SIGHUP");
      await until(async () => (await reloads(outcome)) > before, `a reload that is ${outcome}`, limitMs);
      assert.equal(await reloads(outcome), before + 1);
      await until(async () => errors().length >= told, "the line that tells of it", limitMs); // lines are handed on in batches
    };

    it("swaps what may change, and who asked for it live sees it", async () => {
      await reload("shop:\n  perSecond: 30\n", "changed");
      assert.deepEqual(await settings(), { perSecond: 30, url: "http://127.0.0.1:9" });
      assert.deepEqual(errors(), []);
    });

    it("with an invalid document keeps all old values, with one error and a count", async () => {
      await reload("shop:\n  perSecond: none\n  curency: EUR\n", "refused");
      assert.deepEqual(await settings(), { perSecond: 30, url: "http://127.0.0.1:9" });
      assert.equal(errors().length, 1);
      assert.match(String(errors()[0]?.["message"]), /2 faults in the config[^]*perSecond[^]*curency/);
    });

    it("with a key that cannot change refuses it by name, and with it all the rest", async () => {
      await reload("shop:\n  perSecond: 40\n  url: http://127.0.0.1:10\n", "refused");
      assert.deepEqual(await settings(), { perSecond: 30, url: "http://127.0.0.1:9" });
      assert.equal(errors().length, 2);
      assert.match(String(errors()[1]?.["message"]), /shop\.url/);
      assert.doesNotMatch(String(errors()[1]?.["message"]), /perSecond/);
    });

    it("is no signal to stop: the service serves on, and stops in order at SIGTERM", async () => {
      await reload("shop:\n  perSecond: 50\n", "changed");
      assert.deepEqual(await settings(), { perSecond: 50, url: "http://127.0.0.1:9" });
      shop.signal("SIGTERM");
      assert.deepEqual(await shop.exit, { code: 0, signal: null });
    });
  });
}
