import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { FetchBudget } from "./fetch-budget.ts";
import { KeyKeeper, type KeyKeeperOptions } from "./key-keeper.ts";
import { parseKeySet } from "./key-set.ts";
import { UnknownKids } from "./unknown-kids.ts";

const key = (kid: string) => ({
  kty: "EC",
  crv: "P-256",
  x: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
  y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
  kid,
});
const setOf = (...kids: string[]): string => JSON.stringify({ keys: kids.map(key) });

/** A keeper on a fake clock whose fetches answer as told. */
function keeperOf(answer: () => string, more: Partial<KeyKeeperOptions> = {}) {
  const clock = more.clock instanceof FakeClock ? more.clock : new FakeClock();
  const state = { fetches: 0, outcomes: [] as (string | undefined)[] };
  const keeper = new KeyKeeper({
    fetchText: async () => {
      state.fetches++;
      return answer();
    },
    clock,
    refreshMs: 600_000,
    keepMs: 3_600_000,
    random: () => 0.5,
    onFetch: (failure) => void state.outcomes.push(failure),
    ...more,
  });
  return { keeper, clock, state };
}

const down = (): string => {
  throw new Error("the issuer is down");
};

describe("KeyKeeper", () => {
  it("has keys after its first fetch, which all who ask early share", async () => {
    const { keeper, clock, state } = keeperOf(() => setOf("a"));
    assert.equal(keeper.current, undefined);
    keeper.start();
    const sets = await Promise.all([keeper.available(), keeper.available()]);
    assert.ok(sets.every((set) => set?.has("a")));
    assert.equal(state.fetches, 1);
    await clock.advance(0);
    keeper.close();
    assert.equal(clock.pending, 0);
  });

  it("fetches anew in the background between 0.5 and 0.8 of the time, and has a new version only for new keys", async () => {
    let kids = ["a"];
    const { keeper, clock, state } = keeperOf(() => setOf(...kids));
    keeper.start();
    await clock.advance(0);
    assert.equal(keeper.version, 1);
    await clock.advance(600_000 * 0.65 - 1);
    assert.equal(state.fetches, 1);
    await clock.advance(1);
    assert.equal(state.fetches, 2);
    assert.equal(keeper.version, 1);
    kids = ["b"];
    await clock.advance(600_000);
    assert.equal(keeper.version, 2);
    assert.deepEqual([keeper.current?.has("a"), keeper.current?.has("b")], [false, true]);
    keeper.close();
  });

  it("keeps good keys for hours while the issuer is down, and gives them up after that", async () => {
    let answer = (): string => setOf("a");
    const { keeper, clock, state } = keeperOf(() => answer());
    keeper.start();
    await clock.advance(0);
    answer = down;
    await clock.advance(4_199_999);
    assert.ok(keeper.current?.has("a"));
    assert.match(String(state.outcomes.at(-1)), /the issuer is down/);
    await clock.advance(1);
    assert.equal(await keeper.available(), undefined);
    answer = () => setOf("b");
    await clock.advance(60_000);
    assert.equal((await keeper.available())?.has("b"), true);
    keeper.close();
  });

  it("tries at growing intervals from the start, one fetch for each, however many ask", async () => {
    const { keeper, clock, state } = keeperOf(down);
    keeper.start();
    const at: number[] = [];
    let seen = 0;
    for (let ms = 0; ms < 240_000; ms += 250) {
      assert.equal(await keeper.available(), undefined);
      if (state.fetches > seen) at.push(clock.monotonicMs());
      seen = state.fetches;
      await clock.advance(250);
    }
    const gaps = at.slice(1).map((ms, index) => ms - (at[index] ?? 0));
    assert.deepEqual(gaps.slice(0, 7), [750, 1_500, 3_000, 6_000, 12_000, 24_000, 45_000]);
    assert.ok(state.fetches <= 11, `${state.fetches} fetches in four minutes`);
    keeper.close();
  });

  it("lets garbage never replace a good set", async () => {
    let answer = setOf("a");
    const { keeper, clock } = keeperOf(() => answer);
    keeper.start();
    await clock.advance(0);
    for (const garbage of [
      "",
      "<html>",
      "[]",
      "{}",
      '{"keys":{}}',
      '{"keys":[]}',
      '{"keys":[1]}',
      setOf("b", "b"),
      JSON.stringify({ keys: [{ kty: "oct", k: "c2VjcmV0", kid: "b" }] }),
    ]) {
      answer = garbage;
      await clock.advance(600_000);
      assert.deepEqual([keeper.current?.has("a"), keeper.version], [true, 1], garbage);
      answer = setOf("a");
      await clock.advance(600_000);
    }
    keeper.close();
  });

  it("fetches for unknown keys once in a cooldown, whatever becomes of the fetch", async () => {
    let answer = (): string => setOf("a");
    const { keeper, clock, state } = keeperOf(() => answer());
    keeper.start();
    await clock.advance(0);
    answer = down;
    for (let i = 0; i < 5_000; i++) await keeper.refreshForUnknown(`k${i}`);
    assert.equal(state.fetches, 2);
    await clock.advance(29_999);
    const retries = state.fetches;
    await keeper.refreshForUnknown("c");
    assert.equal(state.fetches, retries, "the cooldown runs");
    answer = () => setOf("a", "b");
    await clock.advance(1);
    assert.ok((await keeper.refreshForUnknown("b"))?.has("b"));
    keeper.close();
  });

  it("asks for the same missing key after times that double, whatever else is asked for", async () => {
    const { keeper, clock, state } = keeperOf(() => setOf("a"), { refreshMs: 86_400_000 });
    keeper.start();
    await clock.advance(0);
    const at: number[] = [];
    for (let ms = 0; ms <= 930_000; ms += 10_000) {
      const before = state.fetches;
      await keeper.refreshForUnknown("gone");
      if (state.fetches > before) at.push(ms);
      await clock.advance(10_000);
    }
    assert.deepEqual(at, [0, 30_000, 90_000, 210_000, 450_000, 930_000]);
    keeper.close();
  });

  it("knows a key at once that comes with the background, though it was missing before", async () => {
    let kids = ["a"];
    const { keeper, clock, state } = keeperOf(() => setOf(...kids));
    keeper.start();
    await clock.advance(0);
    await keeper.refreshForUnknown("b");
    kids = ["a", "b"];
    await clock.advance(600_000);
    assert.ok(keeper.current?.has("b"));
    assert.ok(state.fetches >= 3);
    keeper.close();
  });

  it("remembers no more than so many missing keys", () => {
    const kids = new UnknownKids({ firstMs: 1_000, longestMs: 10_000, maxKids: 100 });
    for (let i = 0; i < 10_000; i++) kids.missed(`k${i}`, 0);
    assert.ok(kids.size <= 100, String(kids.size));
    assert.deepEqual([kids.has("k9999", 999), kids.has("k9999", 1_000), kids.has("k0", 0)], [true, false, false]);
  });

  it("draws fetches for unknown keys from the budget of all keepers, and fetches in the background all the same", async () => {
    const clock = new FakeClock();
    const budget = new FetchBudget(clock, { max: 3, refillMs: 60_000 });
    const outcomes: string[] = [];
    const made = Array.from({ length: 5 }, () =>
      keeperOf(() => setOf("a"), { clock, budget, onUnknown: (outcome) => outcomes.push(outcome) }),
    );
    for (const { keeper } of made) keeper.start();
    await clock.advance(0);
    for (const { keeper } of made) await keeper.refreshForUnknown("x");
    assert.deepEqual(outcomes, ["asked", "asked", "asked", "budget", "budget"]);
    await clock.advance(60_000);
    outcomes.length = 0;
    for (const { keeper } of made) await keeper.refreshForUnknown("y");
    assert.deepEqual(outcomes, ["asked", "budget", "budget", "budget", "budget"]);
    await clock.advance(600_000);
    for (const { state } of made) assert.ok(state.fetches >= 2);
    for (const { keeper } of made) keeper.close();
  });

  it("reads a fixed set once, keeps it for good, and asks nobody for another key", async () => {
    const { keeper, clock, state } = keeperOf(() => setOf("a"), { fixed: true });
    keeper.start();
    await clock.advance(100_000_000);
    assert.ok((await keeper.refreshForUnknown("b"))?.has("a"));
    assert.equal(state.fetches, 1);
    assert.equal(clock.pending, 0);
  });

  it("reads the set anew when told of a change, also in the middle of a read, and keeps the old one when that is a fault", async () => {
    const gate = Promise.withResolvers<string>();
    const answers = [Promise.resolve(setOf("a")), gate.promise, Promise.resolve(setOf("c")), Promise.resolve("{")];
    let tell = (): void => undefined;
    const { keeper, clock, state } = keeperOf(() => "", {
      fetchText: () => (state.fetches++, answers.shift() ?? Promise.reject(new Error("none left"))),
      watch: (onChange) => void (tell = onChange),
    });
    keeper.start();
    await clock.advance(0);
    tell();
    await clock.advance(0);
    tell(); // what is being read now may be from before
    gate.resolve(setOf("b"));
    await clock.advance(0);
    assert.deepEqual([keeper.current?.has("c"), state.fetches], [true, 3]);
    tell();
    await clock.advance(0);
    assert.deepEqual(
      [keeper.current?.has("c"), state.outcomes.at(-1)],
      [true, "it is no JSON object, or has a member twice"],
    );
    keeper.close();
  });

  it("joins the fetch that is under way instead of beginning another", async () => {
    const gate = Promise.withResolvers<string>();
    const { keeper, state } = keeperOf(() => "", { fetchText: () => (state.fetches++, gate.promise) });
    keeper.start();
    const asked = [keeper.refreshForUnknown("x"), keeper.refreshForUnknown("y"), keeper.available()];
    gate.resolve(setOf("a"));
    for (const set of await Promise.all(asked)) assert.ok(set?.has("a"));
    assert.equal(state.fetches, 1);
    keeper.close();
  });

  it("stops when closed, also in the middle of a fetch", async () => {
    let given: AbortSignal | undefined;
    const { keeper, clock } = keeperOf(() => "", {
      fetchText: ({ signal }) => {
        given = signal;
        return new Promise((_resolve, reject) =>
          signal.addEventListener("abort", () => reject(signal.reason as Error)),
        );
      },
    });
    keeper.start();
    keeper.close();
    assert.equal(given?.aborted, true);
    await clock.advance(100_000);
    assert.equal(clock.pending, 0);
  });
});

describe("parseKeySet", () => {
  it("leaves out what cannot be a public signature key", () => {
    const set = parseKeySet(
      JSON.stringify({
        keys: [
          key("good"),
          { kty: "oct", k: "AAAA", kid: "symmetric" },
          { ...key("private"), d: "AAAA" },
          { ...key("encryption"), use: "enc" },
          { kty: "odd", kid: "odd" },
        ],
      }),
    );
    assert.deepEqual(
      ["good", "symmetric", "private", "encryption", "odd", "__proto__"].map((kid) => set.has(kid)),
      [true, false, false, false, false, false],
    );
  });

  it("refuses more than 100 keys, ids twice, and ids that are no short text", () => {
    assert.throws(() => parseKeySet(setOf(...Array.from({ length: 101 }, (_, i) => `k${i}`))), /101 keys/);
    assert.throws(() => parseKeySet(setOf("a", "a")), /two keys have the id "a"/);
    assert.throws(() => parseKeySet(setOf("k".repeat(257))), /short text/);
    assert.throws(() => parseKeySet(JSON.stringify({ keys: [{ ...key("a"), kid: { a: 1 } }] })), /short text/);
  });

  it("refuses a private or symmetric key in a set that the operator has written, without quoting it", () => {
    for (const bad of [
      { ...key("p"), d: "c2VjcmV0" },
      { kty: "oct", k: "c2VjcmV0", kid: "s" },
      { ...key("x"), k: "c2VjcmV0" },
    ]) {
      const text = JSON.stringify({ keys: [key("a"), bad] });
      assert.throws(() => parseKeySet(text, { strict: true }), /^Error: it has a private or symmetric key; [^=]*$/);
      assert.equal(parseKeySet(text).secrets, 1);
      assert.throws(
        () => parseKeySet(`${text}x`),
        (error: Error) => !error.message.includes("c2Vj"),
      );
    }
  });

  it("refuses a set that has a member twice", () => {
    assert.throws(() => parseKeySet(`{"keys":[],"keys":[${JSON.stringify(key("a"))}]}`), /a member twice/);
  });
});
