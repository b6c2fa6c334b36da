import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { KeyKeeper, Revocations, TokenVerifier } from "@plinth/transport/jwt";
import { type SigningKey, signingKey, tokenOf } from "../testing/issuer.ts";

const first = signingKey("first");
const second = signingKey("second");

/** A verifier that counts how often a token was verified rather than remembered. */
async function verifierOf(maxCachedTokens = 10) {
  const clock = new FakeClock();
  await clock.advance(1_000_000);
  const state = { keys: [first], verified: 0 };
  const revocations = new Revocations({ clock });
  const keys = new KeyKeeper({
    fetchText: async () => JSON.stringify({ keys: state.keys.map(({ jwk }) => jwk) }),
    clock,
    refreshMs: 60_000,
    keepMs: 0,
  });
  const rules = { issuer: "test-issuer", audiences: ["test"], algorithms: ["ES256"], clockSkewMs: 30_000 };
  const verifier = new TokenVerifier({
    issuers: [{ name: "test", rules, keys }],
    clock,
    maxCachedTokens,
    revocations,
    toKnown: ({ subject }) => (state.verified++, subject),
  });
  keys.start();
  await keys.available();
  const make = (key: SigningKey, lifeS: number, sub = "alice"): string =>
    tokenOf(key, { iat: undefined, sub, exp: clock.now() / 1e3 + lifeS });
  const ask = async (token: string): Promise<string | undefined> => {
    const verdict = await verifier.verifyToken(token);
    return "known" in verdict ? verdict.known : (verdict.fault ?? verdict.reason);
  };
  return { clock, state, revocations, keys, make, ask, verifier };
}

describe("a token that was verified", () => {
  it("is remembered and told of at once until it expires, skew included, and not a moment longer", async () => {
    const { clock, state, make, ask, verifier } = await verifierOf();
    const token = make(first, 10);
    await ask(token);
    assert.ok(!(verifier.verifyToken(token) instanceof Promise));
    await clock.advance(39_999);
    assert.deepEqual([await ask(token), state.verified], ["alice", 1]);
    await clock.advance(1);
    assert.equal(await ask(token), "expired");
    assert.equal(await ask(token), "expired", "also when it is forgotten");
  });

  it("is verified anew when the keys change, and refused when its key is gone", async () => {
    const { clock, state, make, ask } = await verifierOf();
    const token = make(first, 1_000);
    await ask(token);
    state.keys = [first, second];
    await clock.advance(60_000);
    assert.deepEqual([await ask(token), state.verified], ["alice", 2]);
    state.keys = [second];
    await clock.advance(60_000);
    assert.equal(await ask(token), "key_unknown");
  });

  it("is refused when the keys are too old to trust", async () => {
    const { clock, state, make, ask } = await verifierOf();
    const token = make(first, 1_000);
    await ask(token);
    state.keys = [];
    await clock.advance(120_000);
    assert.equal(await ask(token), "keys_unavailable");
  });

  it("is refused from the moment that it is revoked, without another verification, and taken again after that", async () => {
    const { state, revocations, make, ask } = await verifierOf();
    const token = make(first, 1_000);
    await ask(token);
    revocations.add({ subject: "alice" });
    assert.deepEqual([await ask(token), await ask(token), state.verified], ["revoked", "revoked", 1]);
    revocations.remove({ subject: "alice" });
    assert.deepEqual([await ask(token), state.verified], ["alice", 1]);
    const fresh = make(first, 999);
    revocations.add({ subject: "alice" });
    assert.deepEqual([await ask(fresh), await ask(fresh), state.verified], ["revoked", "revoked", 2]);
  });

  it("shares nothing with a token that differs in one character", async () => {
    const { make, ask } = await verifierOf();
    const token = make(first, 1_000);
    await ask(token);
    const last = token.at(-3) === "A" ? "B" : "A";
    assert.equal(await ask(`${token.slice(0, -3)}${last}${token.slice(-2)}`), "signature");
    assert.equal(await ask(`${token}=`), "malformed");
  });

  it("is forgotten when there are more than are remembered", async () => {
    const { state, make, ask } = await verifierOf(10);
    const tokens = Array.from({ length: 30 }, (_, index) => make(first, 1_000, `user-${index}`));
    for (const token of tokens) await ask(token);
    assert.equal(state.verified, 30);
    await ask(tokens[29] ?? "");
    assert.equal(state.verified, 30);
    await ask(tokens[0] ?? "");
    assert.equal(state.verified, 31);
  });
});
