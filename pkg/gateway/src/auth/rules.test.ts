import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { createIssuers, tokenProvider, TokenVerifier } from "@plinth/transport/jwt";
import { createMetrics } from "@plinth/kernel";
import { parseGatewayDocument } from "../config/document.ts";
import type { GatewayDocument } from "../config/schema.ts";
import { type SigningKey, signingKey, tokenOf } from "../testing/issuer.ts";
import { echo, httpInstance, type Scripted, startGateway, type TestGateway } from "../testing/kit.ts";

const es = signingKey("es");
type Provider = NonNullable<GatewayDocument["jwt"]>[string];
type Auth = NonNullable<GatewayDocument["routes"][number]["auth"]>;

/** What a verifier with one provider says to a token: the subject, or the fault or reason. */
async function verdictOf(rules: Partial<Provider>, token: (nowS: number) => string): Promise<string | undefined> {
  const clock = new FakeClock();
  await clock.advance(1_000_000_000);
  const provider = tokenProvider.parse({
    issuer: "test-issuer",
    audiences: ["test", "more"],
    jwks: { keys: [es.jwk] },
    ...rules,
  });
  const issuers = createIssuers(
    { test: provider },
    { clock, log: undefined, metrics: createMetrics(), onFetch: () => undefined },
  );
  for (const { keys } of issuers) keys.start();
  const verifier = new TokenVerifier({ issuers, clock, toKnown: ({ subject }) => subject });
  const verdict = await verifier.verify(`Bearer ${token(clock.now() / 1e3)}`);
  return "known" in verdict ? verdict.known : (verdict.fault ?? verdict.reason);
}

describe("the rules of a provider", () => {
  const times = (now: number, claims: object = {}): object => ({ iat: now, exp: now + 60, ...claims });
  const table: [what: string, rules: Partial<Provider>, claims: object, header: object, verdict: string][] = [
    ["one of the audiences", {}, { aud: ["x", "more"] }, {}, "alice"],
    ["one of all audiences", { audienceMatch: "all" }, { aud: ["test"] }, {}, "audience"],
    ["all audiences and another", { audienceMatch: "all" }, { aud: ["more", "x", "test"] }, {}, "alice"],
    ["no type where it is on the list", {}, {}, { typ: undefined }, "alice"],
    ["no type where access tokens only are taken", { types: ["at+jwt"] }, {}, { typ: undefined }, "type"],
    ["type JWT where access tokens only are taken", { types: ["at+jwt"] }, {}, { typ: "JWT" }, "type"],
    ["type AT+JWT in capitals", { types: ["at+jwt"] }, {}, { typ: "AT+JWT" }, "alice"],
    ["type none, spelled out", {}, {}, { typ: "none" }, "type"],
    ["an algorithm that is not on the list", { algorithms: ["RS256"] }, {}, {}, "algorithm"],
    ["a claim that is needed", { requiredClaims: ["tenant"] }, { tenant: "t" }, {}, "alice"],
    ["a claim that is needed and false", { requiredClaims: ["tenant"] }, { tenant: false }, {}, "alice"],
    ["a claim missing", { requiredClaims: ["tenant"] }, {}, {}, "claim_missing"],
    ["a claim of null", { requiredClaims: ["tenant"] }, { tenant: null }, {}, "claim_missing"],
    ["a claim of the prototype", { requiredClaims: ["toString"] }, {}, {}, "claim_missing"],
    ["a life as long as allowed", { maxLifetimeMs: 60_000 }, {}, {}, "alice"],
    ["a longer life", { maxLifetimeMs: 59_000 }, {}, {}, "lifetime"],
    ["a life that has no beginning", { maxLifetimeMs: 60_000 }, { iat: undefined }, {}, "lifetime"],
  ];
  for (const [what, rules, claims, header, expected] of table) {
    it(`say ${expected} to ${what}`, async () => {
      assert.equal(await verdictOf(rules, (now) => tokenOf(es, { ...times(now, claims) }, { ...header })), expected);
    });
  }

  it("say signature to a key that is too weak, though the issuer has published it", async () => {
    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 1_024 });
    const jwk = { ...publicKey.export({ format: "jwk" }), kid: "weak", alg: "RS256" };
    const weak: SigningKey = { kid: "weak", alg: "RS256", privateKey, publicKey, jwk };
    const token = (now: number): string => tokenOf(weak, { ...times(now) });
    assert.equal(await verdictOf({ jwks: { keys: [jwk] } }, token), "signature");
  });

  for (const [what, claims, expected] of [
    ["expired 29 s ago", { exp: -29 }, "alice"],
    ["expired 30 s ago", { exp: -30 }, "expired"],
    ["expired 61 s ago", { exp: -61 }, "expired"],
    ["valid in 30 s", { nbf: 30 }, "alice"],
    ["valid in 31 s", { nbf: 31 }, "not_yet_valid"],
    ["issued in 30 s", { iat: 30 }, "alice"],
    ["issued in 61 s", { iat: 61 }, "not_yet_valid"],
  ] as const) {
    it(`say ${expected} to a token ${what}, the skew being 30 s`, async () => {
      const token = (now: number): string => {
        const given: Record<string, number> = { exp: 600, ...claims };
        const moved = Object.fromEntries(Object.entries(given).map(([name, at]) => [name, now + at]));
        return tokenOf(es, { iat: undefined, ...moved });
      };
      assert.equal(await verdictOf({}, token), expected);
    });
  }
});

describe("what a route asks of a token", () => {
  const rule = (claims: Auth["claims"]): Auth => ({ claims });
  const routes: Record<string, Auth> = {
    "any-scope": { scopes: { any: ["notes:read", "notes:admin"] } },
    role: { roles: ["editor", "staff"] },
    "any-role": { roles: { any: ["editor", "admin"] } },
    equals: rule({ claim: "tenant", equals: "blue" }),
    "one-of": rule({ claim: "level", oneOf: [1, 2] }),
    contains: rule({ claim: ["org", "groups"], contains: "ops" }),
    nested: rule({
      any: [
        {
          all: [
            { claim: "tenant", equals: "blue" },
            { claim: "level", equals: 3 },
          ],
        },
        { claim: "admin", equals: true },
      ],
    }),
  };
  let instance: Scripted;
  let running: TestGateway;
  before(async () => {
    instance = await httpInstance(echo);
    running = await startGateway({
      document: {
        jwt: {
          test: {
            issuer: "test-issuer",
            audiences: ["test"],
            jwks: { keys: [es.jwk] },
            rolesClaim: ["access", "roles"],
          },
        },
        routes: Object.entries(routes).map(([name, auth]) => ({
          name,
          match: { path: `/${name}` },
          service: "s",
          auth,
        })),
      },
    });
    await running.add(instance);
  });
  after(async () => {
    await running[Symbol.asyncDispose]();
    await instance.close();
  });

  const ok = [200, undefined] as const;
  const role = [403, "role_missing"] as const;
  const claim = [403, "claim_refused"] as const;
  const table: [path: string, claims: object, expected: readonly [number, string | undefined]][] = [
    ["any-scope", { scope: "x notes:admin" }, ok],
    ["any-scope", { scope: "notes:write" }, [403, "scope_missing"]],
    ["role", { access: { roles: ["staff", "editor", "x"] } }, ok],
    ["role", { access: { roles: ["staff"] } }, role],
    ["role", { access: { roles: "editor" } }, role],
    ["role", { access: { roles: { editor: 1, staff: 1 } } }, role],
    ["role", { roles: ["staff", "editor"] }, role],
    ["role", { access: null }, role],
    ["role", {}, role],
    ["any-role", { access: { roles: "admin" } }, ok],
    ["any-role", { access: { roles: ["administrator"] } }, role],
    ["equals", { tenant: "blue" }, ok],
    ["equals", { tenant: ["blue"] }, claim],
    ["equals", { tenant: "Blue" }, claim],
    ["equals", {}, claim],
    ["one-of", { level: 2 }, ok],
    ["one-of", { level: "2" }, claim],
    ["one-of", { level: null }, claim],
    ["contains", { org: { groups: ["dev", "ops"] } }, ok],
    ["contains", { org: { groups: "ops" } }, claim],
    ["contains", { org: { groups: ["devops"] } }, claim],
    ["contains", { org: ["groups"] }, claim],
    ["nested", { tenant: "blue", level: 3 }, ok],
    ["nested", { tenant: "blue", level: 2 }, claim],
    ["nested", { admin: true }, ok],
    ["nested", { admin: "true" }, claim],
  ];
  for (const [path, claims, expected] of table) {
    it(`${path}: ${expected[1] ?? "lets through"} for ${JSON.stringify(claims)}`, async () => {
      const headers = { authorization: `Bearer ${tokenOf(es, { ...claims })}` };
      const reply = await fetch(`${running.url}/${path}`, { headers });
      const body: unknown = await reply.json();
      const reason: unknown = typeof body === "object" && body !== null ? Reflect.get(body, "reason") : undefined;
      assert.deepEqual([reply.status, reason], expected);
      const challenge = reply.headers.get("www-authenticate");
      const scopes = reason === "scope_missing" ? ', scope="notes:read notes:admin"' : "";
      assert.equal(challenge, reply.ok ? null : `Bearer realm="plinth", error="insufficient_scope"${scopes}`);
    });
  }

  const faulty: [Auth["claims"], RegExp][] = [
    [{ claim: "a" }, /routes\.0\.auth\.claims: expected one of `equals`/],
    [{ claim: "a", equals: 1, oneOf: [1] }, /auth\.claims: expected one of `equals`/],
    [{ equals: 1 }, /auth\.claims: expected one of `claim`, `any` and `all`/],
    [{ claim: "a", equals: 1, any: [{ claim: "b", equals: 1 }] }, /auth\.claims: expected one of `claim`/],
    [{ all: [{ any: [{ claim: "b" }] }] }, /auth\.claims\.all\.0\.any\.0: expected one of `equals`/],
    [{ any: [{ claim: "a", equals: 1 }], equals: 2 }, /auth\.claims: has no `claim` to look at/],
    [{ any: [] }, /auth\.claims\.any/],
    [
      { all: [{ all: [{ all: [{ all: [{ claim: "a", equals: 1 }] }] }] }] },
      /auth\.claims\.all\.0\.all\.0\.all\.0\.all: unknown key/,
    ],
  ];
  for (const [claims, expected] of faulty) {
    it(`is a fault of the document when the rule is ${JSON.stringify(claims)}`, () => {
      const jwt = { test: { issuer: "test-issuer", audiences: ["test"], jwks: { keys: [es.jwk] } } };
      const routes = [{ name: "a", match: { path: "/" }, service: "s", auth: { claims } }];
      assert.throws(() => parseGatewayDocument({ jwt, routes }), expected);
    });
  }
});
