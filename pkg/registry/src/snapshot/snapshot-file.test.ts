import assert from "node:assert/strict";
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { toInstance } from "../instance.ts";
import type { Instance, RegistryEvent } from "../registry.ts";
import { SnapshotFile, type SnapshotFileOptions } from "./snapshot-file.ts";

const make = (service: string, ...ids: readonly string[]): readonly Instance[] =>
  ids.map((id) => toInstance({ service, id, host: "127.0.0.1", ports: { http: 3_000 }, metadata: { a: "1" } }));

class Place implements AsyncDisposable {
  readonly folder: string;
  readonly clock = new FakeClock();
  readonly events: RegistryEvent[] = [];

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async make(): Promise<Place> {
    return new Place(await mkdtemp(join(tmpdir(), "plinth-snapshot-")));
  }

  get file(): string {
    return join(this.folder, "known.json");
  }

  open(more: Partial<SnapshotFileOptions> = {}): SnapshotFile {
    const { file, clock } = this;
    const onEvent = (event: RegistryEvent): number => this.events.push(event);
    return new SnapshotFile({ file, clock, source: "consul", maxAgeMs: 60_000, onEvent, ...more });
  }

  /** Writes what one process knows, as its end does. */
  async keep(service: string, instances: readonly Instance[], more?: Partial<SnapshotFileOptions>): Promise<void> {
    const own = this.open(more);
    own.note(service, instances, true);
    await own.close();
  }

  ids(service: string): readonly string[] | undefined {
    return this.open()
      .read(service)
      ?.instances.map(({ id }) => id);
  }

  told(type: RegistryEvent["type"]): number {
    return this.events.filter((event) => event.type === type).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true });
  }
}

describe("the snapshot on disk", () => {
  it("gives the next process what was confirmed, with its true age", async () => {
    await using place = await Place.make();
    const instances = make("notes", "a-1", "a-2");
    await place.keep("notes", instances);
    await place.clock.advance(5_000);
    const read = place.open().read("notes");
    assert.deepEqual(read, { instances, ageMs: 5_000 });
    assert.ok(Object.isFrozen(read?.instances[0]));
    assert.equal(place.open().read("tasks"), undefined);
    assert.equal((await stat(place.file)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(place.folder), ["known.json"]);
  });

  it("begins with nothing, and tells of nothing, when there is no file", async () => {
    await using place = await Place.make();
    const own = place.open();
    assert.equal(own.read("notes"), undefined);
    await own.close();
    assert.deepEqual([place.events, await readdir(place.folder)], [[], []]);
  });

  it("writes many changes at once, some time after the first, and then leaves the disk alone for a while", async () => {
    await using place = await Place.make();
    const own = place.open();
    const written = async (count: number): Promise<void> => {
      while (place.told("snapshot_written") < count) await new Promise(setImmediate);
    };
    for (let at = 0; at < 100; at++) own.note("notes", make("notes", `a-${at}`), true);
    await place.clock.advance(999);
    assert.equal(place.told("snapshot_written"), 0);
    await place.clock.advance(1);
    await written(1);
    assert.deepEqual(place.ids("notes"), ["a-99"]);
    own.note("notes", make("notes", "b-1"), true);
    await place.clock.advance(9_000);
    assert.equal(place.clock.pending, 1);
    await place.clock.advance(1_000);
    await written(2);
    own.note("notes", make("notes", "b-1"), false);
    await place.clock.advance(14_000);
    assert.equal(place.told("snapshot_written"), 2, "what is only confirmed again can wait");
    await place.clock.advance(1_000);
    await written(3);
    assert.equal(place.open().read("notes")?.ageMs, 15_000, "as old as its last confirmation");
    await own.close();
    await own.close();
    assert.equal(place.clock.pending, 0);
  });

  it("is not written by those who have only read it", async () => {
    await using place = await Place.make();
    await place.keep("notes", make("notes", "a-1"));
    const before = await readFile(place.file, "utf8");
    await place.clock.advance(10_000);
    const own = place.open();
    assert.ok(own.read("notes"));
    await own.close();
    assert.equal(await readFile(place.file, "utf8"), before);
  });

  it("is shared by processes: each writes its own services and keeps those of others", async () => {
    await using place = await Place.make();
    const [one, two] = [place.open(), place.open()];
    one.note("notes", make("notes", "a-1"), true);
    two.note("tasks", make("tasks", "b-1"), true);
    await one.close();
    await two.close();
    assert.deepEqual([place.ids("notes"), place.ids("tasks")], [["a-1"], ["b-1"]]);
    await place.keep("notes", []);
    assert.deepEqual([place.ids("notes"), place.ids("tasks")], [undefined, ["b-1"]]);
  });

  it("keeps the newer of two that know one service", async () => {
    await using place = await Place.make();
    const late = place.open();
    late.note("notes", make("notes", "old"), true);
    await place.clock.advance(1);
    await place.keep("notes", make("notes", "new"));
    await late.close();
    assert.deepEqual(place.ids("notes"), ["new"]);
  });

  it("is whole whenever it is read, however many write it at the same time", async () => {
    await using place = await Place.make();
    await place.keep("notes", make("notes", "a-1"));
    const writers = Array.from({ length: 8 }, (_, at) => place.keep(`s-${at}`, make(`s-${at}`, "a-1")));
    for (let read = 0; read < 20; read++) {
      assert.deepEqual(place.ids("notes"), ["a-1"]);
      await new Promise(setImmediate);
    }
    await Promise.all(writers);
    assert.equal(place.told("snapshot_ignored"), 0);
    assert.deepEqual(await readdir(place.folder), ["known.json"]);
  });

  it("is not served when too old, and each service has an age of its own", async () => {
    await using place = await Place.make();
    await place.keep("notes", make("notes", "a-1"));
    await place.clock.advance(40_000);
    await place.keep("tasks", make("tasks", "b-1"));
    await place.clock.advance(20_001);
    assert.deepEqual([place.ids("notes"), place.ids("tasks")], [undefined, ["b-1"]]);
    const told = place.events.find((event) => event.type === "snapshot_ignored");
    assert.deepEqual([told?.service, told?.problem], ["notes", "it is 60 s old, and 60 s are allowed"]);
  });

  it("takes one from the future, as a clock that was set back makes it, for new", async () => {
    await using place = await Place.make();
    await place.clock.advance(50_000);
    await place.keep("notes", make("notes", "a-1"));
    const behind = new FakeClock();
    assert.equal(place.open({ clock: behind }).read("notes")?.ageMs, 0);
  });

  const whole = (change: (document: Record<string, unknown>) => unknown) => async (file: string) => {
    const document: unknown = JSON.parse(await readFile(file, "utf8"));
    assert.ok(typeof document === "object" && document !== null);
    await writeFile(file, JSON.stringify(change({ ...document })));
  };
  const faults: readonly (readonly [what: string, spoil: (file: string) => Promise<void>, problem: RegExp])[] = [
    ["is cut short", async (file) => writeFile(file, (await readFile(file, "utf8")).slice(0, 40)), /^it is no JSON/],
    ["is empty", async (file) => writeFile(file, ""), /^it is no JSON/],
    ["is something else", async (file) => writeFile(file, `{"name":"left-pad"}`), /no snapshot .*: format: /],
    ["is of a version to come", whole((document) => ({ ...document, version: 2 })), /no snapshot .*: version: /],
    [
      "is of another registry",
      whole((document) => ({ ...document, source: "consul/dc2" })),
      /of another registry, "consul\/dc2"/,
    ],
    ["may be written by others", async (file) => chmod(file, 0o622), /chmod go-w/],
    ["is too large", async (file) => writeFile(file, " ".repeat(5_000)), /^it has 5000 bytes, and 4096 are allowed/],
  ];
  for (const [what, spoil, problem] of faults) {
    it(`is told of and not used when it ${what}, and replaced by what is known next`, async () => {
      await using place = await Place.make();
      await place.keep("notes", make("notes", "a-1"));
      await spoil(place.file);
      const own = place.open({ maxBytes: 4_096 });
      assert.equal(own.read("notes"), undefined);
      const told = place.events.find((event) => event.type === "snapshot_ignored");
      assert.match(told?.problem ?? "", problem);
      own.note("notes", make("notes", "a-2"), true);
      await own.close();
      assert.deepEqual(place.ids("notes"), ["a-2"]);
    });
  }

  it("is not read through what is no file", async () => {
    await using place = await Place.make();
    await symlink(place.folder, place.file);
    assert.equal(place.open().read("notes"), undefined);
    assert.equal(place.told("snapshot_ignored"), 1);
  });

  it("leaves out instances that make no sense, alone", async () => {
    await using place = await Place.make();
    await place.keep("notes", make("notes", "a-1", "a-2", "a-3", "a-4"));
    const text = await readFile(place.file, "utf8");
    const bad = text.replace(`"id":"a-2"`, `"id":2`).replace(`"id":"a-4"`, `"id":"a-4","identity":"a\\r\\nb"`);
    await writeFile(place.file, bad);
    assert.deepEqual(place.ids("notes"), ["a-1", "a-3"]);
  });

  it("drops the oldest of others when all do not fit, and is not written when its own do not", async () => {
    await using place = await Place.make();
    const limit = { maxBytes: 560 };
    for (const service of ["one", "two", "three"]) {
      await place.keep(service, make(service, "a-1"), limit);
      await place.clock.advance(10);
    }
    assert.deepEqual([place.ids("one"), place.ids("two"), place.ids("three")], [undefined, ["a-1"], ["a-1"]]);
    const before = await readFile(place.file, "utf8");
    await place.keep("big", make("big", "a-1", "a-2", "a-3", "a-4", "a-5"), limit);
    assert.equal(await readFile(place.file, "utf8"), before);
    const told = place.events.find((event) => event.type === "snapshot_failed");
    assert.match(told?.error.message ?? "", /would have \d+ bytes, and 560 are allowed/);
  });

  it("tells when it cannot be written, tries again, and leaves nothing half written", async () => {
    await using place = await Place.make();
    const own = place.open({ file: join(place.folder, "missing", "known.json") });
    own.note("notes", make("notes", "a-1"), true);
    await place.clock.advance(1_000);
    while (place.told("snapshot_failed") < 1) await new Promise(setImmediate);
    const failed = place.events.find((event) => event.type === "snapshot_failed");
    assert.deepEqual([failed?.error.code, failed?.failures], ["ERR_REGISTRY_SNAPSHOT", 1]);
    await place.clock.advance(20_000);
    while (place.told("snapshot_failed") < 2) await new Promise(setImmediate);
    await own.close();
    assert.deepEqual(await readdir(place.folder), []);
  });

  it("removes what a killed writer has left, once it is old", async () => {
    await using place = await Place.make();
    const [left, fresh] = [join(place.folder, ".known.json.left.tmp"), join(place.folder, ".known.json.fresh.tmp")];
    await writeFile(left, "half");
    await writeFile(fresh, "half");
    await utimes(left, 1, 1);
    await place.keep("notes", make("notes", "a-1"));
    assert.deepEqual((await readdir(place.folder)).toSorted(), [".known.json.fresh.tmp", "known.json"]);
  });
});
