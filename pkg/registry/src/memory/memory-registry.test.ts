import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import type { Readiness, RegistryEvent } from "../registry.ts";
import { registrySuite } from "../testing/index.ts";
import { createMemoryRegistry } from "./memory-registry.ts";
import { createMemoryStore } from "./memory-store.ts";

registrySuite("memory", async () => {
  const store = createMemoryStore();
  return {
    open: () => createMemoryRegistry({ store, readinessMs: 20 }),
    [Symbol.asyncDispose]: async () => {},
  };
});

const instance = { service: "notes", id: "notes-1", host: "127.0.0.1", ports: { http: 3_000 } };

describe("createMemoryRegistry", () => {
  it("keeps registries without a common store apart", async () => {
    const [one, two] = [createMemoryRegistry(), createMemoryRegistry()];
    await one.register(instance);
    assert.equal((await one.resolve("notes")).instances.length, 1);
    assert.equal((await two.resolve("notes")).instances.length, 0);
  });

  it("refuses an id that another registry of the store has", async () => {
    const store = createMemoryStore();
    await createMemoryRegistry({ store }).register(instance);
    await assert.rejects(createMemoryRegistry({ store }).register(instance), { code: "ERR_REGISTRY_DUPLICATE" });
  });

  it("takes a readiness that hangs for critical", async () => {
    const clock = new FakeClock();
    const own = createMemoryRegistry({ clock, readinessMs: 500 });
    const registering = own.register(instance, { readiness: () => Promise.withResolvers<Readiness>().promise });
    await clock.advance(500);
    assert.equal((await registering).state, "registered");
    assert.equal((await own.resolve("notes")).instances.length, 0);
    await own.close();
    await clock.advance(500);
    assert.equal(clock.pending, 0);
  });

  it("asks at once when told that the readiness has changed, and once more when it changes meanwhile", async () => {
    const clock = new FakeClock();
    const own = createMemoryRegistry({ clock, readinessMs: 60_000 });
    const view = own.follow("notes");
    const answers = ["passing", "critical", "warning"] as const;
    let asked = 0;
    let change = (): void => {};
    let listening = 0;
    const registration = await own.register(instance, {
      readiness: () => answers[Math.min(asked++, 2)]!,
      onReadiness: (onChange) => {
        change = onChange;
        listening++;
        return () => void listening--;
      },
    });
    change();
    change();
    await clock.advance(0);
    await clock.advance(0);
    assert.deepEqual(
      [asked, view.current?.instances.map(({ status }) => status), clock.pending, listening],
      [3, ["warning"], 1, 1],
    );
    await registration.deregister();
    assert.deepEqual([clock.pending, listening], [0, 0]);
  });

  it("shows a view the set at once, and tells what happens", async () => {
    const events: RegistryEvent[] = [];
    const own = createMemoryRegistry({ onEvent: (event) => events.push(event) });
    const view = own.follow("notes");
    assert.deepEqual(view.current?.instances, []);
    const registration = await own.register(instance);
    assert.equal(view.current?.instances.length, 1);
    await registration.deregister();
    assert.equal(view.current?.instances.length, 0);
    assert.deepEqual(
      events.map((event) => (event.type === "registration" ? event.state : event.type)),
      ["changed", "changed", "registered", "changed", "left"],
    );
  });

  it("refuses a time that is none", () => {
    assert.throws(() => createMemoryRegistry({ readinessMs: 0 }), {
      code: "ERR_OPTION_RANGE",
      message: /^readinessMs /,
    });
  });
});
