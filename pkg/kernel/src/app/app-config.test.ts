import assert from "node:assert/strict";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { z } from "zod";
import { sleep, systemClock } from "../clock.ts";
import type { ConfigSource } from "../config/source.ts";
import { parseConfig } from "../config/file.ts";
import { Secret, secretString } from "../config/secret.ts";
import { defineSettings } from "../config/settings.ts";
import { coreModule } from "../core-module.ts";
import { logger } from "../logger/module.ts";
import { metrics } from "../metrics/module.ts";
import type { ErrorReport } from "../errors/error-bus.ts";
import { errorReporters } from "../errors/module.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { MemoryLog } from "../testing/memory-log.ts";
import { testApp } from "../testing/test-app.ts";
import { createApp } from "./create-app.ts";
import type { ConfigEvent } from "./events.ts";
import { defineModule } from "./module.ts";
import { live, type LiveSettings } from "./needs.ts";
import { provider } from "./provider.ts";
import { token } from "./token.ts";

const settings = defineSettings(
  "notes",
  z.strictObject({
    perSecond: z.number().min(1).default(10),
    path: z.string().default("/notes"),
    key: secretString("Signs what is sent.").default(new Secret("none")),
  }),
  { reloadable: ["perSecond", "key"] },
);
type Notes = LiveSettings<{ perSecond: number; path: string; key: Secret }>;
const notes = token("notes").of<Notes>();

/** A config file that the test may rewrite. */
function fileFor(t: TestContext, text: string): { readonly file: string; write(next: string): void } {
  const folder = mkdtempSync(join(tmpdir(), "plinth-config-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "config.yaml");
  const write = (next: string): void => {
    writeFileSync(`${file}.new`, next);
    renameSync(`${file}.new`, file); // as deployments do: never half written
  };
  write(text);
  return { file, write };
}

async function start(
  t: TestContext,
  options: { readonly file?: string; readonly sources?: readonly ConfigSource[]; readonly watch?: boolean },
) {
  const reports: ErrorReport[] = [];
  const clock = new FakeClock();
  const module = defineModule("notes", [
    provider({ provides: notes, needs: { notes: live(settings) }, create: ({ notes }) => notes, start: () => {} }),
    provider({
      provides: errorReporters,
      create: () => ({ name: "test", report: (batch: readonly ErrorReport[]) => void reports.push(...batch) }),
    }),
  ]);
  const app = await testApp({
    name: "app",
    modules: [coreModule, module],
    expose: [logger, metrics],
    clock,
    config: options,
  });
  t.after(() => app.stop());
  const events: ConfigEvent[] = [];
  app.events.subscribe((event) => event.type === "config" && events.push(event));
  const reloads = async (): Promise<string[]> =>
    (await app.get(metrics).expose()).body.split("\n").filter((line) => line.startsWith("app_config_reloads_total"));
  return { app, clock, reports, events, reloads };
}

describe("the config of a running app", () => {
  it("takes what may change, tells those who asked for it, and counts it", async (t) => {
    const { file, write } = fileFor(t, "notes: { perSecond: 5 }");
    const { app, events, reports, reloads } = await start(t, { file, watch: false });
    const own = app.get(notes);
    const heard: [number, number][] = [];
    own.subscribe((next, previous) => heard.push([previous.perSecond, next.perSecond]));
    const before = own.current;
    write("notes: { perSecond: 7 }");
    assert.deepEqual(await app.config.reload(), { changed: ["notes.perSecond"] });
    assert.deepEqual([before.perSecond, own.current.perSecond, heard], [5, 7, [[5, 7]]]);
    assert.ok(Object.isFrozen(own.current));
    assert.deepEqual(await app.config.reload(), { changed: [] });
    assert.equal(heard.length, 1);
    assert.deepEqual(
      events.map(({ outcome }) => outcome),
      ["changed", "unchanged"],
    );
    assert.deepEqual(await reloads(), [
      'app_config_reloads_total{outcome="changed"} 1',
      'app_config_reloads_total{outcome="unchanged"} 1',
      'app_config_reloads_total{outcome="refused"} 0',
    ]);
    assert.deepEqual(
      app.logged.withMessage("config changed").map(({ changed }) => changed),
      [["notes.perSecond"]],
    );
    assert.deepEqual(reports, []);
  });

  it("stays as it is on any fault, with one error and a count", async (t) => {
    const { file, write } = fileFor(t, "notes: { perSecond: 5 }");
    const { app, events, reports, reloads } = await start(t, { file, watch: false });
    write("notes: { perSecond: 0, pth: /x }\nlog: { level: loud }");
    await assert.rejects(app.config.reload(), (error: unknown) => {
      assert.match(String(error), /3 faults in the config/);
      return true;
    });
    assert.equal(app.get(notes).current.perSecond, 5);
    assert.deepEqual(
      events.map(({ outcome }) => outcome),
      ["refused"],
    );
    await settled();
    assert.deepEqual(
      reports.map(({ error }) => error.code),
      ["ERR_CONFIG_INVALID"],
    );
    assert.equal((await reloads())[2], 'app_config_reloads_total{outcome="refused"} 1');
    assert.equal(app.logged.lines.filter(({ level }) => level === "error").length, 1);
  });

  it("refuses by name what cannot change while the app runs, and with it all the rest", async (t) => {
    const { file, write } = fileFor(t, "notes: { perSecond: 5 }");
    const { app } = await start(t, { file, watch: false });
    write("notes: { perSecond: 6, path: /other }");
    await assert.rejects(app.config.reload(), {
      code: "ERR_CONFIG_FIXED",
      message:
        /notes\.path: cannot change while the app runs, from "\/notes" to "\/other"; restart the app .*config\.yaml:1/,
    });
    assert.equal(app.get(notes).current.perSecond, 5);
  });

  it("follows its file, and a remote source, without being told", async (t) => {
    const { file, write } = fileFor(t, "notes: { perSecond: 5 }");
    let remote = "notes: { perSecond: 5 }";
    let tell: (() => void) | undefined;
    let watched: AbortSignal | undefined;
    const source: ConfigSource = {
      name: "remote",
      load: async () => parseConfig(remote, "remote"),
      watch: (onChange, { signal }) => {
        tell = onChange;
        watched = signal;
      },
    };
    const { app, clock } = await start(t, { file, sources: [source] });
    const changed = (): Promise<void> =>
      new Promise((resolve) => {
        const end = app.events.subscribe((event) => {
          if (event.type !== "config") return;
          end();
          resolve();
        });
      });
    const first = changed();
    write("notes: { perSecond: 5, key: from the file }");
    for (let look = 0; look < 1_000 && app.get(notes).current.key.reveal() === "none"; look++)
      await clock.advance(1_000);
    await first;
    assert.equal(app.get(notes).current.key.reveal(), "from the file");
    const second = changed();
    remote = "notes: { perSecond: 9 }";
    tell?.();
    await second;
    assert.equal(app.get(notes).current.perSecond, 9);
    await app.stop();
    assert.equal(watched?.aborted, true);
    assert.equal(clock.pending, 0);
  });

  it("is not held by a source that hangs: the reload is refused at its limit, and the next one works", async (t) => {
    let isHanging = false;
    const source: ConfigSource = {
      name: "remote",
      load: async () => (isHanging ? new Promise(() => {}) : parseConfig("notes: { perSecond: 5 }", "remote")),
    };
    const { app, clock } = await start(t, { sources: [source] });
    isHanging = true;
    const refused = assert.rejects(app.config.reload(), {
      code: "ERR_LIFECYCLE_TIMEOUT",
      message: /^reading the config anew took longer than its limit of 60000 ms/,
    });
    await clock.advance(60_000);
    await refused;
    isHanging = false;
    assert.deepEqual(await app.config.reload(), { changed: [] });
  });

  it("runs on when a source cannot be watched, which is reported, and follows its file all the same", async (t) => {
    const { file, write } = fileFor(t, "notes: { perSecond: 5 }");
    const broken = new Error("no such stream");
    const source: ConfigSource = {
      name: "remote",
      load: async () => parseConfig("", "remote"),
      watch: () => {
        throw broken;
      },
    };
    const { app, clock, reports, reloads } = await start(t, { file, sources: [source] });
    assert.equal(app.state, "ready");
    await settled();
    assert.deepEqual(
      reports.map(({ error }) => [error.code, error.message, error.cause]),
      [
        [
          "ERR_CONFIG_SOURCE",
          "1 fault in the config:\n  remote: cannot be watched: no such stream; its changes are seen at the next reload, or after a restart (config source)",
          broken,
        ],
      ],
    );
    assert.equal((await reloads())[2], 'app_config_reloads_total{outcome="refused"} 1');
    const changed = new Promise<void>((resolve) => {
      app.events.subscribe((event) => event.type === "config" && event.outcome === "changed" && resolve());
    });
    write("notes: { perSecond: 6 }");
    for (let look = 0; look < 1_000 && app.get(notes).current.perSecond !== 6; look++) await clock.advance(1_000);
    await changed;
    assert.equal(app.get(notes).current.perSecond, 6);
    assert.equal(reports.length, 1);
  });

  it("is reloaded only while the app runs", async (t) => {
    const { app } = await start(t, {});
    await app.stop();
    await assert.rejects(app.config.reload(), { code: "ERR_APP_STATE", message: /it has stopped/ });
    const fresh = createApp({ name: "app", modules: [], config: { environment: {} } });
    await assert.rejects(fresh.config.reload(), { code: "ERR_APP_STATE", message: /it has not started/ });
  });

  it("changes the level of all loggers, by name too, those that were made before included", async (t) => {
    const { file, write } = fileFor(t, "log: { level: warn }");
    const { app } = await start(t, { file, watch: false });
    const log = app.get(logger);
    const pool = log.named("database").child({ id: 1 });
    pool.debug("unheard");
    write("log: { level: warn, levels: { database: debug } }");
    await app.config.reload();
    pool.debug("heard");
    log.info("unheard");
    assert.deepEqual(
      app.logged.lines.filter(({ message }) => String(message).endsWith("heard")).map(({ message }) => message),
      ["heard"],
    );
  });

  it("explains itself before the start and after, without its secrets", async (t) => {
    const { file } = fileFor(t, "notes:\n  perSecond: 5\n  key: hunter2");
    const part = provider({ provides: notes, needs: { notes: live(settings) }, create: ({ notes }) => notes });
    const app = createApp({
      name: "app",
      modules: [defineModule("notes", [part])],
      config: { file, environment: { PLINTH_NOTES_PATH: "/n" } },
    });
    const own = async (): Promise<unknown[]> =>
      (await app.config.explain())
        .filter(({ key }) => key.startsWith("notes."))
        .map(({ key, value, source, isReloadable }) => [key, value, source.replace(file, "config.yaml"), isReloadable]);
    const before = await own();
    assert.deepEqual(before, [
      ["notes.perSecond", 5, "config.yaml:2", true],
      ["notes.path", "/n", "PLINTH_NOTES_PATH", false],
      ["notes.key", "***", "config.yaml:3", true],
    ]);
    assert.equal(app.state, "created");
    await app.start();
    assert.deepEqual(await own(), before);
    await app.stop();
    assert.deepEqual(await own(), before);
    const schema = app.config.jsonSchema();
    assert.match(JSON.stringify(schema), /"perSecond"/);
  });

  it("is read anew by the start, though it was explained before", async (t) => {
    const { file, write } = fileFor(t, "notes: { perSecond: 5 }");
    const part = provider({ provides: notes, needs: { notes: live(settings) }, create: ({ notes }) => notes });
    const app = createApp({
      name: "app",
      modules: [defineModule("notes", [part])],
      config: { file, environment: { PLINTH_NOTES_PATH: "/n", PLINTH_NOTES_KEY: "k" } },
      expose: [notes],
    });
    await app.config.explain();
    write("notes: { perSecond: 6 }");
    await app.start();
    assert.equal(app.get(notes).current.perSecond, 6);
    assert.equal((await app.config.explain()).find(({ key }) => key === "notes.perSecond")?.value, 6);
    await app.stop();
  });

  it("that cannot be read fails the start and explain alike, and is read anew by the next", async (t) => {
    const { file, write } = fileFor(t, "notes: { perSecond: 0 }");
    const part = provider({ provides: notes, needs: { notes: live(settings) }, create: ({ notes }) => notes });
    const app = createApp({
      name: "app",
      modules: [defineModule("notes", [part])],
      config: { file, environment: {} },
      logDestination: new MemoryLog(),
    });
    await assert.rejects(app.config.explain(), { code: "ERR_CONFIG_INVALID" });
    write("notes: { perSecond: 3 }");
    const entries = await app.config.explain();
    assert.equal(entries.find(({ key }) => key === "notes.perSecond")?.value, 3);
  });

  it("whose remote source hangs gives up at its limit, and at once when the start is cancelled", async () => {
    const clock = new FakeClock();
    const hanging: ConfigSource = { name: "remote", load: () => new Promise(() => {}) };
    const make = () =>
      createApp({
        name: "app",
        modules: [],
        clock,
        config: { environment: {}, sources: [hanging] },
        logDestination: new MemoryLog(),
      });
    const slow = assert.rejects(make().start(), {
      code: "ERR_LIFECYCLE_TIMEOUT",
      message: /^reading the config took longer/,
    });
    await clock.advance(60_000);
    await slow;
    const cancel = new AbortController();
    const cancelled = assert.rejects(make().start({ signal: cancel.signal }), { status: "cancelled" });
    cancel.abort(new Error("enough"));
    await clock.advance(1_000);
    await cancelled;
    assert.equal(clock.pending, 0);
  });
});

describe("what an app logs before it has a logger", () => {
  it("is written by the logger once it is there", async () => {
    const log = new MemoryLog();
    const app = createApp({
      name: "app",
      modules: [coreModule],
      logDestination: log,
      config: { environment: {}, overrides: { lifecycle: { announceDelayMs: 0 } } },
    });
    app.log.info("hello before", { part: 1 });
    assert.deepEqual(log.lines, []);
    await app.start();
    app.log.info("hello after");
    await app.stop();
    const messages = log.lines.map(({ message }) => message);
    assert.equal(messages[0], "hello before");
    assert.ok(messages.some((message) => message === "hello after"));
  });

  it("is written when the start fails before there is one, with why", async () => {
    const log = new MemoryLog();
    const app = createApp({
      name: "app",
      modules: [coreModule],
      logDestination: log,
      config: { environment: { PLINTH_LOG_LEVEL: "loud" } },
    });
    app.log.info("hello before");
    await assert.rejects(app.start(), { code: "ERR_CONFIG_INVALID" });
    assert.deepEqual(
      log.lines.map(({ level, message, service }) => [level, message, service]),
      [
        ["info", "hello before", "app"],
        ["fatal", "app did not start", "app"],
      ],
    );
  });

  it("is written for people when the environment asks for that, though the config cannot be read", async () => {
    const lines: string[] = [];
    const app = createApp({
      name: "app",
      modules: [coreModule],
      logDestination: { write: (line) => void lines.push(line) },
      config: { environment: { PLINTH_LOG_LEVEL: "loud", PLINTH_LOG_FORMAT: "pretty" } },
    });
    await assert.rejects(app.start(), { code: "ERR_CONFIG_INVALID" });
    assert.match(lines.join(""), /^\[.*\] FATAL: app: app did not start/);
  });

  it("tells of a start that failed before the error bus was there", async () => {
    const log = new MemoryLog();
    const broken = provider({
      provides: token("broken").of<string>(),
      needs: { log: logger },
      ground: true,
      create: () => {
        throw new Error("no ground to stand on");
      },
    });
    const app = createApp({
      name: "app",
      modules: [defineModule("broken", [broken]), coreModule],
      logDestination: log,
      config: { environment: {} },
    });
    await assert.rejects(app.start(), { code: "ERR_LIFECYCLE_START" });
    const told = log.lines.filter(({ message }) => message === "app did not start");
    assert.equal(told.length, 1);
    assert.match(JSON.stringify(told), /no ground to stand on/);
  });

  it("tells of a cancelled start in one line, and of no failure", async () => {
    const log = new MemoryLog();
    const hanging: ConfigSource = {
      name: "remote",
      load: ({ signal }) => sleep(systemClock, 60_000, { signal }).then(() => parseConfig("", "remote")),
    };
    const app = createApp({
      name: "app",
      modules: [coreModule],
      logDestination: log,
      config: { environment: {}, sources: [hanging] },
    });
    const cancel = new AbortController();
    const started = assert.rejects(app.start({ signal: cancel.signal }), { status: "cancelled" });
    cancel.abort(new Error("SIGTERM arrived"));
    await started;
    assert.equal(app.state, "stopped");
    assert.deepEqual(
      log.lines.map(({ level, message, reason }) => [level, message, reason]),
      [["info", "start cancelled", "SIGTERM arrived"]],
    );
  });

  it("is written also where no module gives a logger", async () => {
    const log = new MemoryLog();
    const app = createApp({ name: "app", modules: [], logDestination: log, config: { environment: {} } });
    app.log.info("hello before");
    await app.start();
    await app.stop();
    assert.deepEqual(
      log.lines.map(({ message }) => message),
      ["hello before"],
    );
  });
});

/** Lets the error bus hand its reports on. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
}
