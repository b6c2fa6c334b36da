import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import {
  type AppEvent,
  type ConfigSource,
  type ConfigStore,
  coreModule,
  createConfigStore,
  defineModule,
  defineSettings,
  loadConfig,
  provider,
  systemClock,
  token,
} from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import { z } from "zod";
import { type ConsulAgent, startConsul } from "../../../../scripts/servers/index.ts";
import { consulConfig, type ConsulKv, createConsulKv } from "../index.ts";

const http = defineSettings(
  "http",
  z.strictObject({
    host: z.string().default("none"),
    port: z.int().min(1).default(1),
    path: z.string().default("/"),
    limit: z.int().default(1),
  }),
  { reloadable: ["port", "limit"] },
);

describe("an app's config with Consul among its sources", { timeout: 40_000 }, () => {
  let agent: ConsulAgent;
  let kv: ConsulKv;
  let folder: string;
  let file: string;
  before(async () => {
    agent = await startConsul();
    kv = createConsulKv({ address: agent.address });
    folder = await mkdtemp(join(tmpdir(), "plinth-consul-config-"));
    file = join(folder, "config.yaml");
    await writeFile(file, "http:\n  host: file\n  port: 10\n  path: /file\n");
  });
  after(async () => {
    await kv?.close();
    await agent?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const from = (place: { readonly key: string } | { readonly prefix: string }): ConfigSource =>
    consulConfig({ ...place, address: agent.address, environment: {}, maxTries: 1, maxRequestsPerSecond: 20 });

  it("has Consul win over the file, and the environment over Consul; later sources over earlier ones", async () => {
    await kv.put("config/shared", "http: { host: shared, port: 20, limit: 5 }");
    await kv.put("config/notes/http/port", "30");
    await kv.put("config/notes/http/path", "/consul");
    const values = await loadConfig([http], {
      file,
      sources: [from({ key: "config/shared" }), from({ prefix: "config/notes/" })],
      environment: { PLINTH_HTTP_PATH: "/variable" },
    });
    assert.deepEqual({ ...(values.get("http") as object) }, { host: "shared", port: 30, path: "/variable", limit: 5 });
  });

  it("names key and line in Consul for each fault, of every source in one report", async () => {
    await kv.put("config/bad", "http:\n  port: none\n  hots: x\n");
    await kv.put("config/worse/http/limit", "[1]");
    await kv.put("config/worse/htp/port", "1");
    const loading = loadConfig([http], {
      file,
      sources: [from({ key: "config/bad" }), from({ prefix: "config/worse/" })],
      environment: {},
    });
    await assert.rejects(loading, (error: { code?: unknown; faults?: { key: string; source: string }[] }) => {
      assert.equal(error.code, "ERR_CONFIG_INVALID");
      assert.deepEqual(
        new Map(error.faults?.map(({ key, source }) => [key, source])),
        new Map([
          ["htp", "consul:config/worse/htp/"],
          ["http.port", "consul:config/bad:2"],
          ["http.limit", "consul:config/worse/http/limit"],
          ["http.hots", "consul:config/bad:3"],
        ]),
      );
      return true;
    });
  });

  it("does not start when Consul cannot be read, and says where and which key", async () => {
    const away = consulConfig({ key: "config/notes", address: "127.0.0.1:1", environment: {}, maxTries: 1 });
    await assert.rejects(loadConfig([http], { sources: [away], environment: {} }), {
      code: "ERR_CONFIG_SOURCE",
      message: /consul:config\/notes: cannot be read: GET \/v1\/kv\/config\/notes at http:\/\/127\.0\.0\.1:1 failed/,
    });
  });

  it("reloads what has changed in Consul, refuses what is wrong as a whole, and follows on", async () => {
    await kv.put("config/live", "http: { port: 40, limit: 1 }");
    const store = await createConfigStore([http], { sources: [from({ key: "config/live" })], environment: {} });
    const outcomes = new Outcomes(store);
    store.watch({ clock: systemClock, onChange: outcomes.reload });
    assert.deepEqual(store.get(http).port, 40);

    await kv.put("config/live", "http: { port: 41, limit: 2 }");
    assert.deepEqual(await outcomes.next(), ["http.port", "http.limit"]);
    assert.deepEqual([store.get(http).port, store.get(http).limit], [41, 2]);

    await kv.put("config/live", "http: { port: none, limit: 3 }");
    assert.equal(await outcomes.next(), "ERR_CONFIG_INVALID");
    await kv.put("config/live", "http: [");
    assert.equal(await outcomes.next(), "ERR_CONFIG_FILE");
    await kv.put("config/live", "http: { host: other, port: 42 }");
    assert.equal(await outcomes.next(), "ERR_CONFIG_FIXED");
    assert.deepEqual([store.get(http).port, store.get(http).limit], [41, 2]);

    await kv.delete("config/live");
    assert.deepEqual(await outcomes.next(), ["http.port", "http.limit"]);
    assert.deepEqual([store.get(http).port, store.get(http).limit], [1, 1]);
    store.close();
  });

  it("is reloaded by a running app", async () => {
    await kv.put("config/app/http/port", "50");
    const settings = token("settings").of<unknown>();
    const app = await testApp({
      name: "notes",
      modules: [
        coreModule,
        defineModule("notes", [provider({ provides: settings, needs: { http }, create: (given) => given.http })]),
      ],
      expose: [settings],
      config: { sources: [from({ prefix: "config/app/" })] },
    });
    const reloaded = Promise.withResolvers<AppEvent>();
    app.events.subscribe((event) => event.type === "config" && reloaded.resolve(event));
    await kv.put("config/app/http/port", "51");
    assert.deepEqual(await reloaded.promise, { type: "config", outcome: "changed", changed: ["http.port"] });
    const port = (await app.config.explain()).find(({ key }) => key === "http.port");
    assert.deepEqual([port?.value, port?.source], [51, "consul:config/app/http/port"]);
    await app.stop();
  });
});

/** Reloads a store when told to, and keeps what came of it. */
class Outcomes {
  readonly #store: ConfigStore;
  readonly #waiting: Promise<readonly string[] | string>[] = [];
  #wake = (): void => {};

  constructor(store: ConfigStore) {
    this.#store = store;
  }

  readonly reload = (): void => {
    this.#waiting.push(
      this.#store.reload().then(
        ({ changed }) => changed,
        (error: { readonly code?: unknown }) => String(error.code),
      ),
    );
    this.#wake();
  };

  async next(): Promise<readonly string[] | string> {
    for (;;) {
      const outcome = this.#waiting.shift();
      if (outcome) return outcome;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
