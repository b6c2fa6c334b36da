import assert from "node:assert/strict";
import { type Define, finds, idsOf, nextOf } from "./suite-context.ts";

/** The half of the suite that is about finding. */
export function lookingUp(define: Define): void {
  define("resolves a service that nobody offers to an empty set", async ({ mine, service }) => {
    const set = await mine.resolve(service);
    assert.deepEqual({ ...set }, { service, instances: [], revision: 1, stale: false });
    assert.ok(set.ageMs >= 0 && set.ageMs < 10_000);
  });

  define("watches whole sets, from the present one on", async ({ mine, give, instance, service }) => {
    const stop = new AbortController();
    const watch = mine.watch(service, { signal: stop.signal })[Symbol.asyncIterator]();
    const empty = await nextOf(watch);
    assert.deepEqual([idsOf(empty), empty.revision], [[], 1]);
    const takeSecond = await give(instance("a-2"));
    assert.deepEqual(idsOf(await nextOf(watch)), ["a-2"]);
    await give(instance("a-1"));
    const both = await nextOf(watch);
    assert.deepEqual([idsOf(both), both.revision], [["a-1", "a-2"], 3]);
    await takeSecond();
    const last = await nextOf(watch);
    assert.deepEqual([idsOf(last), last.revision], [["a-1"], 4]);
    stop.abort();
    assert.deepEqual(await watch.next(), { value: undefined, done: true });
  });

  define("is told of no other service", async ({ mine, give, instance, service }) => {
    const watch = mine.watch(service)[Symbol.asyncIterator]();
    await nextOf(watch);
    await give(instance("b-1", { service: `${service}-b` }));
    await finds(mine, `${service}-b`, ["b-1"]);
    await give(instance("a-1"));
    const next = await nextOf(watch);
    assert.deepEqual([idsOf(next), next.revision], [["a-1"], 2]);
  });

  define("tells a slow reader the latest set only", async ({ mine, give, instance, service }) => {
    const watch = mine.watch(service)[Symbol.asyncIterator]();
    await nextOf(watch);
    const ids = ["a-1", "a-2", "a-3"];
    for (const id of ids) await give(instance(id));
    await finds(mine, service, ids);
    assert.deepEqual(idsOf(await nextOf(watch)), ids);
  });

  define("sees the empty set after the last instance has gone", async ({ mine, give, instance, service }) => {
    const takeAway = await give(instance("a-1"));
    await finds(mine, service, ["a-1"]);
    const watch = mine.watch(service)[Symbol.asyncIterator]();
    await nextOf(watch);
    await takeAway();
    let set = await nextOf(watch);
    while (set.stale) set = await nextOf(watch); // a registry may doubt it at first
    assert.deepEqual(idsOf(set), []);
  });

  define("ends a watch at once when its signal aborts, and not those of others", async ({ mine, service }) => {
    const stop = new AbortController();
    const ended = mine.watch(service, { signal: stop.signal })[Symbol.asyncIterator]();
    const kept = mine.watch(service)[Symbol.asyncIterator]();
    await Promise.all([nextOf(ended), nextOf(kept)]);
    const waiting = ended.next();
    stop.abort();
    assert.equal((await waiting).done, true);
    assert.equal((await mine.watch(service, { signal: stop.signal })[Symbol.asyncIterator]().next()).done, true);
    assert.equal(mine.stats().services.length, 1);
    const left = kept.next();
    await mine.close();
    assert.equal((await left).done, true);
  });

  define("forgets a service when its last watcher has left", async ({ mine, service }) => {
    for await (const set of mine.watch(service)) {
      assert.deepEqual(
        mine.stats().services.map(({ service, current }) => [service, current === set]),
        [[service, true]],
      );
      break;
    }
    assert.deepEqual(mine.stats().services, []);
  });

  define("shows a followed service without waiting", async ({ mine, give, instance, service }) => {
    await give(instance("a-1"));
    await finds(mine, service, ["a-1"]);
    const view = mine.follow(service);
    await view.ready;
    const before = view.current;
    assert.ok(before);
    assert.deepEqual(idsOf(before), ["a-1"]);
    assert.equal(await mine.resolve(service), view.current);
    await give(instance("a-2"));
    const set = await finds(mine, service, ["a-1", "a-2"]);
    assert.equal(view.current?.instances, set.instances);
    assert.deepEqual(idsOf(before), ["a-1"], "a set that was handed out does not change");
    view.close();
    view.close();
    assert.deepEqual(idsOf(view.current ?? { instances: [] }), ["a-1", "a-2"], "what was known stays readable");
  });

  define(
    "keeps a view alive while another of the same service is closed",
    async ({ mine, give, instance, service }) => {
      const [first, second] = [mine.follow(service), mine.follow(service)];
      await second.ready;
      first.close();
      await give(instance("a-1"));
      await finds(mine, service, ["a-1"]);
      assert.deepEqual(idsOf(second.current ?? { instances: [] }), ["a-1"]);
      second.close();
      assert.deepEqual(mine.stats().services, []);
    },
  );

  define("refuses to look up once closed, and names that are no service", async ({ mine, service }) => {
    await assert.rejects(mine.resolve("a/b"), { code: "ERR_REGISTRY_INSTANCE", message: /^service / });
    assert.throws(() => mine.follow(""), { code: "ERR_REGISTRY_INSTANCE" });
    await mine.close();
    await assert.rejects(mine.resolve(service), { code: "ERR_REGISTRY_CLOSED" });
    assert.throws(() => mine.follow(service), { code: "ERR_REGISTRY_CLOSED" });
    await assert.rejects(nextOf(mine.watch(service)[Symbol.asyncIterator]()), { code: "ERR_REGISTRY_CLOSED" });
  });
}
