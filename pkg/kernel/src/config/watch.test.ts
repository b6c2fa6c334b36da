import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { z } from "zod";
import { FakeClock } from "../testing/fake-clock.ts";
import { ConfigError } from "./errors.ts";
import { secretString } from "./secret.ts";
import { defineSettings } from "./settings.ts";
import type { ConfigSource } from "./source.ts";
import type { ConfigSources } from "./snapshot.ts";
import { type ConfigStore, createConfigStore } from "./store.ts";

const log = defineSettings(
  "log",
  z.strictObject({ level: z.string().default("info"), key: secretString("k").optional() }),
  {
    reloadable: "all",
  },
);

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "plinth-watch-"));
});
afterEach(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

/** A store that is watched, and what it told of since. */
class Watched {
  readonly clock = new FakeClock();
  readonly end = new AbortController();
  readonly faults: string[] = [];
  readonly failures: [string, unknown][] = [];
  readonly store: ConfigStore;
  changes = 0;
  reloads = true;

  constructor(store: ConfigStore) {
    this.store = store;
    store.watch({
      clock: this.clock,
      pollMs: 100,
      onChange: () => this.#onChange(),
      onFailure: (source, error) => this.failures.push([source, error]),
      signal: this.end.signal,
    });
  }

  static async open(sources: Partial<ConfigSources> = {}): Promise<Watched> {
    return new Watched(await createConfigStore([log], { environment: {}, file: at("config.yaml"), ...sources }));
  }

  #reloading: Promise<void> = Promise.resolve();

  #onChange(): void {
    this.changes++;
    if (this.reloads) this.#reloading = this.#reload();
  }

  async #reload(): Promise<void> {
    try {
      await this.store.reload();
    } catch (error) {
      assert.ok(error instanceof ConfigError);
      this.faults.push(...error.faults.map(({ problem }) => problem));
    }
  }

  /** Looks at the files `times` times, and lets the reloads end. */
  async look(times: number): Promise<void> {
    for (let time = 0; time < times; time++) {
      await this.clock.advance(100);
      while (this.clock.pending === 0) await new Promise(setImmediate);
      await this.#reloading;
    }
  }
}

describe("watching the config", () => {
  it("tells of a change at the second look that finds it, once", async () => {
    writeFileSync(at("config.yaml"), "log: {level: a}\n");
    const watched = await Watched.open();
    await watched.look(3);
    assert.equal(watched.changes, 0);
    writeFileSync(at("config.yaml"), "log: {level: b}\n");
    await watched.look(1);
    assert.equal(watched.changes, 0);
    await watched.look(4);
    assert.equal(watched.changes, 1);
    assert.equal(watched.store.get(log).level, "b");
  });

  it("tells of a change between the load and its own begin", async () => {
    writeFileSync(at("config.yaml"), "log: {level: a}\n");
    const store = await createConfigStore([log], { environment: {}, file: at("config.yaml") });
    writeFileSync(at("config.yaml"), "log: {level: bb}\n");
    const watched = new Watched(store);
    await watched.look(2);
    assert.equal(store.get(log).level, "bb");
  });

  it("waits for the end of what is being written", async () => {
    writeFileSync(at("config.yaml"), "log: {level: a}\n");
    const watched = await Watched.open();
    for (const text of ["", "log:", "log:\n  level: abc", "log:\n  level: abcdef\n"]) {
      writeFileSync(at("config.yaml"), text);
      await watched.look(1);
    }
    assert.equal(watched.changes, 0);
    await watched.look(2);
    assert.deepEqual([watched.changes, watched.store.get(log).level], [1, "abcdef"]);
  });

  it("says nothing of a file that is only touched", async () => {
    writeFileSync(at("config.yaml"), "log: {level: a}\n");
    const watched = await Watched.open();
    utimesSync(at("config.yaml"), 1, 1);
    await watched.look(4);
    writeFileSync(at("other.yaml"), "log: {level: a}\n");
    renameSync(at("other.yaml"), at("config.yaml"));
    await watched.look(4);
    assert.equal(watched.changes, 0);
  });

  it("follows symbolic links, as those of a mounted ConfigMap, which are swapped", async () => {
    for (const [name, level] of [
      ["first", "a"],
      ["second", "b"],
    ] as const) {
      mkdirSync(at(name));
      writeFileSync(join(at(name), "config.yaml"), `log: {level: ${level}}\n`);
    }
    symlinkSync("first", at("..data"));
    symlinkSync(join("..data", "config.yaml"), at("config.yaml"));
    const watched = await Watched.open();
    symlinkSync("second", at("..data_tmp"));
    renameSync(at("..data_tmp"), at("..data"));
    await watched.look(3);
    assert.deepEqual([watched.changes, watched.store.get(log).level], [1, "b"]);
  });

  it("has each fault said once for one content, and sees it mended", async () => {
    writeFileSync(at("config.yaml"), "log: {level: a}\n");
    const watched = await Watched.open();
    rmSync(at("config.yaml"));
    await watched.look(5);
    assert.match(watched.faults.splice(0).join("\n"), /^cannot be read: ENOENT[^\n]*$/);
    writeFileSync(at("config.yaml"), "log: {level: 5}\n");
    await watched.look(5);
    utimesSync(at("config.yaml"), 1, 1);
    await watched.look(5);
    assert.match(watched.faults.splice(0).join("\n"), /^expected string[^\n]*$/);
    assert.equal(watched.store.get(log).level, "a");
    writeFileSync(at("config.yaml"), "log: {level: c}\n");
    await watched.look(2);
    assert.deepEqual([watched.faults, watched.store.get(log).level], [[], "c"]);
  });

  it("says nothing of a file that is gone for less than two looks", async () => {
    writeFileSync(at("config.yaml"), "log: {level: a}\n");
    const watched = await Watched.open();
    renameSync(at("config.yaml"), at("away"));
    await watched.look(1);
    renameSync(at("away"), at("config.yaml"));
    await watched.look(3);
    assert.equal(watched.changes, 0);
  });

  it("tells of the profile's file and of a secret's, also of one that could not be read", async () => {
    writeFileSync(at("config.yaml"), "log: {level: a}\n");
    writeFileSync(at("config.live.yaml"), `log: {key: 'file:${at("secret")}'}\n`);
    writeFileSync(at("secret"), "one\n");
    const watched = await Watched.open({ profile: "live" });
    assert.equal(watched.store.get(log).key?.reveal(), "one");
    writeFileSync(at("secret"), "second\n");
    await watched.look(2);
    assert.equal(watched.store.get(log).key?.reveal(), "second");

    writeFileSync(at("config.live.yaml"), `log: {key: 'file:${at("third")}'}\n`);
    await watched.look(4);
    assert.match(watched.faults.join("\n"), /^the file of this secret, \S+third, cannot be read: ENOENT[^\n]*$/);
    writeFileSync(at("third"), "3");
    await watched.look(2);
    assert.equal(watched.store.get(log).key?.reveal(), "3");
  });

  it("tells of what is no file any more, and of the file that is there again", async () => {
    writeFileSync(at("config.yaml"), "log: {level: a}\n");
    const watched = await Watched.open();
    rmSync(at("config.yaml"));
    mkdirSync(at("config.yaml"));
    await watched.look(5);
    assert.deepEqual(watched.faults.splice(0), ["cannot be read: it is no regular file"]);
    rmSync(at("config.yaml"), { recursive: true });
    writeFileSync(at("config.yaml"), "log: {level: d}\n");
    await watched.look(2);
    assert.deepEqual([watched.faults, watched.store.get(log).level], [[], "d"]);
  });

  it("tells again when the content is back that a later reload had replaced", async () => {
    writeFileSync(at("config.yaml"), "log: {level: a}\n");
    const watched = await Watched.open();
    writeFileSync(at("config.yaml"), "log: {level: bb}\n");
    await watched.look(2);
    writeFileSync(at("config.yaml"), "log: {level: ccc}\n");
    await watched.store.reload(); // as on a signal
    writeFileSync(at("config.yaml"), "log: {level: bb}\n");
    await watched.look(2);
    assert.deepEqual([watched.changes, watched.store.get(log).level], [2, "bb"]);
  });

  it("tells once when nobody reloads", async () => {
    writeFileSync(at("config.yaml"), "log: {level: a}\n");
    const watched = await Watched.open();
    watched.reloads = false;
    writeFileSync(at("config.yaml"), "log: {level: bb}\n");
    await watched.look(6);
    assert.equal(watched.changes, 1);
  });

  for (const how of ["its signal", "the end of the store"]) {
    it(`ends with ${how}, and leaves no timer`, async () => {
      writeFileSync(at("config.yaml"), "log: {level: a}\n");
      const watched = await Watched.open();
      await watched.look(1);
      if (how === "its signal") watched.end.abort();
      else watched.store.close();
      assert.equal(watched.clock.pending, 0);
      watched.store.watch({ clock: watched.clock, onChange: () => {}, signal: watched.end.signal });
      assert.equal(watched.clock.pending, 0);
    });
  }

  it("refuses a pace that is none", async () => {
    writeFileSync(at("config.yaml"), "");
    const { store, clock } = await Watched.open();
    for (const pollMs of [0, -1, Number.NaN]) {
      assert.throws(() => store.watch({ clock, pollMs, onChange: () => {} }), {
        code: "ERR_OPTION_RANGE",
        message: /^pollMs/,
      });
    }
  });
});

describe("watching remote sources", () => {
  function sourceOf(watch: NonNullable<ConfigSource["watch"]>, name = "remote"): ConfigSource {
    return { name, load: () => Promise.resolve({ data: {}, places: new Map() }), watch };
  }

  it("tells what they tell, until it ends", async () => {
    let tell = (): void => {};
    let ended: AbortSignal | undefined;
    const source = sourceOf((onChange, { signal }) => {
      tell = onChange;
      ended = signal;
    });
    const quiet: ConfigSource = { name: "quiet", load: () => Promise.resolve({ data: {}, places: new Map() }) };
    const watched = await Watched.open({ file: undefined, sources: [quiet, source] });
    tell();
    tell();
    assert.equal(watched.changes, 2);
    watched.store.close();
    tell();
    assert.deepEqual([watched.changes, ended?.aborted], [2, true]);
  });

  const broken = new Error("no watching here");
  const failing: Readonly<Record<string, () => void>> = {
    throws() {
      throw broken;
    },
    // oxlint-disable-next-line typescript/no-misused-promises -- an asynchronous function has the type of a source as well
    rejects: () => Promise.reject(broken),
  };

  for (const [how, fail] of Object.entries(failing)) {
    it(`watches the files and the others when one ${how}, and tells which`, async () => {
      writeFileSync(at("config.yaml"), "log: {level: a}\n");
      const tells: (() => void)[] = [];
      const signals: AbortSignal[] = [];
      const watch = (name: string, then: () => void): ConfigSource =>
        sourceOf((onChange, { signal }) => {
          tells.push(onChange);
          signals.push(signal);
          return then();
        }, name);
      const sources = [watch("first", () => {}), watch("bad", fail), watch("last", () => {})];
      const watched = await Watched.open({ sources });
      await new Promise(setImmediate);
      assert.deepEqual(watched.failures, [["bad", broken]]);
      assert.deepEqual(
        signals.map(({ aborted }) => aborted),
        [false, true, false],
      );
      watched.reloads = false;
      for (const tell of tells) tell();
      assert.equal(watched.changes, 2, "the one that failed is not heard");
      watched.reloads = true;
      writeFileSync(at("config.yaml"), "log: {level: bb}\n");
      await watched.look(2);
      assert.equal(watched.store.get(log).level, "bb");
      watched.store.close();
      assert.ok(signals.every(({ aborted }) => aborted));
      assert.equal(watched.clock.pending, 0);
    });
  }

  it("takes a watch that rejects because it was ended for no failure", async () => {
    const source = sourceOf(
      // oxlint-disable-next-line typescript/no-misused-promises -- an asynchronous function has the type of a source as well
      (_, { signal }) =>
        new Promise<never>((_resolve, reject) => signal.addEventListener("abort", () => reject(broken))),
    );
    const watched = await Watched.open({ file: undefined, sources: [source] });
    watched.store.close();
    await new Promise(setImmediate);
    assert.deepEqual(watched.failures, []);
  });

  it("looks at no file when the hearing of a failure has ended the watch", async () => {
    const store = await createConfigStore([log], {
      environment: {},
      sources: [sourceOf(failing.throws ?? (() => {}))],
    });
    const clock = new FakeClock();
    store.watch({ clock, onChange: () => {}, onFailure: () => store.close() });
    assert.equal(clock.pending, 0);
  });

  it("leaves a failure that nobody hears of to the process, as an uncaught exception, and goes on", async (t) => {
    const thrown: unknown[] = [];
    const clock = new FakeClock();
    const store = await createConfigStore([log], {
      environment: {},
      sources: [sourceOf(failing.throws ?? (() => {}))],
    });
    t.mock.method(process, "nextTick", (task: () => void) => {
      try {
        task();
      } catch (error) {
        thrown.push(error);
      }
    });
    store.watch({ clock, onChange: () => {} });
    t.mock.restoreAll();
    assert.deepEqual(thrown, [broken]);
    assert.equal(clock.pending, 1);
    store.close();
  });
});
