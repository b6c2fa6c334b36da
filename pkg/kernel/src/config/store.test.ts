import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { z } from "zod";
import { ConfigError } from "./errors.ts";
import { parseConfig } from "./file.ts";
import { secretString } from "./secret.ts";
import { defineSettings, type SettingsToken } from "./settings.ts";
import type { ConfigSource } from "./source.ts";
import type { ConfigSources } from "./snapshot.ts";
import { type ConfigStore, createConfigStore } from "./store.ts";

const log = defineSettings(
  "log",
  z.strictObject({
    level: z.string().default("info"),
    levels: z.record(z.string(), z.string()).default({}),
    format: z.string().default("json"),
  }),
  { reloadable: ["level", "levels"] },
);
const http = defineSettings("http", z.strictObject({ port: z.int().default(80), host: z.string().default("a") }));
const keys = defineSettings(
  "keys",
  z.strictObject({ main: secretString("The key.").optional(), fixed: secretString("Another.").optional() }),
  { reloadable: ["main"] },
);
const all = [log, http, keys] as const;

let folder = "";
before(() => {
  folder = mkdtempSync(join(tmpdir(), "plinth-store-"));
});
after(() => rmSync(folder, { recursive: true }));

const path = (): string => join(folder, "config.yaml");
const write = (text: string): void => writeFileSync(path(), text);

async function open(text: string, sources: Partial<ConfigSources> = {}): Promise<ConfigStore> {
  write(text);
  return createConfigStore(all, { environment: {}, file: path(), ...sources });
}

/** The error of what must fail, with one line for each fault. */
async function failureOf(
  work: Promise<unknown>,
): Promise<{ readonly code: string; readonly lines: readonly string[] }> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    const lines = error.faults.map(({ key, problem, source }) => `${key}: ${problem} (${source})`);
    return { code: error.code, lines: lines.map((line) => line.replaceAll(`${folder}/`, "")) };
  }
  return assert.fail("it went well");
}

/** A source whose loads the test ends by hand. */
class Remote implements ConfigSource {
  readonly name = "remote";
  readonly loads: PromiseWithResolvers<void>[] = [];
  #arrived = Promise.withResolvers<void>();
  text = "";

  async load(): Promise<ReturnType<typeof parseConfig>> {
    const load = Promise.withResolvers<void>();
    this.loads.push(load);
    this.#arrived.resolve();
    this.#arrived = Promise.withResolvers();
    const { text } = this; // as it was when it was asked for
    await load.promise;
    return parseConfig(text, "remote");
  }

  /** Lets the load with this number end, once it is there. */
  async end(index: number): Promise<void> {
    while (this.loads.length <= index) await this.#arrived.promise;
    this.loads[index]?.resolve();
  }
}

async function openRemote(): Promise<{ readonly store: ConfigStore; readonly remote: Remote }> {
  const remote = new Remote();
  const opening = createConfigStore(all, { environment: {}, sources: [remote] });
  await remote.end(0);
  return { store: await opening, remote };
}

describe("createConfigStore", () => {
  it("gives the frozen values of each section, typed by its token", async () => {
    const store = await open("log:\n  level: warn\n");
    const { level }: { readonly level: string } = store.get(log);
    assert.equal(level, "warn");
    assert.equal(store.current.get("http"), store.get(http));
    assert.ok(Object.isFrozen(store.get(log).levels));
  });

  it("refuses a section that it was not made with", async () => {
    const store = await open("");
    const other = defineSettings("other", z.strictObject({}));
    for (const use of [() => store.get(other), () => store.subscribe(other, () => {})]) {
      assert.throws(use, {
        code: "ERR_OPTION_RANGE",
        message: 'settings must be of a section of this config, not "other"',
      });
    }
  });

  it("ends with the signal's reason when that aborts while a source hangs", async () => {
    const cancel = new AbortController();
    const opening = createConfigStore(all, { environment: {}, sources: [new Remote()] }, cancel);
    cancel.abort(new Error("enough"));
    await assert.rejects(opening, { message: "enough" });
  });
});

describe("a schema that hangs", () => {
  it("holds neither the load nor later reloads up longer than their signals", async () => {
    let hangs = true;
    const slow = defineSettings("slow", {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: (value: unknown) => (hangs ? new Promise<never>(() => {}) : { value }),
      },
    });
    const cancel = new AbortController();
    const opening = createConfigStore([slow], { environment: {} }, cancel);
    cancel.abort(new Error("enough"));
    await assert.rejects(opening, { message: "enough" });
    hangs = false;
    const store = await createConfigStore([slow], { environment: {} });
    hangs = true;
    const other = new AbortController();
    const stuck = store.reload(other);
    await new Promise(setImmediate);
    other.abort(new Error("enough"));
    await assert.rejects(stuck, { message: "enough" });
    hangs = false;
    assert.deepEqual(await store.reload(), { changed: [] });
  });
});

describe("a reload", () => {
  it("swaps what may change at once, and tells the changed keys", async () => {
    const store = await open("log:\n  level: warn\n");
    const before = store.get(log);
    write("log:\n  level: debug\n  levels: {http: trace}\n");
    assert.deepEqual(await store.reload(), { changed: ["log.level", "log.levels.http"] });
    assert.deepEqual(store.get(log), { level: "debug", levels: { http: "trace" }, format: "json" });
    assert.equal(before.level, "warn");
    assert.equal(store.current.get("log"), store.get(log));
  });

  it("keeps the very objects of sections in which nothing changed", async () => {
    const store = await open("log:\n  level: warn\n");
    const [oldLog, oldHttp] = [store.get(log), store.get(http)];
    assert.deepEqual(await store.reload(), { changed: [] });
    assert.equal(store.get(log), oldLog);
    write("log:\n  level: debug\n");
    await store.reload();
    assert.notEqual(store.get(log), oldLog);
    assert.equal(store.get(http), oldHttp);
  });

  it("takes a default that is now written out, and one that is written out no more, for no change", async () => {
    const store = await open("");
    const old = store.get(http);
    write("http:\n  port: 80\n");
    assert.deepEqual(await store.reload(), { changed: [] });
    assert.equal(store.get(http), old);
    assert.match(store.explain().find(({ key }) => key === "http.port")?.source ?? "", /config\.yaml:2$/);
    write("");
    assert.deepEqual(await store.reload(), { changed: [] });
  });

  it("is refused as a whole, by name, when a key would change that cannot while the app runs", async () => {
    const store = await open("http:\n  port: 81\n  host: b\n");
    const before = store.current;
    write("log:\n  level: debug\n  format: pretty\nhttp:\n  port: 82\n");
    assert.deepEqual(await failureOf(store.reload()), {
      code: "ERR_CONFIG_FIXED",
      lines: [
        'log.format: cannot change while the app runs, from "json" to "pretty"; restart the app to use it, or take it back (config.yaml:3)',
        "http.port: cannot change while the app runs, from 81 to 82; restart the app to use it, or take it back (config.yaml:5)",
        'http.host: cannot change while the app runs, from "b" to "a"; restart the app to use it, or take it back (default, was config.yaml:3)',
      ],
    });
    assert.equal(store.current, before);
    assert.equal(store.get(log).level, "info");
  });

  it("tells what is invalid and what cannot change in one report", async () => {
    const store = await open("");
    write("log:\n  levl: debug\nhttp:\n  port: 82\n");
    const { code, lines } = await failureOf(store.reload());
    assert.equal(code, "ERR_CONFIG_INVALID");
    assert.match(lines.join("\n"), /log\.levl: unknown key; did you mean "log\.level"\?.*\nhttp\.port: cannot change/);
  });

  it("keeps what was when the file is broken, and takes it once it is mended", async () => {
    const store = await open("log:\n  level: warn\n");
    write("log: [");
    assert.equal((await failureOf(store.reload())).code, "ERR_CONFIG_FILE");
    rmSync(path());
    assert.equal((await failureOf(store.reload())).code, "ERR_CONFIG_FILE");
    assert.equal(store.get(log).level, "warn");
    write("log:\n  level: error\n");
    assert.deepEqual(await store.reload(), { changed: ["log.level"] });
  });

  it("reads the environment anew", async () => {
    const environment: Record<string, string> = {};
    const store = await open("", { environment });
    environment.PLINTH_LOG_LEVEL = "trace";
    assert.deepEqual(await store.reload(), { changed: ["log.level"] });
  });

  it("compares secrets by what they hold, and shows neither", async () => {
    const store = await open("keys: {main: hunter1, fixed: hunter2}\n");
    const old = store.get(keys);
    await store.reload();
    assert.equal(store.get(keys), old);
    write("keys: {main: hunter3, fixed: hunter2}\n");
    assert.deepEqual(await store.reload(), { changed: ["keys.main"] });
    assert.equal(store.get(keys).main?.reveal(), "hunter3");
    write("keys: {main: hunter3, fixed: hunter4}\n");
    assert.deepEqual((await failureOf(store.reload())).lines, [
      "keys.fixed: cannot change while the app runs, from *** to ***; restart the app to use it, or take it back (config.yaml:1)",
    ]);
  });

  it("compares what schemas make URLs, dates and patterns of", async () => {
    const made = defineSettings(
      "made",
      z.strictObject({
        url: z.string().transform((text) => new URL(text)),
        at: z.string().transform((text) => new Date(text)),
        pattern: z.string().transform((text) => new RegExp(text)),
        call: z.string().transform((text) => () => text),
      }),
    );
    const text = "made: {url: 'http://a', at: '2026-01-01', pattern: x, call: y}\n";
    write(text);
    const store = await createConfigStore([made], { environment: {}, file: path() });
    for (const [from, to, key] of [
      ["http://a", "http://b", "made.url"],
      ["2026", "2027", "made.at"],
      ["pattern: x", "pattern: z", "made.pattern"],
      ["call: y", "call: z", "made.call"],
    ] as const) {
      write(text.replace(from, to));
      assert.match((await failureOf(store.reload())).lines.join(), new RegExp(`^${key}: cannot change[^\n]*$`));
    }
  });

  it("takes another spelling of the same URL for no change", async () => {
    const made = defineSettings("made", z.strictObject({ url: z.string().transform((text) => new URL(text)) }));
    write("made: {url: 'http://a'}\n");
    const store = await createConfigStore([made], { environment: {}, file: path() });
    const old = store.get(made);
    write("made: {url: 'http://a/'}\n");
    assert.deepEqual(await store.reload(), { changed: [] });
    assert.equal(store.get(made), old);
  });

  it("finds the change in a section whose schema renames its keys", async () => {
    const renamed = defineSettings(
      "renamed",
      z.strictObject({ port: z.int() }).transform(({ port }) => ({ address: `:${port}` })),
    );
    write("renamed: {port: 1}\n");
    const store = await createConfigStore([renamed], { environment: {}, file: path() });
    write("renamed: {port: 2}\n");
    assert.match((await failureOf(store.reload())).lines.join(), /^renamed\.port: cannot change .* from 1 to 2;/);
  });

  it("finds the change of a key that only another value follows from", async () => {
    const derived = defineSettings(
      "derived",
      z.strictObject({ size: z.int() }).transform(({ size }) => ({ size: Math.min(size, 5), isCut: size > 5 })),
    );
    write("derived: {size: 5}\n");
    const store = await createConfigStore([derived], { environment: {}, file: path() });
    write("derived: {size: 6}\n");
    assert.match((await failureOf(store.reload())).lines.join(), /^derived\.size: cannot change .* from 5 to 6;/);
  });

  it("changes anything in a section that is reloadable as a whole", async () => {
    const free = defineSettings("free", z.strictObject({ a: z.int().default(1), b: z.int().default(1) }), {
      reloadable: "all",
    });
    write("");
    const store = await createConfigStore([free], { environment: {}, file: path() });
    write("free: {a: 2, b: 3}\n");
    assert.deepEqual(await store.reload(), { changed: ["free.a", "free.b"] });
  });
});

describe("subscribers", () => {
  it("hear of the new and the old value after the swap, only when their section changed", async () => {
    const store = await open("log: {level: warn}\n");
    const heard: string[] = [];
    store.subscribe(log, (next, old) => heard.push(`${old.level}>${next.level}, now ${store.get(log).level}`));
    store.subscribe(http, () => heard.push("http"));
    write("log: {level: debug}\n");
    await store.reload();
    await store.reload();
    write("log: {level: error}\nhttp: {port: 1}\n");
    await failureOf(store.reload());
    assert.deepEqual(heard, ["warn>debug, now debug"]);
  });

  it("hear nothing more once they have ended it, and may end it twice", async () => {
    const store = await open("");
    let calls = 0;
    const end = store.subscribe(log, () => calls++);
    end();
    end();
    write("log: {level: debug}\n");
    await store.reload();
    assert.equal(calls, 0);
  });

  it("that throw keep neither the reload nor the others from going on", async (t) => {
    const store = await open("");
    const thrown = Promise.withResolvers<unknown>();
    const own = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.once("uncaughtException", thrown.resolve);
    t.after(() => own.forEach((listener) => process.on("uncaughtException", listener)));
    let calls = 0;
    store.subscribe(log, () => {
      throw new Error("my fault");
    });
    store.subscribe(log, () => calls++);
    write("log: {level: debug}\n");
    assert.deepEqual(await store.reload(), { changed: ["log.level"] });
    assert.equal(calls, 1);
    assert.match(String(await thrown.promise), /my fault/);
  });
});

describe("reloads at the same time", () => {
  it("come one after another, and those that wait share one", async () => {
    const { store, remote } = await openRemote();
    remote.text = "log: {level: a}";
    const first = store.reload();
    while (remote.loads.length < 2) await new Promise(setImmediate);
    remote.text = "log: {level: b}";
    const others = [store.reload(), store.reload(), store.reload()];
    assert.equal(remote.loads.length, 2);
    await remote.end(1);
    assert.deepEqual(await first, { changed: ["log.level"] });
    assert.equal(store.get(log).level, "a");
    await remote.end(2);
    for (const other of await Promise.all(others)) assert.deepEqual(other, { changed: ["log.level"] });
    assert.equal(store.get(log).level, "b");
    assert.equal(remote.loads.length, 3);
  });

  it("go on after one that failed", async () => {
    const { store, remote } = await openRemote();
    remote.text = "log: [";
    const first = failureOf(store.reload());
    while (remote.loads.length < 2) await new Promise(setImmediate);
    remote.text = "log: {level: b}";
    const second = store.reload();
    await remote.end(1);
    assert.equal((await first).code, "ERR_CONFIG_FILE");
    await remote.end(2);
    assert.deepEqual(await second, { changed: ["log.level"] });
  });

  it("let go of who gives up, and only end when nobody waits", async () => {
    const { store, remote } = await openRemote();
    remote.text = "log: {level: a}";
    const cancel = new AbortController();
    const impatient = store.reload(cancel);
    while (remote.loads.length < 2) await new Promise(setImmediate);
    const patient = store.reload();
    cancel.abort(new Error("enough"));
    await assert.rejects(impatient, { message: "enough" });
    // the first reload ended with its only caller, though its source still hangs
    await remote.end(2);
    assert.deepEqual(await patient, { changed: ["log.level"] });
    remote.loads[1]?.resolve();
    assert.equal(store.get(log).level, "a");
  });

  it("do not end for who comes after one that gave up while waiting", async () => {
    const { store, remote } = await openRemote();
    const first = store.reload();
    while (remote.loads.length < 2) await new Promise(setImmediate);
    const cancel = new AbortController();
    const impatient = store.reload(cancel);
    cancel.abort(new Error("enough"));
    await assert.rejects(impatient, { message: "enough" });
    remote.text = "log: {level: c}";
    const late = store.reload();
    await remote.end(1);
    await first;
    await remote.end(2);
    assert.deepEqual(await late, { changed: ["log.level"] });
  });

  it("do not begin for a signal that has aborted", async () => {
    const { store, remote } = await openRemote();
    await assert.rejects(store.reload({ signal: AbortSignal.abort(new Error("no")) }), { message: "no" });
    assert.equal(remote.loads.length, 1);
  });
});

describe("a closed store", () => {
  it("reloads no more, keeps its values, and may be closed twice", async () => {
    const store = await open("log: {level: warn}\n");
    store.close();
    store.close();
    assert.equal((await failureOf(store.reload())).code, "ERR_CONFIG_CLOSED");
    assert.equal(store.get(log).level, "warn");
  });

  it("ends the reload that runs and the one that waits, and swaps nothing", async () => {
    const { store, remote } = await openRemote();
    remote.text = "log: {level: a}";
    const [running, waiting] = [failureOf(store.reload()), failureOf(store.reload())];
    while (remote.loads.length < 2) await new Promise(setImmediate);
    store.close();
    remote.loads[1]?.resolve();
    assert.deepEqual([(await running).code, (await waiting).code], ["ERR_CONFIG_CLOSED", "ERR_CONFIG_CLOSED"]);
    assert.equal(store.get(log).level, "info");
  });
});

/** Types: a key that the section does not have does not compile. */
export function reloadableKeys(): readonly SettingsToken[] {
  const schema = z.strictObject({ level: z.string().default("x") });
  // @ts-expect-error -- there is no such key
  return [defineSettings("a", schema, { reloadable: ["levl"] }), defineSettings("b", schema, { reloadable: "all" })];
}
