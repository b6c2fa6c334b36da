import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { signingKey, startIssuer, tokenOf } from "../testing/issuer.ts";
import { echo, httpInstance, openRoute, startGateway } from "../testing/kit.ts";
import { Deadlines, type DeadlineList, type Expiring } from "./deadlines.ts";
import { addressKey, plainAddress, policyHeader } from "./route.ts";

describe("a rate limit", () => {
  it("lets exactly its number through for each subject, over all routes that share it", async () => {
    const key = signingKey("k");
    await using issuer = await startIssuer(key);
    await using instance = await httpInstance(echo);
    const shared = { service: "s", auth: {}, rateLimit: "notes" };
    await using running = await startGateway({
      document: {
        jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks: issuer.url } },
        rateLimits: { notes: { limit: 50, windowMs: 3_600_000 } },
        routes: [
          { name: "read", match: { path: "/notes", methods: ["GET"] }, ...shared },
          { name: "write", match: { path: "/notes", methods: ["POST"] }, ...shared },
          openRoute({ name: "open", match: { path: "/open" } }),
        ],
      },
    });
    await running.add(instance);
    const ask = (sub: string, method: string): Promise<Response> =>
      fetch(`${running.url}/notes`, { method, headers: { authorization: `Bearer ${tokenOf(key, { sub })}` } });
    await ask("warm-up", "GET");

    const first = await ask("alice", "GET");
    assert.equal(first.headers.get("ratelimit-policy"), '"notes";q=50;w=3600');
    assert.match(String(first.headers.get("ratelimit")), /^"notes";r=49;t=3600$/);
    const rest = await Promise.all(Array.from({ length: 69 }, (_, i) => ask("alice", i % 2 === 0 ? "GET" : "POST")));
    assert.equal(rest.filter(({ status }) => status === 200).length, 49);
    const refused = rest.filter(({ status }) => status === 429);
    assert.equal(refused.length, 20);
    for (const reply of refused) {
      assert.match(String(reply.headers.get("retry-after")), /^(?:3600|359\d)$/);
      assert.equal(reply.headers.get("ratelimit-policy"), '"notes";q=50;w=3600');
      assert.match(String(reply.headers.get("ratelimit")), /^"notes";r=0;t=3\d{3}$/);
      assert.equal(((await reply.json()) as { reason: string }).reason, "rate_limited");
    }
    assert.equal((await ask("bob", "GET")).status, 200, "another subject has its own");
    assert.equal((await fetch(`${running.url}/open`)).headers.get("ratelimit"), null);
    assert.match(await running.metrics(), /gateway_rate_limit_keys\{policy="notes"\} 3/);
  });

  it("counts by address where there is no token, and what the client says of its address changes nothing", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({
      routes: [openRoute({ rateLimit: { limit: 3, windowMs: 60_000, by: "address" } })],
    });
    await running.add(instance);
    const statuses: number[] = [];
    for (let i = 0; i < 5; i++) {
      const reply = await fetch(running.url, {
        headers: { "x-forwarded-for": `10.0.0.${i}`, "x-real-ip": `10.0.0.${i}` },
      });
      statuses.push(reply.status);
    }
    assert.deepEqual(statuses, [200, 200, 200, 429, 429]);
  });

  it("is not used up by requests that are refused before it", async () => {
    await using running = await startGateway({
      routes: [openRoute({ match: { path: "/x" }, maxBodyBytes: 1, rateLimit: { limit: 1, windowMs: 60_000 } })],
    });
    for (let i = 0; i < 3; i++)
      assert.equal((await fetch(`${running.url}/x`, { method: "POST", body: "too long" })).status, 413);
    assert.equal((await fetch(`${running.url}/x`)).status, 503, "it got as far as finding no instance");
  });
});

describe("addressKey", () => {
  for (const [address, key] of [
    ["192.0.2.7", "192.0.2.7"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2"],
    ["2001:db8:1:2::9", "2001:db8:1:2"],
    ["2001:0db8:0001:0002:ffff::", "2001:db8:1:2"],
    ["2001:db8::1", "2001:db8:0:0"],
    ["::1", "0:0:0:0"],
    ["::", "0:0:0:0"],
    ["fe80::1%eth0", "fe80:0:0:0"],
  ] as const) {
    it(`makes ${key} of ${address}`, () => assert.equal(addressKey(address), key));
  }

  it("sees an IPv4 address in an IPv6 socket as what it is", () => {
    assert.equal(plainAddress("::ffff:192.0.2.7"), "192.0.2.7");
    assert.equal(plainAddress(undefined), "unknown");
  });
});

describe("policyHeader", () => {
  it("counts in whole seconds", () => {
    assert.equal(policyHeader("a", { limit: 5, windowMs: 1_500 }), '"a";q=5;w=2');
  });
});

describe("Deadlines", () => {
  class Entry implements Expiring {
    expiresAtMs = 0;
    before: Expiring | undefined;
    after: Expiring | undefined;
    list: DeadlineList | undefined;
    readonly name: string;
    readonly #expired: string[];
    constructor(name: string, expired: string[]) {
      this.name = name;
      this.#expired = expired;
    }
    expire(): void {
      this.#expired.push(this.name);
    }
  }

  it("fires in order, never early, at most one tick late, and not after removal", async () => {
    const clock = new FakeClock();
    const deadlines = new Deadlines(clock, 50);
    const expired: string[] = [];
    const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => new Entry(name, expired)) as [Entry, Entry, Entry, Entry];
    deadlines.list(100).add(a, clock.monotonicMs());
    deadlines.list(300).add(b, clock.monotonicMs());
    await clock.advance(30);
    deadlines.list(100).add(c, clock.monotonicMs());
    deadlines.list(100).add(d, clock.monotonicMs());
    d.list?.remove(d);
    d.list?.remove(d);
    await clock.advance(69);
    assert.deepEqual(expired, []);
    await clock.advance(1);
    assert.deepEqual(expired, ["a"]);
    await clock.advance(50);
    assert.deepEqual(expired, ["a", "c"]);
    await clock.advance(150);
    assert.deepEqual(expired, ["a", "c", "b"]);
    await clock.advance(50);
    assert.equal(clock.pending, 0, "no timer when nothing waits");
  });

  it("takes entries that are removed and added while it fires", async () => {
    const clock = new FakeClock();
    const deadlines = new Deadlines(clock, 10);
    const list = deadlines.list(10);
    const expired: string[] = [];
    const second = new Entry("second", expired);
    const third = new Entry("third", expired);
    const first = Object.assign(new Entry("first", expired), {
      expire: () => {
        expired.push("first");
        list.remove(second);
        list.add(third, clock.monotonicMs());
      },
    });
    list.add(first, 0);
    list.add(second, 0);
    await clock.advance(10);
    assert.deepEqual(expired, ["first"]);
    await clock.advance(10);
    assert.deepEqual(expired, ["first", "third"]);
  });
});
