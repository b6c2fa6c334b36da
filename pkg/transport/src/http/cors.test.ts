import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { startHttp, type TestHttpOptions, testSettings } from "../testing/http.ts";
import type { HttpRoutes } from "./server.ts";
import { type CorsSettings, corsSettings } from "./cors.ts";

const routes: HttpRoutes = (app) => {
  app.get("/notes", async () => ({ ok: true }));
  app.get("/varied", async (_request, reply) => reply.header("vary", "accept-language").send("hello"));
  app.options("/notes", async () => "of the route's own");
  app.get("/broken", async () => {
    throw new Error("broken");
  });
};

function start(cors: Partial<CorsSettings>, more: TestHttpOptions = {}) {
  return startHttp({ routes, ...more, settings: { cors: { ...testSettings.cors, ...cors } } });
}

const ours = "https://app.example.com";
const from = (origin: string, more: Record<string, string> = {}) => ({ headers: { origin, ...more } });
const preflight = (origin: string, method = "PUT"): RequestInit => ({
  method: "OPTIONS",
  headers: { origin, "access-control-request-method": method, "access-control-request-headers": "authorization" },
});

describe("the cors layer", () => {
  it("is off by default: no page of another origin can read a reply", async () => {
    await using http = await startHttp({ routes });
    const reply = await http.fetch("/notes", from(ours));
    assert.equal(reply.status, 200);
    assert.equal(reply.headers.get("access-control-allow-origin"), null);
    assert.equal(reply.headers.get("vary"), null);
    assert.equal(await (await http.fetch("/notes", preflight(ours))).text(), "of the route's own");
  });

  it("lets pages of its origins read replies, and tells caches that others may not", async () => {
    await using http = await start({ origins: [ours] });
    const reply = await http.fetch("/notes", from(ours));
    assert.equal(reply.headers.get("access-control-allow-origin"), ours);
    assert.equal(reply.headers.get("access-control-allow-credentials"), null);
    assert.equal(reply.headers.get("access-control-expose-headers"), "x-request-id, retry-after, www-authenticate");
    assert.equal(reply.headers.get("vary"), "origin");
    const other = await http.fetch("/notes", from("https://evil.example"));
    assert.deepEqual([other.status, other.headers.get("access-control-allow-origin")], [200, null]);
    assert.equal(other.headers.get("vary"), "origin");
    assert.equal((await http.fetch("/notes")).headers.get("vary"), "origin");
  });

  it("answers a preflight before any route is looked for, and lets it be remembered", async () => {
    await using http = await start({ origins: [ours], credentials: true });
    for (const path of ["/notes", "/nowhere"]) {
      const reply = await http.fetch(path, preflight(ours));
      assert.equal(reply.status, 204, path);
      assert.equal(await reply.text(), "");
      assert.equal(reply.headers.get("access-control-allow-origin"), ours);
      assert.equal(reply.headers.get("access-control-allow-credentials"), "true");
      assert.equal(reply.headers.get("access-control-allow-methods"), "GET, HEAD, POST, PUT, PATCH, DELETE");
      assert.match(reply.headers.get("access-control-allow-headers") ?? "", /\bauthorization\b/);
      assert.equal(reply.headers.get("access-control-max-age"), "600");
      assert.equal(reply.headers.get("vary"), "origin");
      assert.ok(reply.headers.get("x-request-id"));
    }
  });

  it("answers a preflight without asking who calls: a browser says nothing of that in it", async () => {
    const authenticator = { authenticate: () => undefined };
    await using http = await start({ origins: [ours] }, { authenticator });
    assert.equal((await http.fetch("/notes", preflight(ours))).status, 204);
    const refused = await http.fetch("/notes", from(ours));
    assert.equal(refused.status, 401);
    assert.equal(refused.headers.get("access-control-allow-origin"), ours);
  });

  it("refuses the preflight of another origin, and leaves other OPTIONS to the routes", async () => {
    await using http = await start({ origins: [ours] });
    const reply = await http.fetch("/notes", preflight("https://evil.example"));
    assert.equal(reply.status, 403);
    assert.partialDeepStrictEqual(await reply.json(), { code: "ERR_ORIGIN_REFUSED" });
    assert.equal(reply.headers.get("access-control-allow-origin"), null);
    assert.equal(await (await http.fetch("/notes", { method: "OPTIONS", ...from(ours) })).text(), "of the route's own");
    assert.deepEqual(await http.reports(), []);
  });

  it("lets pages read errors: of a handler, of a missing route, and those written past fastify", async () => {
    await using http = await start({ origins: [ours] });
    for (const [path, status] of [
      ["/broken", 500],
      ["/nowhere", 404],
    ] as const) {
      const reply = await http.fetch(path, from(ours));
      assert.deepEqual([reply.status, reply.headers.get("access-control-allow-origin")], [status, ours]);
    }
  });

  it("keeps origin in Vary beside what a route says", async () => {
    await using http = await start({ origins: [ours] });
    assert.equal((await http.fetch("/varied", from(ours))).headers.get("vary"), "accept-language, origin");
  });

  it("has one answer for all with *, and no credentials", async () => {
    await using http = await start({ origins: ["*"] });
    const reply = await http.fetch("/notes", from("https://any.example"));
    assert.equal(reply.headers.get("access-control-allow-origin"), "*");
    assert.equal(reply.headers.get("vary"), null);
    assert.equal(reply.headers.get("access-control-allow-credentials"), null);
  });

  it("takes hosts below, of the same scheme and port, and nothing that only looks so", async () => {
    await using http = await start({ origins: ["https://*.example.com", "http://*.localhost:3000"] });
    const allowed = async (origin: string) =>
      (await http.fetch("/notes", from(origin))).headers.get("access-control-allow-origin") === origin;
    for (const origin of ["https://a.example.com", "https://a.b.example.com", "http://x.localhost:3000"])
      assert.ok(await allowed(origin), origin);
    for (const origin of [
      "https://example.com",
      "http://a.example.com",
      "https://a.example.com:8443",
      "https://aexample.com",
      "https://evil.com/.example.com",
      "https://evil.com#.example.com",
      "https://evil.com?.example.com",
      "https://user@a.example.com",
      "https://a.example.com.evil.com",
      "https://.example.com",
      "https://*.example.com",
      "null",
      "",
      `https://${"a.".repeat(4_000)}example.com`,
    ])
      assert.ok(!(await allowed(origin)), origin.slice(0, 60));
  });
});

describe("the cors settings", () => {
  const parse = (cors: unknown) => corsSettings.cors.safeParse(cors);
  const bad = [
    { origins: ["*"], credentials: true },
    { origins: ["*", ours] },
    { origins: ["https://app.example.com/"] },
    { origins: ["https://App.example.com"] },
    { origins: ["https://app.example.com:443"] },
    { origins: ["app.example.com"] },
    { origins: ["null"] },
    { origins: ["https://*.com"] },
    { origins: ["https://*"] },
    { origins: ["https://a.*.com"] },
    { origins: ["https://u:p@a.com"] },
    { origins: ["file:///"] },
    { headers: ["a b"] },
    { headers: ["x\r\ny"] },
    { methods: ["TRACE"] },
    { maxAgeSeconds: -1 },
    { orgins: [] },
  ];
  for (const cors of bad) {
    it(`refuse ${JSON.stringify(cors)}`, () => assert.equal(parse(cors).success, false));
  }
  it("take exact origins, hosts below one, and *", () => {
    for (const origins of [[ours], ["http://localhost:3000"], ["https://*.example.com"], ["*"], ["http://[::1]:3000"]])
      assert.ok(parse({ origins }).success, String(origins));
    assert.ok(parse(undefined).success);
  });
});
