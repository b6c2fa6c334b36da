import assert from "node:assert/strict";
import { it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import * as fc from "fast-check";
import { RegistryError } from "./errors.ts";
import type { Feed } from "./feed.ts";
import { toInstance } from "./instance.ts";
import type { Instance, InstanceFilter, InstanceSet } from "./registry.ts";
import { Subscriptions } from "./subscriptions.ts";

const versions = ["1.0", "2.0", "2.1"] as const;
const zones = ["z1", "z2"] as const;

const instance = fc
  .record({
    at: fc.integer({ min: 0, max: 4 }),
    version: fc.constantFrom(...versions),
    zone: fc.constantFrom(...zones),
    weight: fc.integer({ min: 1, max: 2 }),
  })
  .map(({ at, ...more }) =>
    toInstance({ service: "notes", id: `i-${at}`, host: "127.0.0.1", ports: { http: 3_000 + at }, ...more }),
  );
const instances = fc.uniqueArray(instance, { maxLength: 5, selector: ({ id }) => id });
const filter: fc.Arbitrary<InstanceFilter | undefined> = fc.option(
  fc.record(
    { version: fc.constantFrom("1.0", "2.*"), zone: fc.constantFrom(...zones), preferZone: fc.constantFrom(...zones) },
    { requiredKeys: [] },
  ),
  { nil: undefined },
);
const step = fc.oneof(
  { weight: 5, arbitrary: instances.map((set) => ({ type: "publish", set }) as const) },
  { weight: 2, arbitrary: fc.constant({ type: "doubt" } as const) },
  { weight: 2, arbitrary: fc.constant({ type: "again" } as const) },
  { weight: 2, arbitrary: filter.map((by) => ({ type: "watch", by }) as const) },
  { weight: 1, arbitrary: fc.nat({ max: 9 }).map((at) => ({ type: "leave", at }) as const) },
  { weight: 3, arbitrary: fc.constant({ type: "read" } as const) },
);

/** The same as a filter, told slowly and once more. */
function model(all: readonly Instance[], { version, zone, preferZone }: InstanceFilter = {}): string {
  const isVersion = (own = ""): boolean =>
    version === undefined || own === version || (version.endsWith("*") && own.startsWith(version.slice(0, -1)));
  let left = all.filter((one) => isVersion(one.version) && (zone === undefined || one.zone === zone));
  if (left.some((one) => one.zone === preferZone)) left = left.filter((one) => one.zone === preferZone);
  return JSON.stringify(left.toSorted((a, b) => (a.id < b.id ? -1 : 1)));
}

class Watcher {
  readonly by: InstanceFilter | undefined;
  readonly seen: InstanceSet[] = [];
  readonly stop = new AbortController();
  /** What was true since it began, in order: contents and flag, without repetition. */
  readonly truths: string[] = [];
  readonly done: Promise<void>;

  constructor(subscriptions: Subscriptions, by: InstanceFilter | undefined) {
    this.by = by;
    this.done = this.#read(subscriptions.watch("notes", { filter: by, signal: this.stop.signal }));
  }

  believe(all: readonly Instance[], stale: boolean): void {
    const truth = `${model(all, this.by)}${stale ? " stale" : ""}`;
    if (this.truths.at(-1) !== truth) this.truths.push(truth);
  }

  async #read(sets: AsyncIterable<InstanceSet>): Promise<void> {
    for await (const set of sets) this.seen.push(set);
  }

  check(): void {
    const told = this.seen.map((set) => `${JSON.stringify(set.instances)}${set.stale ? " stale" : ""}`);
    let at = -1;
    for (const text of told) {
      at = this.truths.indexOf(text, at + 1);
      assert.notEqual(
        at,
        -1,
        `told of ${text}, which was not true after what was told before: ${this.truths.join("; ")}`,
      );
    }
    assert.equal(told.at(-1), this.truths.at(-1), "the last truth was not told");
    for (const [index, set] of this.seen.entries()) {
      const before = this.seen[index - 1];
      if (!before) continue;
      const isSame = JSON.stringify(before.instances) === JSON.stringify(set.instances);
      if (set.revision === before.revision) assert.equal(set.instances, before.instances);
      else assert.ok(set.revision > before.revision && (!isSame || set.revision > before.revision + 1));
      assert.ok(Object.isFrozen(set.instances));
    }
  }
}

/** Lets every reader that has been woken read. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 4; turn++) await new Promise(setImmediate);
}

it("tells each watcher only what was true for its filter, in order, and always the last of it", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const clock = new FakeClock();
      const feeds: Feed[] = [];
      let sources = 0;
      let all: readonly Instance[] | undefined;
      let stale = false;
      const watchers: Watcher[] = [];
      const subscriptions = new Subscriptions(clock, (feed) => {
        feeds.push(feed);
        sources++;
        all = undefined;
        stale = false;
        return () => void sources--;
      });
      const base = new Watcher(subscriptions, undefined); // keeps the one source alive
      await settle();
      const [feed] = feeds;
      assert.ok(feed);
      const believe = (): void => {
        if (all) for (const watcher of [base, ...watchers]) watcher.believe(all, stale);
      };
      for (const one of steps) {
        if (one.type === "publish" || one.type === "again") {
          all = one.type === "publish" ? one.set : (all ?? []);
          stale = false;
          feed.publish(all.toReversed().map((own) => ({ ...own })));
        } else if (one.type === "doubt") {
          stale = all !== undefined;
          feed.doubt({ error: new RegistryError("ERR_REGISTRY_UNAVAILABLE", "unavailable", "away") });
        } else if (one.type === "watch") watchers.push(new Watcher(subscriptions, one.by));
        else if (one.type === "leave") {
          const [left] = watchers.splice(one.at, 1);
          left?.stop.abort();
        } else await settle();
        believe();
        const unwatched = { version: "2.1", zone: "z2" };
        const glance = subscriptions.current("notes", unwatched);
        assert.equal(JSON.stringify(glance?.instances), all && model(all, unwatched));
        assert.equal(glance?.stale, all && stale);
        await clock.advance(10);
      }
      await settle();
      assert.deepEqual([sources, feeds.length], [1, 1], "one source however many watch");
      for (const watcher of [base, ...watchers]) {
        watcher.check();
        const glance = subscriptions.current("notes", watcher.by);
        assert.equal(glance?.instances, watcher.seen.at(-1)?.instances);
        assert.equal(glance, subscriptions.current("notes", { ...watcher.by }), "the same set while nothing changes");
      }
      subscriptions.close();
      await Promise.all([base, ...watchers].map(({ done }) => done));
      assert.equal(sources, 0);
    }),
    { seed: 20_260, numRuns: 150 },
  );
});
