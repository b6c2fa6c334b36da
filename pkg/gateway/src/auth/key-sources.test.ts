import assert from "node:assert/strict";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { FakeClock, until } from "@plinth/kernel/testing";
import { parseGatewayDocument } from "../config/document.ts";
import type { GatewayDocument } from "../config/schema.ts";
import { type SigningKey, signingKey, startIssuer, tokenOf } from "../testing/issuer.ts";
import { startGateway, type TestGateway } from "../testing/kit.ts";

const folder = mkdtempSync(join(tmpdir(), "plinth-jwks-"));
after(() => rmSync(folder, { recursive: true }));

const first = signingKey("first");
const second = signingKey("second");

type Jwks = NonNullable<GatewayDocument["jwt"]>[string]["jwks"];

const documentOf = (jwks: Jwks): GatewayDocument => ({
  jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks } },
  routes: [{ name: "all", match: { path: "/**" }, service: "none", auth: {} }],
});

/** Why a token is not enough; `no_instance` when it is, since the service has none. */
async function reasonFor(running: TestGateway, key: SigningKey, claims: object = {}): Promise<unknown> {
  const reply = await fetch(running.url, { headers: { authorization: `Bearer ${tokenOf(key, { ...claims })}` } });
  const body: unknown = await reply.json();
  return typeof body === "object" && body !== null ? Reflect.get(body, "reason") : undefined;
}

describe("the place of a key set", () => {
  it("may be the document: its keys are there at once and nothing is fetched", async () => {
    await using running = await startGateway({ document: documentOf({ keys: [first.jwk] }) });
    assert.deepEqual(running.gateway.providersWithoutKeys(), []);
    assert.equal(await reasonFor(running, first), "no_instance");
    assert.equal(await reasonFor(running, second), "token_invalid");
    const metrics = await running.metrics();
    assert.match(metrics, /^gateway_jwks_unknown_keys_total\{provider="test",outcome="missing"\} 1$/m);
    assert.match(metrics, /^gateway_jwks_from_snapshot\{provider="test"\} 0$/m);
  });

  it("may be a file, which is read anew when another takes its place, and not when that one is a fault", async () => {
    const file = join(folder, "keys.json");
    const publish = (text: string): void => {
      writeFileSync(`${file}.next`, text);
      renameSync(`${file}.next`, file);
    };
    publish(JSON.stringify({ keys: [first.jwk] }));
    const clock = new FakeClock();
    await using running = await startGateway({ document: documentOf({ file }), clock });
    const ask = (key: SigningKey): Promise<unknown> => reasonFor(running, key, { iat: undefined, exp: 4_000_000_000 });
    assert.equal(await ask(first), "no_instance");
    publish(JSON.stringify({ keys: [second.privateKey.export({ format: "jwk" })] }));
    const [warning] = await until(async () => {
      await clock.advance(1_000); // the watch looks twice, and each time at the disk
      const found = running.log.withMessage("key set cannot be fetched, trying again");
      return found.length > 0 ? found : undefined;
    });
    assert.match(String(warning?.failure), /private or symmetric key/);
    assert.equal(await ask(first), "no_instance", "the good set stays");
    publish(JSON.stringify({ keys: [second.jwk] }));
    await until(async () => {
      await clock.advance(1_000);
      return (await ask(second)) === "no_instance";
    });
    assert.equal(await ask(first), "token_invalid");
  });

  it("that is a file which is not there leaves open routes alone and is told", async () => {
    await using running = await startGateway({ document: documentOf({ file: join(folder, "none.json") }) });
    assert.equal(await reasonFor(running, first), "keys_unavailable");
    assert.deepEqual(running.gateway.providersWithoutKeys(), ["test"]);
  });

  it("goes on with the keys at hand when only the rules of its provider change, though the issuer is down", async () => {
    await using issuer = await startIssuer(first);
    await using running = await startGateway({ document: documentOf(issuer.url) });
    assert.equal(await reasonFor(running, first), "no_instance");
    issuer.answer = { status: 500, body: "" };
    const { jwt, routes } = documentOf(issuer.url);
    const strict = {
      test: { audiences: ["test"], issuer: "test-issuer", jwks: issuer.url, ...jwt?.test, maxLifetimeMs: 1_000 },
    };
    await running.gateway.reload({ jwt: strict, routes });
    assert.equal(await reasonFor(running, first), "token_invalid", "by the new rules");
    await running.gateway.reload(documentOf(issuer.url));
    assert.equal(await reasonFor(running, first), "no_instance");
    assert.equal(issuer.fetches, 1);
    await running.gateway.reload({ routes: [] });
    await running.gateway.reload(documentOf(issuer.url));
    assert.equal(await reasonFor(running, first), "keys_unavailable", "let go of with the provider");
  });

  it("may leave a snapshot, by which the next gateway starts while the issuer is down", async () => {
    const jwksSnapshots = join(folder, "snapshots");
    await using issuer = await startIssuer(first);
    const document = documentOf(issuer.url);
    {
      await using running = await startGateway({ document, settings: { jwksSnapshots } });
      assert.equal(await reasonFor(running, first), "no_instance");
    }
    issuer.answer = { status: 500, body: "" };
    await using cold = await startGateway({ document, settings: { jwksSnapshots } });
    assert.equal(await reasonFor(cold, first), "no_instance");
    assert.match(await cold.metrics(), /^gateway_jwks_from_snapshot\{provider="test"\} 1$/m);
    const text = "keys are those of the snapshot until the issuer can be reached";
    assert.equal(cold.log.withMessage(text).length, 1);
  });

  const faulty: [string, Jwks, RegExp][] = [
    ["a private key", { keys: [{ ...first.privateKey.export({ format: "jwk" }) }] }, /jwks: it has a private or symm/],
    ["a symmetric key", { keys: [{ kty: "oct", k: "c2VjcmV0" }] }, /jwks: it has a private or symm/],
    ["nothing that is a key", { keys: [{}] }, /jwks: it has no public key for signatures/],
    ["a file and keys", { file: "x", keys: [first.jwk] }, /jwks: expected a URL, or one of `file` and `keys`/],
    ["neither", {}, /jwks: expected a URL, or one of `file` and `keys`/],
    ["the same id twice", { keys: [first.jwk, first.jwk] }, /two keys have the id "first"/],
    ["a URL that others can change", "http://issuer.example/jwks", /expected https/],
  ];
  for (const [what, jwks, expected] of faulty) {
    it(`that holds ${what} is a fault of the document, which does not quote the key`, () => {
      assert.throws(
        () => parseGatewayDocument(documentOf(jwks)),
        (error: Error) => expected.test(error.message) && !/c2VjcmV0|"d"/.test(error.message),
      );
    });
  }
});
