import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { InstanceSet, NewInstance, RegistryEvent } from "../registry.ts";
import { registrySuite, waitForSet } from "../testing/index.ts";
import { type DnsAnswer, DnsServer } from "../testing/dns-server.ts";
import type { StaticServices } from "./sources.ts";
import { createStaticRegistry, type StaticRegistry, type StaticRegistryOptions } from "./static-registry.ts";

const limits = { timeout: 20_000 };
const host = "notes.internal";
const service = "notes";

function hosts(set: InstanceSet | undefined): string {
  return `${set?.instances.map((one) => one.host).join()}${set?.stale ? " stale" : ""}`;
}

interface World extends AsyncDisposable {
  readonly dns: DnsServer;
  readonly own: StaticRegistry;
  readonly events: RegistryEvent[];
}

async function open(services: StaticServices, options: Partial<StaticRegistryOptions> = {}): Promise<World> {
  const dns = await DnsServer.start();
  const events: RegistryEvent[] = [];
  const own = createStaticRegistry({
    services,
    nameServers: [dns.address],
    minRefreshMs: 5,
    emptyConfirmMs: 30,
    requestTimeoutMs: 200,
    random: () => 0.01,
    onEvent: (event) => events.push(event),
    ...options,
  });
  return {
    dns,
    own,
    events,
    async [Symbol.asyncDispose]() {
      await own.close();
      await dns[Symbol.asyncDispose]();
    },
  };
}

const named: StaticServices = { [service]: { dns: host, ports: { http: 3_000 }, zone: "z1", tags: ["a"] } };
const addresses = (...list: readonly string[]): DnsAnswer => ({ addresses: list, ttl: 0 });

registrySuite(
  "static",
  async () => {
    const given = new Map<string, NewInstance>();
    const opened: StaticRegistry[] = [];
    const services = (): StaticServices => {
      const all = [...given.values()];
      const names = new Set(all.map((one) => one.service));
      return Object.fromEntries([...names].map((name) => [name, all.filter((one) => one.service === name)]));
    };
    const tell = (): void => {
      for (const registry of opened) registry.replace(services());
    };
    return {
      open() {
        const registry = createStaticRegistry({ services: services() });
        opened.push(registry);
        return registry;
      },
      give(instance) {
        given.set(instance.id, instance);
        tell();
        return () => {
          given.delete(instance.id);
          tell();
        };
      },
      [Symbol.asyncDispose]: async () => {},
    };
  },
  { parts: ["finding"] },
);

describe("a service found in DNS", limits, () => {
  it("has an instance for each A and AAAA record, and follows them", async () => {
    await using test = await open(named);
    test.dns.play(host, "A", addresses("10.0.0.2", "10.0.0.1"));
    test.dns.play(host, "AAAA", addresses("fd00::1"));
    const set = await waitForSet(test.own, service, ({ instances }) => instances.length === 3);
    assert.equal(hosts(set), "10.0.0.1,10.0.0.2,fd00::1");
    assert.deepEqual(set.instances[2], {
      service,
      id: "notes@fd00::1:3000",
      host: "fd00::1",
      ports: { http: 3_000 },
      zone: "z1",
      weight: 1,
      tags: ["a"],
      metadata: {},
      status: "passing",
    });
    const view = test.own.follow(service);
    test.dns.play(host, "A", addresses("10.0.0.3"));
    test.dns.play(host, "AAAA", undefined);
    await waitForSet(test.own, service, (next) => hosts(next) === "10.0.0.3");
    assert.equal(hosts(view.current), "10.0.0.3");
    assert.equal(hosts(await test.own.resolve(service)), "10.0.0.3");
  });

  for (const answer of ["servfail", "refused", "silent", "truncated"] as const) {
    it(`keeps the last addresses, flagged stale, while the answer is ${answer}, and recovers`, async () => {
      await using test = await open(named, { requestTimeoutMs: 20 });
      test.dns.play(host, "A", addresses("10.0.0.1"));
      const view = test.own.follow(service);
      await view.ready;
      test.dns.play(host, "A", answer);
      await waitForSet(test.own, service, ({ stale }) => stale);
      assert.equal(hosts(view.current), "10.0.0.1 stale");
      assert.equal(test.own.stats().services[0]!.error?.code, "ERR_REGISTRY_LOOKUP");
      test.dns.play(host, "A", addresses("10.0.0.2"));
      await waitForSet(test.own, service, (set) => hosts(set) === "10.0.0.2");
      assert.deepEqual(
        test.events.map(({ type }) => type).filter((type) => !type.endsWith("failed")),
        ["changed", "watch_recovered", "changed"],
      );
    });
  }

  it("keeps the addresses of a family that cannot be asked beside those of the other", async () => {
    await using test = await open(named);
    test.own.follow(service); // for as long as the test
    test.dns.play(host, "A", addresses("10.0.0.1"));
    test.dns.play(host, "AAAA", addresses("fd00::1"));
    await waitForSet(test.own, service, ({ instances }) => instances.length === 2);
    test.dns.play(host, "AAAA", "servfail");
    test.dns.play(host, "A", addresses("10.0.0.2"));
    await waitForSet(test.own, service, (set) => hosts(set) === "10.0.0.2,fd00::1 stale");
  });

  it("takes no harm from a family that was never answered", async () => {
    await using test = await open(named);
    test.dns.play(host, "A", addresses("10.0.0.1"));
    test.dns.play(host, "AAAA", "servfail");
    const set = await waitForSet(test.own, service, () => true);
    assert.equal(hosts(set), "10.0.0.1");
    test.dns.play(host, "A", undefined);
    await assert.rejects(createAndResolve(test.dns), { code: "ERR_REGISTRY_LOOKUP", status: "unavailable" });
  });

  for (const [what, change] of [
    ["there is no such name", (dns: DnsServer) => dns.play(host, "A", undefined)],
    ["the name has no addresses", (dns: DnsServer) => dns.play(host, "A", addresses())],
  ] as const) {
    it(`drops the last addresses once ${what} at a second look, some time later`, async () => {
      await using test = await open(named);
      test.dns.play(host, "A", addresses("10.0.0.1"));
      const seen: string[] = [];
      for await (const set of test.own.watch(service)) {
        seen.push(hosts(set));
        change(test.dns);
        if (set.instances.length === 0) break;
      }
      assert.deepEqual(seen, ["10.0.0.1", "10.0.0.1 stale", ""]);
      assert.equal(test.events.filter(({ type }) => type === "empty_answer").length, 1);
    });
  }

  it("keeps the addresses when the name comes back before that", async () => {
    await using test = await open(named, { emptyConfirmMs: 60 });
    test.dns.play(host, "A", addresses("10.0.0.1"));
    const seen: string[] = [];
    for await (const set of test.own.watch(service)) {
      seen.push(hosts(set));
      if (set.stale) test.dns.play(host, "A", addresses("10.0.0.1"));
      else if (seen.length === 1) test.dns.play(host, "A", undefined);
      else break;
    }
    assert.deepEqual(seen, ["10.0.0.1", "10.0.0.1 stale", "10.0.0.1"]);
  });

  it("begins empty when the name does not exist", async () => {
    await using test = await open(named, { emptyConfirmMs: 60_000 });
    assert.equal(hosts(await waitForSet(test.own, service, () => true)), "");
    assert.equal(hosts(await test.own.resolve(service)), "");
  });

  it("asks again when the TTL has passed, and no later than refreshMs", async () => {
    await using test = await open({ [service]: { dns: host, ports: { http: 1 }, family: 4, refreshMs: 1_000 } });
    test.dns.play(host, "A", { addresses: ["10.0.0.1"], ttl: 3_600 });
    test.own.follow(service);
    await test.dns.asked(`${host} A`, 2);
    assert.ok(!test.dns.questions.includes(`${host} AAAA`), "only the family that was wanted");
  });

  it("stops asking when nobody follows any more, and asks once however many do", async () => {
    await using test = await open(named);
    test.dns.play(host, "A", { addresses: ["10.0.0.1"], ttl: 60 });
    const views = Array.from({ length: 20 }, () => test.own.follow(service));
    await Promise.all(views.map(({ ready }) => ready));
    assert.deepEqual(test.dns.questions.toSorted(), [`${host} A`, `${host} AAAA`]);
    for (const view of views) view.close();
    assert.deepEqual(test.own.stats().services, []);
  });
});

async function createAndResolve(dns: DnsServer): Promise<InstanceSet> {
  return createStaticRegistry({ services: named, nameServers: [dns.address] }).resolve(service);
}

describe("a service found by SRV records", limits, () => {
  const srv = "_http._tcp.notes.internal";
  const services: StaticServices = { [service]: { srv, protocol: "grpc", family: 4 } };
  const target = (name: string, port: number, priority = 1, weight = 5): object => ({ name, port, priority, weight });
  const targets = (...list: readonly object[]): DnsAnswer => ({
    ttl: 0,
    targets: list.map((one) => ({ name: "", port: 0, priority: 0, weight: 0, ...one })),
  });
  const places = (set: InstanceSet): string =>
    set.instances.map(({ host: own, ports, weight }) => `${own}:${ports.grpc}*${weight}`).join(" ");

  it("has the addresses of the targets of the lowest priority, with port and weight", async () => {
    await using test = await open(services);
    test.dns.play(
      srv,
      "SRV",
      targets(target("one.internal", 1), target("two.internal", 2, 1, 0), target("spare.internal", 3, 2)),
    );
    for (const [at, name] of ["one", "two", "spare"].entries()) {
      test.dns.play(`${name}.internal`, "A", addresses(`10.0.0.${at + 1}`));
    }
    const set = await waitForSet(test.own, service, () => true);
    assert.equal(places(set), "10.0.0.1:1*5 10.0.0.2:2*1");
    test.dns.play("one.internal", "A", undefined);
    test.dns.play("two.internal", "A", undefined);
    await waitForSet(test.own, service, (next) => places(next) === "10.0.0.3:3*5");
  });

  it("keeps the addresses of a target that cannot be asked", async () => {
    await using test = await open(services);
    test.own.follow(service); // for as long as the test
    test.dns.play(srv, "SRV", targets(target("one.internal", 1), target("two.internal", 2)));
    test.dns.play("one.internal", "A", addresses("10.0.0.1"));
    test.dns.play("two.internal", "A", addresses("10.0.0.2"));
    await waitForSet(test.own, service, ({ instances }) => instances.length === 2);
    test.dns.play("one.internal", "A", "servfail");
    test.dns.play("two.internal", "A", addresses("10.0.0.9"));
    await waitForSet(test.own, service, (set) => set.stale && places(set) === "10.0.0.1:1*5 10.0.0.9:2*5");
  });

  it("is empty when the target is the root, which means that it is not offered", async () => {
    await using test = await open(services);
    test.dns.play(srv, "SRV", targets(target("", 0)));
    assert.equal(places(await test.own.resolve(service)), "");
  });
});

describe("a list of services", limits, () => {
  const list: StaticServices = { [service]: [{ host: "10.0.0.1", ports: { http: 1 } }], tasks: [] };

  it("counts them, and takes another list while they are followed", async () => {
    await using test = await open(list);
    const view = test.own.follow(service);
    assert.equal(hosts(view.current), "10.0.0.1");
    assert.deepEqual(await test.own.services(), [
      { service, passing: 1, warning: 0, critical: 0, tags: [] },
      { service: "tasks", passing: 0, warning: 0, critical: 0, tags: [] },
    ]);
    const before = view.current;
    test.own.replace({ ...list, tasks: [{ host: "10.0.0.9", ports: { http: 1 } }] });
    assert.equal(view.current, before, "what has not changed is left alone");
    test.own.replace({});
    assert.deepEqual([hosts(view.current), view.current?.revision], ["", 2]);
    assert.throws(() => test.own.replace({ [service]: [{ host: "0.0.0.0", ports: { http: 1 } }] }), {
      code: "ERR_REGISTRY_INSTANCE",
    });
    test.own.replace(named);
    test.dns.play(host, "A", addresses("10.0.0.7"));
    await waitForSet(test.own, service, (set) => hosts(set) === "10.0.0.7");
  });

  const wrong: readonly (readonly [what: string, services: StaticServices, code: string, message: RegExp])[] = [
    [
      "a name with spaces",
      { [service]: { dns: "a b", ports: { http: 1 } } },
      "ERR_OPTION_RANGE",
      /^services\.notes: "a b"/,
    ],
    ["no port", { [service]: { dns: host, ports: {} } }, "ERR_REGISTRY_INSTANCE", /^ports /],
    [
      "a refreshMs below a second",
      { [service]: { srv: host, protocol: "http", refreshMs: 10 } },
      "ERR_OPTION_RANGE",
      /refreshMs/,
    ],
    [
      "two instances of one id",
      {
        [service]: [
          { host: "a", ports: { http: 1 } },
          { host: "a", ports: { http: 1, grpc: 2 } },
        ],
      },
      "ERR_OPTION_RANGE",
      /two instances have the id notes@a:1/,
    ],
    ["a service that cannot be one", { "a/b": [] }, "ERR_REGISTRY_INSTANCE", /^service /],
  ];
  for (const [what, services, code, message] of wrong) {
    it(`refuses ${what}`, () => assert.throws(() => createStaticRegistry({ services }), { code, message }));
  }

  for (const [name, value] of [
    ["refreshMs", 999],
    ["minRefreshMs", 0],
    ["emptyConfirmMs", -1],
    ["requestTimeoutMs", 0],
    ["snapshotMaxAgeMs", 999],
  ] as const) {
    it(`refuses ${name} ${value}, and names it`, () => {
      assert.throws(() => createStaticRegistry({ services: {}, [name]: value }), {
        code: "ERR_OPTION_RANGE",
        message: new RegExp(`^${name} `),
      });
    });
  }

  it("takes no part of a list of which another part makes no sense", async () => {
    await using test = await open(list);
    const view = test.own.follow(service);
    const replaced = {
      [service]: [{ host: "10.0.0.2", ports: { http: 1 } }],
      users: { dns: "a b", ports: { http: 1 } },
    };
    assert.throws(() => test.own.replace(replaced), { code: "ERR_OPTION_RANGE", message: /^services\.users: / });
    assert.equal(hosts(view.current), "10.0.0.1");
    assert.equal(hosts(await test.own.resolve("users")), "");
  });

  it("tells of each change, asks nothing more of what was replaced, and nothing for what nobody follows", async () => {
    await using test = await open({ ...list, users: named[service]! });
    test.dns.play(host, "A", addresses("10.0.0.7"));
    const view = test.own.follow(service);
    const users = test.own.follow("users");
    await users.ready;
    const revisions = (): number[] =>
      test.events.flatMap((event) =>
        event.type === "changed" && event.set.service === service ? [event.set.revision] : [],
      );
    assert.deepEqual(revisions(), [1]);
    test.own.replace({ [service]: [{ host: "10.0.0.2", ports: { http: 1 } }] });
    assert.deepEqual([revisions(), hosts(users.current)], [[1, 2], ""]);
    const asked = test.dns.questions.length;
    await new Promise((resolve) => setTimeout(resolve, 30)); // the name was asked for every 5 ms
    assert.ok(test.dns.questions.length <= asked + 4, "but for the question that was under way");
    assert.equal(hosts(users.current), "", "and its answer counts no more");
    view.close();
    test.own.replace(list);
    assert.deepEqual(revisions(), [1, 2]);
  });

  it("does nothing more once it is closed, and lets its registrations go", async () => {
    await using test = await open(list);
    const own = await test.own.register({ service, id: "a-1", host: "10.0.0.2", ports: { http: 2 } });
    await test.own.close();
    assert.equal(own.state, "left");
    const code = "ERR_REGISTRY_CLOSED";
    assert.throws(() => test.own.replace(list), { code });
    await assert.rejects(test.own.register(own.instance), { code });
    await assert.rejects(test.own.services(), { code });
  });

  it("keeps what names led to on disk, for a start without name servers", async () => {
    const folder = await mkdtemp(join(tmpdir(), "plinth-static-"));
    try {
      const snapshotFile = join(folder, "known.json");
      const first = await open(named, { snapshotFile });
      first.dns.play(host, "A", addresses("10.0.0.7"));
      await waitForSet(first.own, service, (set) => hosts(set) === "10.0.0.7");
      await first[Symbol.asyncDispose]();
      await using test = await open(named, { snapshotFile });
      test.dns.play(host, "A", "refused");
      test.dns.play(host, "AAAA", "refused");
      assert.equal(hosts(await test.own.resolve(service)), "10.0.0.7 stale");
      assert.equal(hosts(test.own.follow(service).current), "10.0.0.7 stale");
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("accepts a registration, tells nobody of it, and lets it go", async () => {
    await using test = await open(list);
    const own = await test.own.register({ service, id: "a-1", host: "10.0.0.2", ports: { http: 2 } });
    assert.deepEqual([own.state, test.own.stats().registrations], ["registered", [own]]);
    await own.update({ weight: 3 });
    await own.maintenance("upgrade");
    assert.deepEqual([own.instance.weight, own.maintenanceReason], [3, "upgrade"]);
    await assert.rejects(test.own.register(own.instance), { code: "ERR_REGISTRY_DUPLICATE" });
    assert.equal(hosts(await test.own.resolve(service)), "10.0.0.1");
    await own.deregister();
    await own.deregister();
    assert.deepEqual([own.state, test.own.stats().registrations], ["left", []]);
    await assert.rejects(own.update({}), { code: "ERR_REGISTRY_CLOSED" });
  });
});
