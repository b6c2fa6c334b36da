import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import type { GatewayDocument } from "../config/schema.ts";
import { signingKey, startIssuer, type TestIssuer, tokenOf } from "../testing/issuer.ts";
import {
  echo,
  httpInstance,
  openRoute,
  type Received,
  type Scripted,
  startGateway,
  type TestGateway,
} from "../testing/kit.ts";
import { tokenTables } from "../testing/token-tables.ts";

function documentFor(jwks: string, more: Partial<NonNullable<GatewayDocument["jwt"]>[string]> = {}): GatewayDocument {
  const { anonymous: _open, ...route } = openRoute();
  return {
    jwt: {
      test: {
        issuer: "test-issuer",
        audiences: ["other", "test"],
        algorithms: ["ES256", "RS256", "EdDSA"],
        jwks,
        ...more,
      },
    },
    routes: [
      openRoute({ name: "open", match: { path: "/open" } }),
      { ...route, name: "any", match: { path: "/any" }, auth: {} },
      { ...route, name: "read", match: { path: "/read" }, auth: { scopes: ["notes:read"] } },
      { ...route, name: "both", match: { path: "/both" }, auth: { scopes: ["notes:read", "notes:admin"] } },
      { ...route, name: "passing", match: { path: "/passing" }, auth: { forwardToken: true } },
    ],
  };
}

interface Told {
  readonly status: number;
  readonly reason: string | undefined;
  readonly challenge: string | null;
  readonly received: Received | undefined;
}

async function ask(running: TestGateway, path: string, headers: Record<string, string> = {}): Promise<Told> {
  const reply = await fetch(`${running.url}${path}`, { headers });
  const body = (await reply.json()) as Record<string, unknown>;
  return {
    status: reply.status,
    reason: body.reason as string | undefined,
    challenge: reply.headers.get("www-authenticate"),
    received: reply.status === 200 ? (body as unknown as Received) : undefined,
  };
}

const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

describe("a route that needs a token", () => {
  const es = signingKey("es");
  const rsa = signingKey("rsa", "RS256");
  const ed = signingKey("ed", "EdDSA");
  const stranger = signingKey("es");
  let issuer: TestIssuer;
  let instance: Scripted;
  let running: TestGateway;
  before(async () => {
    issuer = await startIssuer(es, rsa, ed);
    instance = await httpInstance(echo);
    running = await startGateway({ document: documentFor(issuer.url) });
    await running.add(instance);
    assert.equal((await ask(running, "/any", bearer(tokenOf(es)))).status, 200); // the keys are there
  });
  after(async () => {
    await running[Symbol.asyncDispose]();
    await instance.close();
    await issuer.close();
  });

  it("passes on who is calling, and not the token", async () => {
    const { received } = await ask(running, "/read", {
      ...bearer(tokenOf(es)),
      "plinth-subject": "root",
      "plinth-scopes": "all",
      "x-plinth-subject": "root",
    });
    assert.deepEqual(received?.headers["plinth-subject"], ["alice"]);
    assert.deepEqual(received?.headers["plinth-scopes"], ["notes:read notes:write"]);
    assert.deepEqual(received?.headers["plinth-issuer"], ["test-issuer"]);
    assert.equal(received?.headers["x-plinth-subject"], undefined);
    assert.equal(received?.headers.authorization, undefined);
  });

  it("passes on the token where the route says so", async () => {
    const token = tokenOf(es);
    const { received } = await ask(running, "/passing", bearer(token));
    assert.deepEqual(received?.headers.authorization, [`Bearer ${token}`]);
  });

  it("escapes what a header cannot hold, so that the value can be had back", async () => {
    for (const sub of ["alice@example.org|x", "Zo\u00eb", "a b", "100%", "a\r\nX-Evil: 1", "\u{1f600}"]) {
      const { received } = await ask(running, "/any", bearer(tokenOf(es, { sub })));
      assert.equal(decodeURIComponent(String(received?.headers["plinth-subject"])), sub);
      assert.equal(received?.headers["x-evil"], undefined);
    }
    assert.deepEqual(
      (await ask(running, "/any", bearer(tokenOf(es, { sub: "alice@example.org" })))).received?.headers[
        "plinth-subject"
      ],
      ["alice@example.org"],
    );
  });

  it("needs nothing on an open route, and sets no identity there, whatever token comes", async () => {
    const { status, received } = await ask(running, "/open", bearer(tokenOf(es)));
    assert.equal(status, 200);
    assert.equal(received?.headers["plinth-subject"], undefined);
    assert.equal((await ask(running, "/open", bearer("nonsense"))).status, 200);
  });

  it("is 401 with a bare challenge when there is no bearer token", async () => {
    for (const headers of [
      {},
      { authorization: "Basic eA==" },
      { authorization: "" },
      { authorization: tokenOf(es) },
    ]) {
      const { status, reason, challenge } = await ask(running, "/any", headers);
      assert.deepEqual([status, reason, challenge], [401, "token_missing", 'Bearer realm="plinth"']);
    }
  });

  it("is 403 naming the scopes when one is missing", async () => {
    const { status, reason, challenge } = await ask(running, "/both", bearer(tokenOf(es)));
    assert.deepEqual([status, reason], [403, "scope_missing"]);
    assert.equal(challenge, 'Bearer realm="plinth", error="insufficient_scope", scope="notes:read notes:admin"');
    assert.equal(
      (await ask(running, "/read", bearer(tokenOf(es, { scope: "notes:readall xnotes:read" })))).status,
      403,
    );
    assert.equal((await ask(running, "/read", bearer(tokenOf(es, { scope: undefined })))).status, 403);
    assert.equal(
      (await ask(running, "/both", bearer(tokenOf(es, { scope: undefined, scp: ["notes:admin", "notes:read"] }))))
        .status,
      200,
    );
  });

  const now = (): number => Math.floor(Date.now() / 1e3);
  const { valid, invalid } = tokenTables({ es, rsa, ed, stranger });
  for (const [name, make] of Object.entries(valid))
    it(`takes a token with ${name}`, async () =>
      assert.equal((await ask(running, "/any", bearer(make()))).status, 200));

  for (const [name, [fault, make]] of Object.entries(invalid)) {
    it(`is 401 for a token with ${name}`, async () => {
      const count = running.log.withMessage("request").length + 1;
      const { status, reason, challenge } = await ask(running, "/any", bearer(make()));
      assert.deepEqual(
        [status, reason, challenge],
        [401, "token_invalid", 'Bearer realm="plinth", error="invalid_token"'],
      );
      assert.equal((await running.lines(count)).at(-1)?.auth, fault);
    });
  }

  it("is 401 token_expired for a token that expired longer ago than the skew", async () => {
    const { status, reason, challenge } = await ask(running, "/any", bearer(tokenOf(es, { exp: now() - 35 })));
    assert.deepEqual([status, reason], [401, "token_expired"]);
    assert.match(String(challenge), /error="invalid_token", error_description="the token has expired"/);
  });

  it("does not ask the issuer for each of many unknown keys", async () => {
    const fetches = issuer.fetches;
    await Promise.all(
      Array.from({ length: 200 }, async () => {
        const kid = randomBytes(8).toString("hex");
        assert.equal((await ask(running, "/any", bearer(tokenOf(es, {}, { kid })))).reason, "token_invalid");
      }),
    );
    assert.ok(issuer.fetches - fetches <= 1, `${issuer.fetches - fetches} fetches`);
  });

  it("tells nothing of tokens in the log", async () => {
    const token = tokenOf(es, { secret: "s3cret" });
    await ask(running, "/any", bearer(token));
    await ask(running, "/any", bearer(`${token}x`));
    assert.doesNotMatch(JSON.stringify(running.log.lines), new RegExp(`${token.split(".")[2]}|s3cret`));
  });
});

describe("the keys of an issuer", () => {
  const first = signingKey("first");
  const second = signingKey("second");

  it("that cannot be had at a cold start: 503 keys_unavailable with Retry-After, open routes go on, and it heals by itself", async () => {
    await using issuer = await startIssuer(first);
    issuer.answer = { status: 500, body: "no" };
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ document: documentFor(issuer.url) });
    await running.add(instance);
    const { status, reason, challenge } = await ask(running, "/any", bearer(tokenOf(first)));
    assert.deepEqual([status, reason, challenge], [503, "keys_unavailable", null]);
    assert.equal((await ask(running, "/open")).status, 200);
    assert.equal(
      (await ask(running, "/any")).reason,
      "token_missing",
      "a request without a token needs no keys to be refused",
    );
    for (let i = 0; i < 50; i++) await ask(running, "/any", bearer(tokenOf(first)));
    assert.ok(issuer.fetches <= 2, `${issuer.fetches} fetches`);
    issuer.answer = { keys: [first] };
    await until(() => (running.gateway.providersWithoutKeys().length === 0 ? true : undefined));
    assert.equal((await ask(running, "/any", bearer(tokenOf(first)))).status, 200);
    assert.equal(running.log.withMessage("key set cannot be fetched, trying again").length, 1);
    assert.equal(running.log.withMessage("key set can be fetched again").length, 1);
  });

  it("are at hand when the gateway listens; an issuer that hangs holds that up for a moment only", async () => {
    await using issuer = await startIssuer(first);
    await using running = await startGateway({ document: documentFor(issuer.url) });
    assert.deepEqual(running.gateway.providersWithoutKeys(), []);
    issuer.answer = "hang";
    await using late = await startGateway({ document: documentFor(issuer.url) });
    assert.equal(late.gateway.providersWithoutKeys().length, 1);
    const warning = "not all services, keys of issuers and shared revocations are known yet; going on all the same";
    assert.equal(late.log.withMessage(warning).length, 1);
  });

  it("that are too large, elsewhere, not there, or garbage: 503 in all cases", async () => {
    const big = JSON.stringify({ keys: [first.jwk], pad: "x".repeat(600_000) });
    for (const answer of [
      { status: 200, body: big },
      { status: 200, body: "<html>" },
      { status: 404, body: "" },
      { status: 204, body: "" },
      { status: 302, body: "", headers: { location: "http://127.0.0.1:1/jwks" } },
    ]) {
      await using issuer = await startIssuer();
      issuer.answer = answer;
      await using running = await startGateway({ document: documentFor(issuer.url) });
      assert.equal(
        (await ask(running, "/any", bearer(tokenOf(first)))).reason,
        "keys_unavailable",
        JSON.stringify(answer).slice(0, 60),
      );
    }
  });

  it("that rotates are known at the next token, and the old ones are refused", async () => {
    await using issuer = await startIssuer(first);
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ document: documentFor(issuer.url) });
    await running.add(instance);
    const old = tokenOf(first);
    assert.equal((await ask(running, "/any", bearer(old))).status, 200);
    assert.equal((await ask(running, "/any", bearer(old))).status, 200);
    issuer.answer = { keys: [second] };
    assert.equal((await ask(running, "/any", bearer(tokenOf(second)))).status, 200);
    assert.equal(
      (await ask(running, "/any", bearer(old))).reason,
      "token_invalid",
      "also a token that was verified before",
    );
  });

  it("go on being used while the issuer is down", async () => {
    await using issuer = await startIssuer(first);
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ document: documentFor(issuer.url) });
    await running.add(instance);
    assert.equal((await ask(running, "/any", bearer(tokenOf(first)))).status, 200);
    await issuer.close();
    for (let i = 0; i < 10; i++)
      assert.equal((await ask(running, "/any", bearer(tokenOf(first, { sub: `user-${i}` })))).status, 200);
    assert.equal((await ask(running, "/any", bearer(tokenOf(second)))).reason, "token_invalid");
  });

  it("come from the URL that the settings give, and a name or URL that is not taken is a fault", async () => {
    await using issuer = await startIssuer(first);
    await using instance = await httpInstance(echo);
    const document = documentFor("https://issuer.invalid/jwks");
    await using running = await startGateway({ document, settings: { jwksUrls: { test: issuer.url } } });
    await running.add(instance);
    assert.equal((await ask(running, "/any", bearer(tokenOf(first)))).status, 200);
    await assert.rejects(
      startGateway({ document, settings: { jwksUrls: { tset: issuer.url, test: "http://10.0.0.1/" } } }),
      {
        code: "ERR_GATEWAY_CONFIG",
        message: /jwksUrls\.tset: the document has no provider.*jwksUrls\.test: expected https/s,
      },
    );
  });
});
