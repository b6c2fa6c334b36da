import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { systemClock } from "@plinth/kernel";
import { Revocations } from "@plinth/transport/jwt";
import { parseGatewayDocument } from "../config/document.ts";
import type { GatewayDocument } from "../config/schema.ts";
import { signingKey, tokenOf } from "../testing/issuer.ts";
import { echo, exchangeRaw, httpInstance, startGateway } from "../testing/kit.ts";
import { type ExplainedRequest, explainRequest } from "./explain.ts";

const document: GatewayDocument = {
  jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks: "https://issuer.example/keys" } },
  rateLimits: { all: { limit: 5, windowMs: 1_000, by: "address" } },
  routes: [
    { name: "web", match: { path: "/**" }, service: "web", anonymous: true },
    {
      name: "notes",
      match: { path: "/notes/:id", methods: ["GET"] },
      service: "notes",
      auth: { scopes: ["notes:read"] },
    },
    { name: "notes-put", match: { path: "/notes/:id", methods: ["PUT"] }, service: "notes", auth: {} },
    { name: "any", match: { path: "/notes/**" }, service: "notes", auth: {}, rateLimit: "all", rateLimitCost: 2 },
    {
      name: "api",
      match: { path: "/api/**", host: "api.example" },
      service: "web",
      anonymous: true,
      rewrite: { prefix: "/v2" },
    },
    {
      name: "canary",
      match: { path: "/api/**", host: "api.example", headers: { "x-canary": "1" } },
      service: "canary",
      anonymous: true,
      headers: { request: { set: { "x-internal-token": "s3cret" }, remove: ["x-canary"] } },
    },
  ],
};
const parsed = parseGatewayDocument(document);
const key = signingKey("k");

function explain(
  method: string,
  url: string,
  headers: Record<string, string> = {},
  more: Partial<ExplainedRequest> = {},
) {
  return explainRequest(parsed, { method, url, headers: Object.entries(headers), nowMs: Date.now(), ...more });
}

describe("explainRequest", () => {
  it("says which route wins, and of the others whose path fits what was against them", () => {
    const { route, lost, otherPaths, outcome } = explain("GET", "http://api.example/api/x");
    assert.deepEqual([route?.name, route?.pattern, outcome], ["api", "/api/**", { kind: "forward" }]);
    assert.deepEqual(lost, [
      { route: "web", pattern: "/**", why: ["it names no host"] },
      { route: "canary", pattern: "/api/**", why: ["header x-canary is not as it asks"] },
    ]);
    assert.equal(otherPaths, 3);
    const canary = explain("GET", "http://api.example/api/x", { "X-Canary": "1" });
    assert.equal(canary.route?.name, "canary");
    assert.deepEqual(canary.lost.at(-1), {
      route: "api",
      pattern: "/api/**",
      why: ["it asks for less of headers and query"],
    });
    const { lost: others } = explain("GET", "/notes/1");
    assert.deepEqual(
      others.map(({ route: name, why }) => [name, ...why]),
      [
        ["web", "its path is less exact"],
        ["notes-put", "it takes PUT"],
        ["any", "its path is less exact"],
      ],
    );
    assert.deepEqual(explain("GET", "/api/x").lost[0], {
      route: "api",
      pattern: "/api/**",
      why: ["it is for host api.example"],
    });
  });

  it("gives the canonical path, the one for the service, and refuses what is none", () => {
    const { request, forwarded } = explain("GET", "http://api.example//api/./%61?q=%zz");
    assert.deepEqual([request.path, request.query, forwarded?.target], ["/api/a", "?q=%zz", "/v2/a?q=%zz"]);
    const { outcome, lost } = explain("GET", "/notes/..%2fadmin");
    assert.partialDeepStrictEqual(outcome, { kind: "refuse", status: 400, reason: "invalid_target" });
    assert.deepEqual(lost, []);
    assert.partialDeepStrictEqual(explain("GET", "/api../x", { host: "a, b" }).outcome, { reason: "invalid_host" });
    assert.partialDeepStrictEqual(explain("TRACE", "/notes/1").outcome, { status: 405, reason: "method_not_allowed" });
  });

  it("names the headers that go and come, and no secret", () => {
    const headers = {
      Connection: "x-a",
      "X-A": "1",
      "X-Forwarded-For": "6.6.6.6",
      "plinth-subject": "root",
      Accept: "*/*",
      "x-canary": "1",
    };
    const { forwarded } = explain("GET", "https://api.example/api", headers, { from: "192.0.2.7" });
    assert.deepEqual(
      forwarded?.removed.map(({ name, why }) => `${name}: ${why}`),
      [
        "connection: it is of the connection",
        "x-a: Connection names it, or a rule of the route removes it",
        "x-forwarded-for: the gateway's own takes its place",
        "plinth-subject: it is of the connection, or a claim that only the gateway may make",
        "x-canary: Connection names it, or a rule of the route removes it",
      ],
    );
    const added = Object.fromEntries(forwarded?.added.map(({ name, value }) => [name, value]) ?? []);
    assert.partialDeepStrictEqual(added, {
      "x-forwarded-for": "192.0.2.7",
      "x-forwarded-proto": "https",
      "x-internal-token": "***",
      "plinth-timeout-ms": "30000",
    });
    assert.doesNotMatch(JSON.stringify(forwarded), /s3cret/);
  });

  it("says what a token would meet, and that its signature was not looked at", () => {
    const bearer = (claims = {}) => ({ authorization: `Bearer ${tokenOf(key, claims)}` });
    const good = explain("GET", "/notes/1", bearer());
    assert.deepEqual(good.outcome, { kind: "forward" });
    assert.partialDeepStrictEqual(good.auth?.token, { signatureChecked: false, provider: "test", subject: "alice" });
    assert.ok(good.forwarded?.added.some(({ name, value }) => name === "plinth-subject" && value === "alice"));
    assert.ok(good.forwarded?.removed.some(({ name }) => name === "authorization"));
    assert.doesNotMatch(JSON.stringify(good), /eyJ/, "no token is repeated");
    const reasonOf = (headers: Record<string, string>) => {
      const { outcome, auth } = explain("GET", "/notes/1", headers);
      return [outcome.kind === "refuse" && outcome.reason, auth?.token?.fault];
    };
    assert.deepEqual(reasonOf({}), ["token_missing", undefined]);
    assert.deepEqual(reasonOf(bearer({ scope: "notes:write" })), ["scope_missing", undefined]);
    assert.deepEqual(reasonOf(bearer({ exp: 1 })), ["token_expired", "expired"]);
    assert.deepEqual(reasonOf(bearer({ aud: "other" })), ["token_invalid", "audience"]);
    assert.deepEqual(reasonOf(bearer({ iss: "other" })), ["token_invalid", "issuer"]);
    assert.deepEqual(reasonOf({ authorization: "Bearer x.y.z" }), ["token_invalid", "malformed"]);
    assert.equal(good.auth?.token?.revoked, undefined, "who is no gateway does not know");
    const revocations = new Revocations({ clock: systemClock });
    revocations.add({ jti: "t1" });
    const known = (jti: string) => explain("GET", "/notes/1", bearer({ jti }), { revocations });
    assert.partialDeepStrictEqual(known("t1").auth?.token, { revoked: true, fault: "revoked" });
    assert.partialDeepStrictEqual(known("t1").outcome, { status: 401, reason: "token_invalid" });
    assert.equal(known("t2").auth?.token?.revoked, false);
    assert.equal(explain("GET", "/").auth?.needs, undefined);
  });

  it("names limits, times and sizes, and refuses what breaks them by its head alone", () => {
    const { route } = explain("POST", "/notes/x/y");
    assert.partialDeepStrictEqual(route, {
      name: "any",
      service: "notes",
      timeoutMs: 30_000,
      maxBodyBytes: 10_485_760,
    });
    assert.deepEqual(route?.limits, [
      { name: "all", limit: 5, windowMs: 1_000, cost: 2, by: "address", shadow: false },
    ]);
    assert.partialDeepStrictEqual(explain("POST", "/", { "content-length": "99999999" }).outcome, {
      reason: "body_too_large",
    });
    const upgrade = { connection: "upgrade", upgrade: "websocket" };
    assert.partialDeepStrictEqual(explain("GET", "/", upgrade).outcome, { reason: "upgrade_unsupported" });
  });

  it("refuses addresses that the document or the route does not take", () => {
    const [first, ...rest] = document.routes;
    assert.ok(first);
    const lists = parseGatewayDocument({
      ...document,
      addresses: { deny: ["192.0.2.0/24"] },
      routes: [{ ...first, addresses: { allow: ["127.0.0.1", "192.0.2.7"] } }, ...rest],
    });
    const ask = (url: string, from?: string): unknown => {
      const { outcome, route } = explainRequest(lists, { method: "GET", url, from, nowMs: 0 });
      return [route?.name, outcome.kind === "refuse" && outcome.reason];
    };
    assert.deepEqual(ask("/"), ["web", false]);
    assert.deepEqual(ask("/", "198.51.100.1"), ["web", "address_refused"]);
    assert.deepEqual(ask("/", "192.0.2.7"), [undefined, "address_refused"]);
  });

  it("says nothing of a token that Auth alone knows", () => {
    const { routes } = document;
    const opaque = routes.map((route) => (route.auth ? { ...route, auth: { introspect: "instead" as const } } : route));
    const request = {
      method: "GET",
      url: "/notes/1",
      headers: [["authorization", "Bearer opaque"]] as const,
      nowMs: 0,
    };
    const { outcome, auth } = explainRequest(parseGatewayDocument({ ...document, routes: opaque }), request);
    assert.deepEqual(outcome, { kind: "forward" });
    assert.deepEqual(auth?.token, { signatureChecked: false });
  });

  it("says what the gateway itself then does", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ document });
    for (const service of ["web", "notes", "canary"]) await running.add(instance, service);
    const requests = ["GET /notes/1", "GET /a//b?x", "TRACE /a", "GET /..%2f", "PUT /notes/1", "GET /api/x"];
    for (const line of requests) {
      const [method = "", url = ""] = line.split(" ");
      const { outcome, forwarded } = explain(method, url, { connection: "close, x-a", "x-a": "1", "x-b": "2" });
      const reply = await exchangeRaw(
        running.gateway.port,
        `${line} HTTP/1.1\r\nHost: localhost\r\nConnection: close, x-a\r\nX-A: 1\r\nX-B: 2\r\n\r\n`,
      );
      const body = reply.slice(reply.indexOf("\r\n\r\n") + 4);
      if (outcome.kind !== "forward") {
        assert.equal(JSON.parse(body).reason, outcome.kind === "refuse" && outcome.reason, line);
        continue;
      }
      const got = JSON.parse(body);
      assert.equal(got.url, forwarded?.target, line);
      const expected = new Set(["x-b", ...(forwarded?.added.map(({ name }) => name) ?? []), "host", "connection"]);
      assert.deepEqual(
        Object.keys(got.headers).filter((name) => !expected.has(name)),
        [],
        line,
      );
    }
  });
});
