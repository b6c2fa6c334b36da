import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { parseGatewayDocument } from "../config/document.ts";
import type { GatewayDocument } from "../config/schema.ts";
import { signingKey, tokenOf } from "../testing/issuer.ts";
import { echo, httpInstance, openRoute, type Scripted, startGateway, type TestGateway } from "../testing/kit.ts";

const es = signingKey("es");
const headers = { "plinth-tenant": "tenant", "plinth-groups": ["org", "groups"], "plinth-level": "level" };

const documentOf = (named: Record<string, string | string[]>): GatewayDocument => ({
  jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks: { keys: [es.jwk] }, headers: named } },
  routes: [
    openRoute({ name: "open", match: { path: "/open" } }),
    { name: "closed", match: { path: "/closed" }, service: "s", auth: {} },
  ],
});

describe("claims as headers", () => {
  let instance: Scripted;
  let running: TestGateway;
  before(async () => {
    instance = await httpInstance(echo);
    running = await startGateway({ document: documentOf(headers) });
    await running.add(instance);
  });
  after(async () => {
    await running[Symbol.asyncDispose]();
    await instance.close();
  });

  /** Status or reason, and what the service got of the three headers. */
  async function ask(path: string, claims: object, more: Record<string, string> = {}) {
    const token = tokenOf(es, { ...claims });
    const reply = await fetch(`${running.url}${path}`, { headers: { authorization: `Bearer ${token}`, ...more } });
    const body: unknown = await reply.json();
    const given: unknown = Reflect.get(Object(body), "headers");
    const got = Object.keys(headers).map((name) => Reflect.get(Object(given), name) as unknown);
    return { status: reply.status, reason: Reflect.get(Object(body), "reason") as unknown, got };
  }

  it("reach the service, texts so that they can be had back, lists with spaces between", async () => {
    const claims = { tenant: "Z\u00fcrich 1%", org: { groups: ["a b", "c,d", 7] }, level: 0 };
    const { got } = await ask("/closed", claims);
    assert.deepEqual(got, [["Z%C3%BCrich%201%25"], ["a%20b c,d 7"], ["0"]]);
    assert.equal(decodeURIComponent(String(got[0])), claims.tenant);
  });

  it("are left out where the token has none, and a client's copies are gone on every route", async () => {
    const own = { "plinth-tenant": "evil", "Plinth-Groups": "evil", plinth_level: "9", "x-plinth-tenant": "evil" };
    assert.deepEqual((await ask("/closed", { tenant: null }, own)).got, [undefined, undefined, undefined]);
    assert.deepEqual((await ask("/open", { tenant: "t" }, own)).got, [undefined, undefined, undefined]);
    assert.deepEqual((await ask("/closed", { tenant: "t" }, own)).got, [["t"], undefined, undefined]);
  });

  for (const [what, claims] of [
    ["an object", { tenant: { id: 1 } }],
    ["a list within a list", { tenant: [["a"]] }],
    ["a list with null", { tenant: ["a", null] }],
    ["a line break", { tenant: "a\r\nset-cookie: x" }],
    ["NUL", { tenant: "a\0" }],
    ["a control character of Latin-1", { tenant: "a\u0085" }],
    ["more than a header should", { tenant: "x".repeat(1_025) }],
  ] as const) {
    it(`fail the request with a reason when a value is ${what}, first and from memory`, async () => {
      const count = running.log.withMessage("request").length + 2;
      for (let time = 0; time < 2; time++) {
        const { status, reason } = await ask("/closed", claims);
        assert.deepEqual([status, reason], [500, "claim_unusable"]);
      }
      assert.equal((await running.lines(count)).at(-1)?.auth, "plinth-tenant");
      assert.equal((await ask("/open", claims)).status, 200);
    });
  }

  it("may have names of the identity namespace only", () => {
    for (const name of ["x-tenant", "authorization", "plinth-", "plinth_tenant", "Plinth-Tenant", "plinth-a\r\nb"])
      assert.throws(() => parseGatewayDocument(documentOf({ [name]: "tenant" })), /expected plinth-/, name);
    for (const name of ["plinth-subject", "plinth-scopes", "plinth-issuer", "plinth-instance", "plinth-timeout-ms"])
      assert.throws(() => parseGatewayDocument(documentOf({ [name]: "tenant" })), /writes that header itself/, name);
  });
});
