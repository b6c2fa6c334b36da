import assert from "node:assert/strict";
import { type Define, finds, idsOf, nextOf } from "./suite-context.ts";
import { waitForSet } from "./wait-for-set.ts";

/** The part of the suite that is about filters and summaries. */
export function filtering(define: Define): void {
  define("finds by version, zone, tags, metadata and protocol", async ({ mine, give, instance, service }) => {
    await give(instance("a-1", { version: "1.4.0", zone: "z1", tags: ["blue", "spot"], metadata: { team: "core" } }));
    await give(instance("a-2", { version: "2.0.0", zone: "z2", tags: ["blue"], ports: { grpc: 3_001 } }));
    await finds(mine, service, ["a-1", "a-2"]);
    const filters = [
      [{ version: "1.4.0" }, "a-1"],
      [{ version: "2.*" }, "a-2"],
      [{ zone: "z2" }, "a-2"],
      [{ preferZone: "z2" }, "a-2"],
      [{ preferZone: "z3" }, "a-1,a-2"],
      [{ tags: ["spot", "blue"] }, "a-1"],
      [{ metadata: { team: "core" } }, "a-1"],
      [{ protocol: "grpc" }, "a-2"],
      [{ zone: "z1", protocol: "grpc" }, ""],
    ] as const;
    const view = mine.follow(service);
    await view.ready;
    for (const [filter, ids] of filters) {
      assert.equal(idsOf(await mine.resolve(service, { filter })).join(), ids, JSON.stringify(filter));
      const filtered = mine.follow(service, { filter });
      await filtered.ready;
      assert.equal(idsOf(filtered.current ?? { instances: [] }).join(), ids);
      assert.equal(await mine.resolve(service, { filter }), filtered.current);
    }
    assert.equal(mine.stats().services.length, 1, "one watch for all filters");
    view.close();
    assert.equal(idsOf(await mine.resolve(service, { filter: { zone: "z1" } })).join(), "a-1");
  });

  define("tells a filtered watch only of what changes for it", async ({ mine, give, instance, service }) => {
    const filter = { zone: "z1" };
    const watch = mine.watch(service, { filter })[Symbol.asyncIterator]();
    assert.deepEqual(idsOf(await nextOf(watch)), []);
    const takeAway = await give(instance("a-1", { zone: "z1" }));
    const first = await nextOf(watch);
    assert.deepEqual([idsOf(first), first.revision], [["a-1"], 2]);
    await give(instance("a-2", { zone: "z2" }));
    await finds(mine, service, ["a-1", "a-2"]);
    assert.equal((await mine.resolve(service, { filter })).instances, first.instances, "the same array");
    await give(instance("a-3", { zone: "z1" }));
    const second = await nextOf(watch);
    assert.deepEqual([idsOf(second), second.revision], [["a-1", "a-3"], 3]);
    assert.equal(second.instances[0], first.instances[0], "the same instance");
    await takeAway();
    await waitForSet(mine, service, (set) => !set.stale && idsOf(set).join() === "a-2,a-3");
    assert.deepEqual(idsOf(await nextOf(watch)), ["a-3"]);
  });

  define("spills over to all zones, and back, as the preferred one empties and fills", async (test) => {
    const { mine, give, instance, service } = test;
    const takeNear = await give(instance("near", { zone: "z1" }));
    await give(instance("far", { zone: "z2" }));
    await finds(mine, service, ["far", "near"]);
    const view = mine.follow(service, { filter: { preferZone: { zone: "z1", atLeast: 1 } } });
    await view.ready;
    const now = (): string => idsOf(view.current ?? { instances: [] }).join();
    assert.equal(now(), "near");
    await takeNear();
    await finds(mine, service, ["far"]);
    assert.equal(now(), "far");
    await give(instance("near", { zone: "z1" }));
    await finds(mine, service, ["far", "near"]);
    assert.equal(now(), "near");
    view.close();
    assert.deepEqual(mine.stats().services, []);
  });

  define("refuses a filter that means nothing, before anything is asked", async ({ mine, service }) => {
    const filter = { version: "*.1" };
    assert.throws(() => mine.follow(service, { filter }), { code: "ERR_REGISTRY_FILTER" });
    await assert.rejects(nextOf(mine.watch(service, { filter })[Symbol.asyncIterator]()), {
      code: "ERR_REGISTRY_FILTER",
    });
    await assert.rejects(mine.resolve(service, { filter }), { code: "ERR_REGISTRY_FILTER" });
    assert.deepEqual(mine.stats().services, []);
  });

  define("lists services with their instances by state, and their tags", async ({ mine, give, instance, service }) => {
    const own = async (): Promise<unknown> => (await mine.services()).find((one) => one.service === service);
    await give(instance("a-1", { tags: ["b", "a"] }));
    await give(instance("a-2", { tags: ["a", "c"] }));
    await finds(mine, service, ["a-1", "a-2"]);
    assert.deepEqual(await own(), { service, passing: 2, warning: 0, critical: 0, tags: ["a", "b", "c"] });
    await assert.rejects(mine.services({ signal: AbortSignal.abort(new Error("no more")) }), { message: "no more" });
    await mine.close();
    await assert.rejects(mine.services(), { code: "ERR_REGISTRY_CLOSED" });
  });

  define("counts the instances of what it follows by state", async ({ mine, give, instance, service }) => {
    const view = mine.follow(service);
    await give(instance("a-1"));
    await finds(mine, service, ["a-1"]);
    const states = mine.stats().services.map((followed) => followed.states);
    assert.deepEqual(states, [{ passing: 1, warning: 0, critical: 0, maintenance: 0 }]);
    view.close();
  });
}
