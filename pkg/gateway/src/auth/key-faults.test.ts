import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { KeyKeeper, TokenVerifier } from "@plinth/transport/jwt";
import { type SigningKey, signingKey, tokenOf } from "../testing/issuer.ts";

const first = signingKey("first");
const second = signingKey("second");
const minuteMs = 60_000;

/** A verifier whose issuer answers as told, on a clock that stands still. */
function verifierOf(answer: () => string) {
  const clock = new FakeClock();
  const state = { fetches: 0, failures: 0 };
  const keys = new KeyKeeper({
    fetchText: async () => {
      state.fetches++;
      return answer();
    },
    clock,
    refreshMs: 10 * minuteMs,
    keepMs: 24 * 60 * minuteMs,
    onFetch: (failure) => void (failure === undefined || state.failures++),
  });
  const rules = { issuer: "test-issuer", audiences: ["test"], algorithms: ["ES256"], clockSkewMs: 30_000 };
  const verifier = new TokenVerifier({
    issuers: [{ name: "test", rules, keys }],
    clock,
    toKnown: ({ subject }) => subject,
  });
  /** The subject that a fresh token is found to be of, or why it is refused. */
  const ask = async (key: SigningKey, header: object = {}): Promise<string> => {
    const now = clock.now() / 1e3;
    const verdict = await verifier.verify(`Bearer ${tokenOf(key, { iat: now, exp: now + 60 }, { ...header })}`);
    return "known" in verdict ? verdict.known : verdict.reason;
  };
  keys.start();
  return { clock, keys, state, ask };
}

const publish = (...keys: SigningKey[]): string => JSON.stringify({ keys: keys.map(({ jwk }) => jwk) });
const down = (): string => {
  throw new Error("down");
};

describe("faults of an issuer", () => {
  it("fault 20: old keys serve for hours past their time while it is down, a new one within the cooldown, and garbage replaces nothing", async () => {
    let answer = (): string => publish(first);
    const { clock, keys, state, ask } = verifierOf(() => answer());
    assert.equal(await ask(first), "alice");
    answer = down;
    await clock.advance(120 * minuteMs);
    assert.equal(await ask(first), "alice");
    assert.ok(keys.ageMs > 119 * minuteMs && state.failures > 0, "which age and failures tell of");
    assert.equal(await ask(second), "token_invalid");
    answer = () => publish(first, second);
    await clock.advance(30_000);
    assert.equal(await ask(second), "alice", "known as soon as the cooldown is over");
    for (const garbage of ["", "<html>", '{"keys":[]}', publish(first, first), "x".repeat(1_000_000)]) {
      answer = () => garbage;
      await clock.advance(10 * minuteMs);
      assert.deepEqual([await ask(first), await ask(second)], ["alice", "alice"], garbage.slice(0, 20));
    }
    answer = () => publish(second);
    await clock.advance(10 * minuteMs);
    assert.deepEqual([await ask(first), await ask(second)], ["token_invalid", "alice"]);
    keys.close();
  });

  it("fault 21: down at a cold start, it is unavailable rather than invalid, with one fetch for each step of the wait", async () => {
    let answer = down;
    const { clock, keys, state, ask } = verifierOf(() => answer());
    const before = state.fetches;
    for (let i = 0; i < 100; i++) assert.equal(await ask(first), "keys_unavailable");
    assert.ok(state.fetches - before <= 1);
    for (let second = 0; second < 120; second++) {
      await clock.advance(1_000);
      assert.equal(await ask(first), "keys_unavailable");
    }
    assert.ok(state.fetches <= 12, `${state.fetches} fetches in two minutes`);
    answer = () => publish(first);
    await clock.advance(minuteMs);
    assert.equal(await ask(first), "alice");
    keys.close();
  });

  it("fault 22: a flood of random key ids costs two fetches a minute, and known tokens are taken as before", async () => {
    const { clock, keys, state, ask } = verifierOf(() => publish(first));
    assert.equal(await ask(first), "alice");
    const before = state.fetches;
    for (let tenth = 0; tenth < 600; tenth++) {
      assert.equal(await ask(first, { kid: `random-${tenth}` }), "token_invalid");
      await clock.advance(100);
    }
    assert.ok(state.fetches - before <= 2, `${state.fetches - before} fetches`);
    assert.equal(await ask(first), "alice");
    keys.close();
  });
});
