import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { signingKey, startIssuer, tokenOf } from "../testing/issuer.ts";
import { echo, httpInstance, openRoute, startGateway, type TestGateway } from "../testing/kit.ts";
import type { GatewayDocument } from "../config/schema.ts";

type Limit = NonNullable<GatewayDocument["rateLimits"]>[string];

const windowMs = 3_600_000;

/** A gateway whose one route has limits of these names, in this order. */
async function start(rateLimits: Record<string, Limit>, more: Partial<GatewayDocument> = {}): Promise<TestGateway> {
  const route = openRoute({ rateLimit: Object.keys(rateLimits) });
  const running = await startGateway({ document: { rateLimits, routes: [route], ...more } });
  const instance = await httpInstance(echo);
  await running.add(instance);
  return Object.assign(running, {
    [Symbol.asyncDispose]: async () => {
      await running.gateway.close();
      await running.registry.close();
      await instance.close();
    },
  });
}

async function statuses(url: string, requests: readonly RequestInit[]): Promise<number[]> {
  const found: number[] = [];
  for (const request of requests) found.push((await fetch(url, request)).status);
  return found;
}

const from = (headers: Record<string, string>): RequestInit => ({ headers });

describe("several limits of a route", () => {
  it("must all allow a request, show the strictest, and lose nothing to what one of them refuses", async () => {
    await using running = await start({
      wide: { limit: 5, windowMs, by: "address" },
      narrow: { limit: 2, windowMs: 60_000, by: { header: "x-client" } },
    });
    const a = from({ "x-client": "a" });
    const first = await fetch(running.url, a);
    assert.equal(first.headers.get("ratelimit-policy"), '"wide";q=5;w=3600, "narrow";q=2;w=60');
    assert.equal(first.headers.get("ratelimit"), '"narrow";r=1;t=60');
    assert.deepEqual(await statuses(running.url, [a, a, a, a, a]), [200, 429, 429, 429, 429]);
    const refused = await fetch(running.url, a);
    assert.match(String(refused.headers.get("ratelimit")), /^"narrow";r=0;t=\d+$/);
    assert.match(String(refused.headers.get("retry-after")), /^(?:60|5\d)$/);
    const b = from({ "x-client": "b" });
    const next = await fetch(running.url, b);
    assert.match(String(next.headers.get("ratelimit")), /^"narrow";r=1;/);
    const c = from({ "x-client": "c" });
    assert.deepEqual(await statuses(running.url, [b, c, c]), [200, 200, 429], "of the wide one five in all are gone");
    assert.match(String((await fetch(running.url, c)).headers.get("ratelimit")), /^"wide";r=0;/);
    const lines = await running.lines(12);
    assert.deepEqual(
      lines.flatMap(({ limit }) => (limit === undefined ? [] : [limit])),
      ["narrow", "narrow", "narrow", "narrow", "narrow", "wide", "wide"],
    );
    assert.match(await running.metrics(), /gateway_rate_limit_events_total\{policy="narrow",event="refused"\} 5/);
  });

  it("let a burst of a limit through no faster than it says", async () => {
    await using running = await start({
      steady: { limit: 100, windowMs, burst: { limit: 3, windowMs: 60_000 }, by: "address" },
    });
    const reply = await fetch(running.url);
    assert.equal(reply.headers.get("ratelimit-policy"), '"steady";q=100;w=3600, "steady-burst";q=3;w=60');
    assert.equal(reply.headers.get("ratelimit"), '"steady-burst";r=2;t=60');
    assert.deepEqual(await statuses(running.url, [{}, {}, {}]), [200, 200, 429]);
  });

  it("count what a request costs on its route, all of it or nothing", async () => {
    await using running = await start(
      { all: { limit: 10, windowMs, by: "address" } },
      {
        routes: [
          openRoute({ name: "cheap", match: { path: "/cheap" }, rateLimit: "all" }),
          openRoute({ name: "dear", match: { path: "/dear" }, rateLimit: ["all"], rateLimitCost: 4 }),
        ],
      },
    );
    const ask = async (path: string): Promise<number> => (await fetch(running.url + path)).status;
    assert.deepEqual([await ask("/dear"), await ask("/dear"), await ask("/dear")], [200, 200, 429]);
    assert.deepEqual([await ask("/cheap"), await ask("/cheap"), await ask("/cheap")], [200, 200, 429]);
  });

  it("only count and tell where they are shadows", async () => {
    await using running = await start({
      trial: { limit: 1, windowMs, by: "address", shadow: true },
      real: { limit: 3, windowMs, by: "address" },
    });
    const reply = await fetch(running.url);
    assert.equal(reply.headers.get("ratelimit-policy"), '"real";q=3;w=3600');
    assert.deepEqual(await statuses(running.url, [{}, {}, {}]), [200, 200, 429]);
    const lines = await running.lines(4);
    assert.deepEqual(
      lines.map(({ shadow_limit }) => shadow_limit),
      [undefined, "trial", "trial", "trial"],
    );
    assert.match(await running.metrics(), /gateway_rate_limit_events_total\{policy="trial",event="shadow"\} 3/);
  });

  it("say nothing of themselves where all are shadows", async () => {
    await using running = await start({ trial: { limit: 1, windowMs, by: "address", shadow: true } });
    await fetch(running.url);
    const reply = await fetch(running.url);
    assert.deepEqual([reply.status, reply.headers.get("ratelimit-policy")], [200, null]);
  });
});

describe("whom a limit counts", () => {
  it("is told by an API key, of which nothing is kept but a hash, and by the address without one", async () => {
    await using running = await start({ keys: { limit: 1, windowMs, by: { apiKey: "X-API-Key" } } });
    const long = "k".repeat(4_000);
    assert.deepEqual(
      await statuses(running.url, [
        from({ "x-api-key": "secret-one" }),
        from({ "X-Api-Key": "secret-one" }),
        from({ "x-api-key": "secret-two" }),
        from({ "x-api-key": long }),
        from({ "x-api-key": long }),
        {},
        from({ "x-api-key": "" }),
      ]),
      [200, 429, 200, 200, 429, 200, 429],
    );
    await running.lines(7);
    assert.doesNotMatch(JSON.stringify(running.log.lines) + (await running.metrics()), /secret-|kkkk/);
  });

  it("is a tenant by a claim of the token, of each issuer its own, and parts combined", async () => {
    const key = signingKey("k");
    await using issuer = await startIssuer(key);
    const limit: Limit = { limit: 1, windowMs, by: [{ claim: "tenant" }, "route"] };
    const shared = { service: "s", auth: {}, rateLimit: "tenants" };
    await using running = await start(
      { tenants: limit },
      {
        jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks: issuer.url } },
        routes: [
          { name: "one", match: { path: "/one" }, ...shared },
          { name: "two", match: { path: "/two" }, ...shared },
        ],
      },
    );
    const ask = async (path: string, claims: Record<string, unknown>): Promise<number> => {
      const headers = { authorization: `Bearer ${tokenOf(key, claims)}` };
      return (await fetch(running.url + path, { headers })).status;
    };
    assert.equal(await ask("/one", { sub: "alice", tenant: "acme" }), 200);
    assert.equal(await ask("/one", { sub: "bob", tenant: "acme" }), 429, "the same tenant");
    assert.equal(await ask("/two", { sub: "bob", tenant: "acme" }), 200, "another route");
    assert.equal(await ask("/one", { sub: "bob", tenant: 7 }), 200);
    assert.equal(await ask("/one", { sub: "bob", tenant: ["acme"] }), 200, "no plain value: by the address");
    assert.equal(await ask("/one", { sub: "carol" }), 429);
  });

  it("cannot be made to be somebody else by what a header says", async () => {
    await using running = await start({ clients: { limit: 1, windowMs, by: { header: "x-client" } } });
    const spoofed = await statuses(running.url, [from({ "x-client": "127.0.0.1" }), {}]);
    assert.deepEqual(spoofed, [200, 200], "the address counts apart from what says that it is one");
  });
});
