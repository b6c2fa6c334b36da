import assert from "node:assert/strict";
import type { NewInstance, Readiness } from "../registry.ts";
import { type Define, finds, idsOf } from "./suite-context.ts";
import { waitForSet } from "./wait-for-set.ts";

/** The half of the suite that is about being found. */
export function registering(define: Define): void {
  define(
    "finds from one registry what another has registered, field by field",
    async ({ mine, other, instance, service }) => {
      const full: NewInstance = instance("a-1", {
        host: "10.1.2.3",
        ports: { http: 3_000, grpc: 3_001 },
        version: "1.2.3",
        zone: "eu-1a",
        weight: 7,
        tags: ["blue", "spot"],
        metadata: { team: "core", "build-id": "42" },
      });
      const registration = await mine.register(full);
      assert.equal(registration.state, "registered");
      assert.equal(registration.error, undefined);
      const { instances } = await finds(other, service, ["a-1"]);
      assert.deepEqual(instances, [{ ...full, status: "passing" }]);
      assert.deepEqual((await mine.resolve(service)).instances, instances);
      assert.deepEqual(registration.instance, instances[0]);
    },
  );

  define("fills in what an instance leaves out", async ({ mine, other, instance, service }) => {
    await mine.register(instance("a-1", { ports: { grpc: 3_001 } }));
    assert.deepEqual((await finds(other, service, ["a-1"])).instances, [
      {
        service,
        id: "a-1",
        host: "127.0.0.1",
        ports: { grpc: 3_001 },
        weight: 1,
        tags: [],
        metadata: {},
        status: "passing",
      },
    ]);
  });

  define("no longer finds what was deregistered, and keeps the others", async ({ mine, other, instance, service }) => {
    const first = await mine.register(instance("a-1"));
    await mine.register(instance("a-2"));
    await finds(other, service, ["a-1", "a-2"]);
    await first.deregister();
    await first.deregister();
    assert.equal(first.state, "left");
    await finds(other, service, ["a-2"]);
    assert.deepEqual(
      mine.stats().registrations.map(({ instance }) => instance.id),
      ["a-2"],
    );
  });

  define("finds an instance only while it says that it is ready", async ({ mine, other, instance, service }) => {
    let answer: () => Readiness | Promise<Readiness> = () => "critical";
    const registration = await mine.register(instance("a-1"), { readiness: () => answer() });
    assert.equal(registration.state, "registered");
    await mine.register(instance("a-2"));
    await finds(other, service, ["a-2"]);
    answer = () => "passing";
    await waitForSet(other, service, (set) => idsOf(set).includes("a-1"));
    answer = () => Promise.reject(new Error("the database is gone"));
    await waitForSet(other, service, (set) => !idsOf(set).includes("a-1"));
    answer = () => Promise.resolve("passing");
    await waitForSet(other, service, (set) => idsOf(set).includes("a-1"));
  });

  define("finds an instance that is degraded, as one with a warning", async ({ mine, other, instance, service }) => {
    let answer: Readiness = "warning";
    await mine.register(instance("a-1", { weight: 5 }), { readiness: () => answer });
    const view = other.follow(service);
    const set = await finds(other, service, ["a-1"]);
    assert.deepEqual(
      set.instances.map(({ status, weight }) => [status, weight]),
      [["warning", 5]],
    );
    const counted = (): unknown => other.stats().services[0]?.states;
    assert.deepEqual(counted(), { passing: 0, warning: 1, critical: 0, maintenance: 0 });
    answer = "passing";
    await waitForSet(other, service, ({ instances }) => instances[0]?.status === "passing");
    answer = "critical";
    await finds(other, service, []);
    const summary = (await other.services()).find((one) => one.service === service);
    assert.deepEqual(summary, { service, passing: 0, warning: 0, critical: 1, tags: [] });
    assert.deepEqual(counted(), { passing: 0, warning: 0, critical: 1, maintenance: 0 });
    view.close();
  });

  define("tells others of what changes, under the same id", async ({ mine, other, instance, service }) => {
    const registration = await mine.register(instance("a-1", { tags: ["blue"], identity: "a-1" }));
    await finds(other, service, ["a-1"]);
    const changes = { tags: ["green"], metadata: { team: "core" }, weight: 7, version: "2.0", zone: "b" };
    await registration.update(changes);
    const { instances } = await waitForSet(other, service, (set) => set.instances[0]?.weight === 7);
    assert.deepEqual(instances, [registration.instance]);
    assert.partialDeepStrictEqual(instances, [{ ...changes, id: "a-1", identity: "a-1" }]);
    await assert.rejects(registration.update({ weight: 0 }), { code: "ERR_REGISTRY_INSTANCE", message: /^weight / });
    assert.equal(registration.instance.weight, 7);
    await registration.deregister();
    await assert.rejects(registration.update({ weight: 3 }), { code: "ERR_REGISTRY_CLOSED" });
  });

  define("takes an instance out of traffic for maintenance, and back", async ({ mine, other, instance, service }) => {
    const registration = await mine.register(instance("a-1"));
    await mine.register(instance("a-2"));
    await finds(other, service, ["a-1", "a-2"]);
    await registration.maintenance("rebuilding");
    await finds(other, service, ["a-2"]);
    await registration.update({ weight: 3 });
    assert.deepEqual([registration.state, registration.maintenanceReason], ["registered", "rebuilding"]);
    await registration.maintenance(undefined);
    await finds(other, service, ["a-1", "a-2"]);
    await registration.deregister();
    await assert.rejects(registration.maintenance("late"), { code: "ERR_REGISTRY_CLOSED" });
  });

  define("refuses an id that is registered already", async ({ mine, instance }) => {
    const first = await mine.register(instance("a-1"));
    await assert.rejects(mine.register(instance("a-1")), { code: "ERR_REGISTRY_DUPLICATE", message: /^a-1 / });
    await first.deregister();
    await mine.register(instance("a-1"));
  });

  const wrong: readonly (readonly [field: string, more: Partial<NewInstance>])[] = [
    ["service", { service: "no spaces" }],
    ["id", { id: "../admin" }],
    ["host", { host: "0.0.0.0" }],
    ["host", { host: "http://127.0.0.1" }],
    ["host", { host: "[::1]" }],
    ["ports", { ports: {} }],
    ["ports.http", { ports: { http: 0 } }],
    ["ports.grpc", { ports: { grpc: 65_536 } }],
    ["weight", { weight: 0 }],
    ["weight", { weight: 1.5 }],
    ["version", { version: "" }],
    ["zone", { zone: "z".repeat(513) }],
    ["tags", { tags: [""] }],
    ["metadata", { metadata: { "plinth-zone": "ours" } }],
    ["metadata", { metadata: { "a b": "c" } }],
    ["metadata.a", { metadata: { a: "x".repeat(513) } }],
    ["metadata", { metadata: Object.fromEntries(Array.from({ length: 60 }, (_, at) => [`k${at}`, ""])) }],
  ];
  define("refuses an instance that others could not use, naming the field", async ({ mine, instance }) => {
    for (const [field, more] of wrong) {
      await assert.rejects(
        mine.register(instance("a-1", more)),
        (error: { readonly code?: unknown; readonly message?: unknown }) =>
          error.code === "ERR_REGISTRY_INSTANCE" && String(error.message).startsWith(`${field} of an instance must be`),
        `${field}: ${JSON.stringify(more).slice(0, 80)}`,
      );
    }
    assert.deepEqual(mine.stats().registrations, []);
  });

  define("leaves nothing behind when registering is given up", async ({ mine, other, instance, service }) => {
    const early = AbortSignal.abort(new Error("given up before"));
    await assert.rejects(mine.register(instance("a-1"), { signal: early }), { message: "given up before" });
    const late = new AbortController();
    const readiness = (): Promise<Readiness> => {
      late.abort(new Error("given up meanwhile"));
      return Promise.resolve("passing");
    };
    await assert.rejects(mine.register(instance("a-2"), { signal: late.signal, readiness }), {
      message: "given up meanwhile",
    });
    await mine.close();
    await finds(other, service, []);
  });

  define("takes out its own instances, and no others, when closed", async ({ mine, other, instance, service }) => {
    const registration = await mine.register(instance("a-1"));
    await other.register(instance("a-2"));
    await mine.close();
    await mine.close();
    assert.equal(registration.state, "left");
    await finds(other, service, ["a-2"]);
    await assert.rejects(mine.register(instance("a-3")), { code: "ERR_REGISTRY_CLOSED" });
  });
}
