import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { z } from "zod";
import { defineSettings } from "../config/settings.ts";
import type { ConfigSource } from "../config/source.ts";
import { coreModule } from "../core-module.ts";
import { logger } from "../logger/module.ts";
import { metrics } from "../metrics/module.ts";
import type { AppOptions } from "./app.ts";
import { createApp } from "./create-app.ts";
import { appDocuments } from "./documents.ts";
import { defineModule, type Module } from "./module.ts";
import { current, live, optional } from "./needs.ts";
import { provider } from "./provider.ts";
import { token } from "./token.ts";
import { appInfo, clock, requestScopes } from "./tokens.ts";

interface Pool {
  query(text: string): Promise<string>;
}

const pool = token("pool").of<Pool>();
const store = token("store").of<{ readonly list: () => Promise<string> }>();
const lines = token("lines").listOf<string>();
const user = token("user").perRequest<string>();
const pageSettings = defineSettings("page", z.strictObject({ title: z.string().default("Notes") }));
const poolSettings = defineSettings("pool", z.strictObject({ url: z.string() }));

/** What has been called, of what is not to be. */
const calls: string[] = [];

const providePool = provider({
  provides: pool,
  needs: { settings: poolSettings },
  create: () => {
    calls.push("create of pool");
    return { query: async (text: string) => text };
  },
  start: () => calls.push("start of pool"),
  stop: () => calls.push("stop of pool"),
});
const provideStore = provider({
  provides: store,
  needs: { pool, log: logger, time: clock, metrics, scopes: requestScopes },
  create: ({ pool, log, metrics, scopes }) => {
    log.named("store").info("made");
    metrics.counter({ name: "store_reads_total", help: "Reads." }).inc({});
    void scopes.open();
    return { list: async () => pool.query("select") };
  },
});
const page = provider({
  provides: appDocuments,
  needs: { lines, info: appInfo, settings: pageSettings, page: live(pageSettings) },
  create: ({ lines, info, settings, page }) => ({
    name: "page",
    write: () => ({
      text: [info.name, settings.title, page.current.title, ...lines].join("|"),
      faults: [],
      warnings: [],
    }),
  }),
});
const pageModule = defineModule("page", [page]);

function appOf(modules: readonly Module[], config: AppOptions<readonly Module[]>["config"] = {}) {
  calls.length = 0;
  return createApp({ name: "notes", modules, config: { environment: {}, ...config } });
}

const textsOf = async (app: ReturnType<typeof appOf>, name = "page"): Promise<readonly string[]> =>
  (await app.writeDocuments(name)).map(({ text }) => text);

describe("an app that writes a document", () => {
  it("makes what it is written from, with settings, and starts nothing", async () => {
    const line = provider({ provides: lines, needs: { store }, create: ({ store }) => typeof store.list });
    const app = appOf([coreModule, pageModule, defineModule("notes", [providePool, provideStore, line])], {
      environment: { PLINTH_PAGE_TITLE: "Mine" },
    });
    assert.deepEqual(await textsOf(app), ["notes|Mine|Mine|function"]);
    assert.deepEqual(calls, []);
    assert.equal(app.state, "created");
  });

  it("can be started afterwards, and asked again", async () => {
    const app = appOf([coreModule, pageModule], {
      defaults: { lifecycle: { announceDelayMs: 0 }, log: { level: "fatal" } },
    });
    assert.deepEqual(await textsOf(app), await textsOf(app));
    await app.start();
    assert.deepEqual(await textsOf(app), ["notes|Notes|Notes"]);
    await app.stop();
  });

  it("has a stand-in for what has hooks, of which anything may be asked", async () => {
    const line = provider({
      provides: lines,
      needs: { pool, absent: optional(token("absent").of<number>()), user: current(user) },
      create: async ({ pool, absent, user }) => {
        const rows = await pool.query("select");
        return [
          absent ?? "none",
          rows,
          JSON.stringify({ rows }),
          Array.from(rows).length,
          typeof (await user()),
        ].join();
      },
    });
    const provideUser = provider({ provides: user, create: () => "ada" });
    const app = appOf([coreModule, pageModule, defineModule("notes", [providePool, provideUser, line])]);
    assert.deepEqual(await textsOf(app), ['notes|Notes|Notes|none,[pool],{"rows":"[pool]"},0,function']);
    assert.deepEqual(calls, []);
  });

  it("makes what it is written from whatever hooks that has", async () => {
    const line = provider({
      provides: lines,
      create: () => "made",
      start: () => calls.push("start of line"),
      stop: () => calls.push("stop of line"),
    });
    assert.deepEqual(await textsOf(appOf([coreModule, pageModule, defineModule("notes", [line])])), [
      "notes|Notes|Notes|made",
    ]);
    assert.deepEqual(calls, []);
  });

  it("asks for no setting that the document does not need, and for no remote source", async () => {
    const remote: ConfigSource = {
      name: "remote",
      load: async () => assert.fail("it was asked"),
    };
    const line = provider({ provides: lines, needs: { pool }, create: () => "line" });
    const app = appOf([coreModule, pageModule, defineModule("notes", [providePool, line])], { sources: [remote] });
    assert.deepEqual(await textsOf(app), ["notes|Notes|Notes|line"]); // pool.url is nowhere
  });

  it("reads the config file, and tells every fault of what it needs", async () => {
    const folder = await mkdtemp(join(tmpdir(), "documents-"));
    try {
      const file = join(folder, "config.yaml");
      const app = () => appOf([coreModule, pageModule, defineModule("notes", [providePool])], { file });
      await writeFile(file, "page: { title: From the file }\npool: { url: 1 }\n");
      assert.deepEqual(await textsOf(app()), ["notes|From the file|From the file"]);
      await writeFile(file, "page: { title: 1, more: 2 }\n");
      await assert.rejects(textsOf(app()), { code: "ERR_CONFIG_INVALID", message: /page\.title[^]*page\.more/ });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("is empty where no module writes one of that name", async () => {
    assert.deepEqual(await textsOf(appOf([coreModule, pageModule]), "other"), []);
    assert.deepEqual(await textsOf(appOf([])), []);
  });

  it("tells of a faulty graph, and of a create that fails, by whom it is needed", async () => {
    const gone = token("gone").of<string>();
    const faulty = defineModule("faulty", [provider({ provides: lines, needs: { gone }, create: () => "" })]);
    await assert.rejects(textsOf(appOf([pageModule, faulty])), { code: "ERR_GRAPH_INVALID", message: /gone/ });
    const failing = provider({
      provides: lines,
      create: () => {
        throw new Error("no such folder");
      },
    });
    await assert.rejects(textsOf(appOf([pageModule, defineModule("failing", [failing])])), {
      code: "ERR_LIFECYCLE_HOOK",
      message: /^create of "lines" \(module failing.*for a document.*no such folder/,
    });
  });
});

describe("an app that runs", () => {
  it("makes no document", async () => {
    const document = provider({ provides: appDocuments, create: () => assert.fail("it was made") });
    const app = appOf([defineModule("page", [document])], { defaults: { lifecycle: { announceDelayMs: 0 } } });
    await app.start();
    await app.stop();
  });
});
