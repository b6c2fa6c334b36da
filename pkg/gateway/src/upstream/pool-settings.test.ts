import assert from "node:assert/strict";
import type { RequestListener } from "node:http";
import { describe, it } from "node:test";
import { systemClock } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import { createMemoryRateStore } from "@plinth/resilience";
import { Revocations } from "@plinth/transport/jwt";
import { parseGatewayDocument } from "../config/document.ts";
import type { GatewayDocument } from "../config/schema.ts";
import type { GatewayOptions } from "../contract.ts";
import { httpInstance, openRoute, type Scripted, startGateway, type TestGateway } from "../testing/kit.ts";
import { staticView } from "./static-view.ts";
import { signingKey, startIssuer, tokenOf } from "../testing/issuer.ts";

type Service = NonNullable<GatewayDocument["services"]>[string];

const saying =
  (text: string): RequestListener =>
  (_request, response) =>
    void response.end(text);
const at = ({ port }: Scripted): string => `127.0.0.1:${port}`;

/** A gateway with a service of these instances, which stand in its document. */
function startStatic(
  instances: readonly Scripted[],
  service: Service = {},
  options: Partial<GatewayOptions> = {},
): Promise<TestGateway> {
  const s = { static: instances.map(at), ...service };
  return startGateway({ document: { services: { s }, routes: [openRoute()] }, ...options });
}

async function ask(url: string, headers: Record<string, string> = {}): Promise<string> {
  const reply = await fetch(url, { headers });
  const text = await reply.text();
  return reply.status === 200 ? text : `${reply.status} ${/"reason":"(\w+)"/.exec(text)?.[1]}`;
}

async function asked(times: number, url: string, headers?: Record<string, string>): Promise<string[]> {
  const answers: string[] = [];
  for (let turn = 0; turn < times; turn++) answers.push(await ask(url, headers));
  return answers;
}

describe("static instances of a service", () => {
  it("get its requests without a registry, and others when the document is reloaded", async () => {
    await using one = await httpInstance(saying("one"));
    await using two = await httpInstance(saying("two"));
    const registry = { follow: () => assert.fail("the registry is not asked") };
    await using test = await startStatic([one], {}, { registry });
    const url = `http://127.0.0.1:${test.gateway.port}`;
    assert.deepEqual(await asked(2, url), ["one", "one"]);
    await test.gateway.reload({ services: { s: { static: [at(two)] } }, routes: [openRoute()] });
    assert.deepEqual(await asked(2, url), ["two", "two"]);
    assert.deepEqual(
      test.gateway.describe().services.map(({ instances }) => instances.map(({ address }) => address)),
      [[at(two)]],
    );
  });
});

describe("how requests are shared out", () => {
  it("is in turn with roundRobin", async () => {
    await using one = await httpInstance(saying("one"));
    await using two = await httpInstance(saying("two"));
    await using test = await startStatic([one, two], { balancing: { policy: "roundRobin" } });
    const answers = await asked(6, test.url);
    assert.deepEqual(answers.slice(0, 2).toSorted(), ["one", "two"]);
    assert.deepEqual(answers.slice(2), [...answers.slice(0, 2), ...answers.slice(0, 2)]);
  });

  it("is by header, cookie, subject or address with hash, and by chance without one", async () => {
    await using one = await httpInstance(saying("one"));
    await using two = await httpInstance(saying("two"));
    const key = signingKey("k");
    await using issuer = await startIssuer(key);
    const { anonymous: _open, ...closed } = openRoute();
    const instances = [at(one), at(two)];
    const hash = (hashBy: NonNullable<Service["balancing"]>["hashBy"]): Service => ({
      static: instances,
      balancing: { policy: "hash", hashBy },
    });
    const route = (name: string) => openRoute({ name, match: { path: `/${name}` }, service: name });
    await using test = await startGateway({
      settings: { trustedProxies: ["127.0.0.1"] },
      document: {
        jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks: issuer.url } },
        services: {
          header: hash({ header: "x-user" }),
          cookie: hash({ cookie: "sid" }),
          address: hash("address"),
          subject: hash("subject"),
        },
        routes: [
          route("header"),
          route("cookie"),
          route("address"),
          { ...closed, name: "subject", match: { path: "/subject" }, service: "subject", auth: {} },
        ],
      },
    });
    const ways: readonly (readonly [string, (user: number) => Record<string, string>])[] = [
      ["header", (user) => ({ "x-user": `u${user}` })],
      ["cookie", (user) => ({ cookie: `a=b; sid=u${user}` })],
      ["address", (user) => ({ "x-forwarded-for": `192.0.2.${user}` })],
      ["subject", (user) => ({ authorization: `Bearer ${tokenOf(key, { sub: `u${user}` })}` })],
    ];
    for (const [path, headersOf] of ways) {
      const seen = new Set<string>();
      for (let user = 1; user <= 12; user++) {
        const answers = new Set(await asked(3, `${test.url}/${path}`, headersOf(user)));
        assert.equal(answers.size, 1, `${path} of user ${user}`);
        for (const answer of answers) seen.add(answer);
      }
      assert.deepEqual(seen, new Set(["one", "two"]), path);
    }
    assert.match(await ask(`${test.url}/header`), /^(?:one|two)$/);
  });

  it("takes the own zone first with spillOver, and others when that fails", async () => {
    await using near = await httpInstance(saying("near"));
    await using far = await httpInstance(saying("far"));
    await using test = await startGateway({
      settings: { zone: "z1" },
      document: {
        services: { s: { balancing: { spillOver: 1_000 }, ejection: { localFailures: 1 } } },
        routes: [openRoute()],
      },
    });
    const place = (id: string, { port }: Scripted, zone: string) =>
      test.registry.register({ service: "s", id, zone, host: "127.0.0.1", ports: { http: port } });
    await place("near", near, "z1");
    await place("far", far, "z2");
    assert.deepEqual(new Set(await asked(12, test.url)), new Set(["near"]));
    await near.close();
    assert.deepEqual(new Set(await asked(4, test.url)), new Set(["far"]), "unsent requests are sent elsewhere");
  });

  it("is among a subset of the instances, always the same", async () => {
    const instances = await Promise.all(["a", "b", "c", "d"].map((name) => httpInstance(saying(name))));
    await using test = await startStatic(instances, { balancing: { subsetSize: 2 } });
    const [{ instances: used } = { instances: [] }] = test.gateway.describe().services;
    await ask(test.url);
    assert.equal(used.length, 0, "nobody has asked");
    assert.equal(test.gateway.describe().services[0]?.instances.length, 2);
    assert.ok(new Set(await asked(20, test.url)).size <= 2);
    for (const instance of instances) await instance.close();
  });
});

describe("a sticky cookie", () => {
  it("keeps a caller with the instance that answered, until that is out or gone", async () => {
    await using one = await httpInstance(saying("one"));
    await using two = await httpInstance(saying("two"));
    const balancing = { sticky: { cookie: "at", maxAgeMs: 60_000, sameSite: "Strict" } } as const;
    await using test = await startStatic([one, two], { balancing, ejection: { localFailures: 1 } });
    const first = await fetch(test.url);
    const own = await first.text();
    const line = first.headers.get("set-cookie") ?? "";
    assert.match(line, /^at=[\w-]{22}; Path=\/; Max-Age=60; HttpOnly; SameSite=Strict$/);
    assert.doesNotMatch(line, /127|\d{5}/, "it says nothing of the instance");
    const cookie = line.split(";")[0] ?? "";
    for (let turn = 0; turn < 10; turn++) {
      const again = await fetch(test.url, { headers: { cookie: `x=y; ${cookie}` } });
      assert.equal(await again.text(), own);
      assert.equal(again.headers.get("set-cookie"), null);
    }
    for (const wrong of ["at=", "at=nobody", "at=%00", `at=${"x".repeat(4_000)}`])
      assert.match((await fetch(test.url, { headers: { cookie: wrong } })).headers.get("set-cookie") ?? "", /^at=/);
    await (own === "one" ? one : two).close();
    const moved = await fetch(test.url, { headers: { cookie } });
    assert.equal(await moved.text(), own === "one" ? "two" : "one");
    const next = moved.headers.get("set-cookie") ?? "";
    assert.match(next, /^at=/);
    assert.ok(!next.startsWith(cookie));
    await fetch(test.url, { headers: { cookie } });
    assert.match(await test.metrics(), /attempts_total\{service="s",outcome="unreachable"\} 1\n/, "it is out by now");
  });

  it("is Secure where a trusted proxy says that the client came by TLS", async () => {
    await using one = await httpInstance(saying("one"));
    const options = { settings: { trustedProxies: ["127.0.0.1"] } };
    await using test = await startStatic([one], { balancing: { sticky: { cookie: "at" } } }, options);
    const reply = await fetch(test.url, { headers: { "x-forwarded-proto": "https" } });
    assert.match(reply.headers.get("set-cookie") ?? "", /; HttpOnly; SameSite=Lax; Secure$/);
  });
});

describe("a reply with a sticky cookie", () => {
  const cases = [
    ["public, max-age=60", false, "public, max-age=60"],
    ["s-maxage=60", false, "s-maxage=60"],
    ["max-age=60", true, "max-age=60, private"],
    [undefined, true, "private"],
    ["no-store", true, "no-store"],
    ["private", true, "private"],
  ] as const;
  for (const [given, hasCookie, expected] of cases) {
    it(`${hasCookie ? "is kept by no cache that others share" : "goes without it"} where the service says ${given ?? "nothing"}`, async () => {
      await using one = await httpInstance((_request, response) => {
        response.writeHead(200, given === undefined ? {} : { "cache-control": given }).end();
      });
      await using test = await startStatic([one], { balancing: { sticky: { cookie: "at" } } });
      const { headers } = await fetch(test.url);
      assert.equal(headers.has("set-cookie"), hasCookie);
      assert.equal(headers.get("cache-control"), expected);
    });
  }
});

describe("a breaker", () => {
  it("shuts a route's way to an instance that fails, says when it opens, and lets go of others' routes", async () => {
    const clock = new FakeClock();
    let status = 503;
    await using one = await httpInstance((_request, response) => response.writeHead(status).end("one"));
    const s: Service = {
      static: [at(one)],
      breaker: { minRequests: 4, openMs: 3_000, recoveryMs: 0 },
      ejection: { failures: "never", successRate: false },
    };
    const routes = [openRoute(), openRoute({ name: "other", match: { path: "/other" } })];
    await using test = await startGateway({ document: { services: { s }, routes }, clock });
    for (let turn = 0; turn < 4; turn++) assert.equal((await fetch(test.url)).status, 503);
    const refused = await fetch(test.url);
    assert.equal(((await refused.json()) as { reason: string }).reason, "breaker_open");
    assert.deepEqual([refused.status, refused.headers.get("retry-after")], [503, "3"]);
    assert.match(await test.metrics(), /gateway_upstream_breakers\{service="s",state="open"\} 1/);
    assert.deepEqual(test.gateway.describe().services[0]?.instances[0]?.breakers, [
      { route: "all", state: "open", retryAfterMs: 3_000 },
    ]);
    status = 200;
    assert.equal(await ask(`${test.url}/other`), "one");
    await clock.advance(3_000);
    assert.equal(await ask(test.url), "one");
  });

  it("sends requests to other instances as long as there are some", async () => {
    await using bad = await httpInstance((_request, response) => response.writeHead(503).end());
    await using good = await httpInstance(saying("good"));
    await using test = await startStatic([bad, good], {
      breaker: { minRequests: 2, openMs: 60_000 },
      ejection: { failures: "never", successRate: false },
      balancing: { policy: "roundRobin" },
    });
    await until(async () => (await asked(6, test.url)).every((answer) => answer === "good"));
    assert.deepEqual(new Set(await asked(10, test.url)), new Set(["good"]));
  });
});

describe("ejection of an instance", () => {
  it("goes by its own numbers and statuses, answers and silence apart", async () => {
    await using bad = await httpInstance((_request, response) => response.writeHead(500).end());
    await using good = await httpInstance(saying("good"));
    await using test = await startStatic([bad, good], {
      ejection: { failures: 2, failingStatuses: [500] },
      balancing: { policy: "roundRobin" },
    });
    const answers: number[] = [];
    for (let turn = 0; turn < 8; turn++) answers.push((await fetch(test.url)).status);
    assert.equal(answers.filter((status) => status === 500).length, 2);
    const state = test.gateway.describe().services[0]?.instances.find(({ address }) => address === at(bad));
    assert.equal(state?.ejectedFor, "failures");
  });

  it("counts replies that break off only where it is told to", async () => {
    await using broken = await httpInstance((request) => request.socket.destroy());
    await using good = await httpInstance(saying("good"));
    for (const countSlow of [true, false]) {
      await using test = await startStatic([broken, good], {
        ejection: { localFailures: 2, countSlow },
        balancing: { policy: "roundRobin" },
      });
      const answers: number[] = [];
      for (let turn = 0; turn < 10; turn++) answers.push((await fetch(test.url, { method: "POST", body: "x" })).status);
      assert.equal(answers.filter((status) => status === 502).length, countSlow ? 2 : 5);
    }
  });
});

describe("caps of a service", () => {
  it("have requests wait for a connection, and refuse those beyond the queue, or that wait too long", async () => {
    const clock = new FakeClock();
    const held: (() => void)[] = [];
    await using one = await httpInstance((_request, response) => void held.push(() => response.end("one")));
    await using test = await startStatic(
      [one],
      { caps: { maxConnections: 1, maxPending: 1, maxWaitMs: 500 } },
      { clock },
    );
    const first = ask(test.url);
    await until(() => held.length === 1);
    const second = ask(test.url);
    const waits = (count: number) =>
      until(async () => (await test.metrics()).includes(`gateway_upstream_requests_waiting{service="s"} ${count}\n`));
    await waits(1);
    assert.equal(await ask(test.url), "503 instances_busy", "the queue is full");
    held.shift()?.();
    assert.equal(await first, "one");
    await until(() => held.length === 1);
    const third = ask(test.url);
    await waits(1);
    await clock.advance(500);
    assert.equal(await third, "503 instances_busy", "it has waited for long enough");
    const left = new AbortController();
    const gone = fetch(test.url, { signal: left.signal }).catch(() => "gone");
    await waits(1);
    left.abort();
    assert.equal(await gone, "gone");
    await waits(0);
    held.shift()?.();
    assert.equal(await second, "one");
    const next = ask(test.url);
    await until(() => held.length === 1);
    held.shift()?.();
    assert.equal(await next, "one", "no place is lost");
    assert.equal(one.accepted, 1);
  });

  it("send nothing to an instance whose connections are all in use, as long as there is another", async () => {
    const held: (() => void)[] = [];
    await using slow = await httpInstance((_request, response) => void held.push(() => response.end("slow")));
    await using quick = await httpInstance(saying("quick"));
    await using test = await startStatic([slow, quick], {
      caps: { maxConnections: 1, maxPending: 10 },
      balancing: { policy: "roundRobin" },
    });
    const waiting = [ask(test.url), ask(test.url)];
    await until(() => held.length === 1);
    assert.deepEqual(new Set(await asked(4, test.url)), new Set(["quick"]));
    assert.doesNotMatch(await test.metrics(), /outcome="busy"/);
    held.shift()?.();
    assert.deepEqual((await Promise.all(waiting)).toSorted(), ["quick", "slow"]);
  });
});

describe("connections to an instance among workers", () => {
  // [set, workers, of each]
  for (const [maxConnections, count, own] of [
    [5, 2, 2],
    [2, 4, 1],
  ] as const)
    it(`are ${own} of ${maxConnections} for each of ${count}`, async () => {
      const held: (() => void)[] = [];
      await using one = await httpInstance((_request, response) => void held.push(() => response.end("one")));
      const team = {
        count,
        state: undefined,
        rates: createMemoryRateStore(),
        revocations: new Revocations({ clock: systemClock }),
        capOf: () => assert.fail("there is no limit"),
        reload: () => assert.fail("there is one document"),
      };
      await using test = await startStatic([one], { caps: { maxConnections, maxPending: 1 } }, { team });
      const underWay = Array.from({ length: own }, () => ask(test.url));
      await until(() => held.length === own);
      const waiting = ask(test.url);
      await until(async () => (await test.metrics()).includes('gateway_upstream_requests_waiting{service="s"} 1\n'));
      assert.equal(await ask(test.url), "503 instances_busy");
      assert.equal(held.length, own);
      held.shift()?.();
      await until(() => held.length === own);
      for (const answer of held) answer();
      assert.deepEqual(new Set(await Promise.all([...underWay, waiting])), new Set(["one"]));
    });
});

describe("settings of a service", () => {
  const refused: readonly (readonly [string, Service, RegExp])[] = [
    ["an address without a port", { static: ["localhost"] }, /host:port/],
    ["an address twice", { static: ["a:1", "a:1"] }, /each address once/],
    ["a port that is none", { static: ["a:65536"] }, /host:port/],
    ["a host that is none", { static: ["-a.b:1"] }, /host:port/],
    ["every address at once", { static: ["0.0.0.0:1"] }, /host:port/],
    ["an address in brackets that is none", { static: ["[1.2.3.4]:1"] }, /host:port/],
    ["hash by nothing", { balancing: { policy: "hash" } }, /policy: hash/],
    ["hashBy without hash", { balancing: { hashBy: "address" } }, /policy: hash/],
    ["probes that overlap", { health: { path: "/", intervalMs: 1_000, timeoutMs: 1_000 } }, /less than/],
    ["a probe of no path", { health: { path: "x y" } }, /begins with a slash/],
    [
      "a breaker that shuts for longer than ever",
      { breaker: { openMs: 2_000, maxOpenMs: 1_000 } },
      /at least `openMs`/,
    ],
    ["an ejection longer than the longest", { ejection: { ejectMs: 2_000, maxEjectMs: 1_000 } }, /at least `ejectMs`/],
  ];
  for (const [what, s, message] of refused) {
    it(`may not be ${what}`, () => {
      assert.throws(() => parseGatewayDocument({ services: { s }, routes: [openRoute()] }), { message });
    });
  }

  it("take names and addresses of both families", () => {
    const all = ["a:1", "a_b.c-d.example:80", "192.0.2.1:65535", "[2001:db8::1]:443"];
    const { services } = parseGatewayDocument({ services: { s: { static: all } }, routes: [openRoute()] });
    assert.deepEqual(services["s"]?.static, all);
    const view = staticView("s", all);
    assert.deepEqual(view.current?.instances.map(({ host, ports }) => [host, ports.http]).toSorted(), [
      ["192.0.2.1", 65_535],
      ["2001:db8::1", 443],
      ["a", 1],
      ["a_b.c-d.example", 80],
    ]);
    view.close();
  });

  it("may not ask for versions of instances that have none", () => {
    const routes = [openRoute({ backends: [{ version: "1", weight: 1 }] })];
    assert.throws(() => parseGatewayDocument({ services: { s: { static: ["a:1"] } }, routes }), {
      message: /have not/,
    });
  });
});
