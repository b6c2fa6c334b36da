import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { type RevocableToken, type Revocation, Revocations } from "./revocations.ts";

const token: RevocableToken = { issuer: "i", subject: "alice", jti: "t1", issuedAtMs: 5_000 };

describe("Revocations", () => {
  const table: [what: string, revocation: Revocation, revokes: boolean][] = [
    ["its id", { jti: "t1" }, true],
    ["another id", { jti: "t2" }, false],
    ["its id of its issuer", { jti: "t1", issuer: "i" }, true],
    ["its id of another issuer", { jti: "t1", issuer: "j" }, false],
    ["its id and another subject", { jti: "t1", subject: "bob" }, false],
    ["its subject", { subject: "alice" }, true],
    ["another subject", { subject: "alic" }, false],
    ["its subject before its issue", { subject: "alice", issuedBeforeMs: 5_000 }, false],
    ["its subject after its issue", { subject: "alice", issuedBeforeMs: 5_001 }, true],
    ["everything issued before", { issuedBeforeMs: 5_001 }, true],
    ["everything issued before of another issuer", { issuedBeforeMs: 5_001, issuer: "j" }, false],
  ];
  for (const [what, revocation, revokes] of table) {
    it(`${revokes ? "refuse" : "spare"} a token by ${what}`, () => {
      const revocations = new Revocations({ clock: new FakeClock() });
      assert.equal(revocations.revokes(token), false);
      revocations.add(revocation);
      assert.equal(revocations.revokes(token), revokes);
      assert.equal(revocations.remove(revocation), true);
      assert.deepEqual(
        [revocations.revokes(token), revocations.remove(revocation), revocations.size],
        [false, false, 0],
      );
    });
  }

  it("take a token that does not say when it was issued for an earlier one", () => {
    const revocations = new Revocations({ clock: new FakeClock() });
    revocations.add({ issuedBeforeMs: 1 });
    assert.equal(revocations.revokes({ ...token, issuedAtMs: undefined }), true);
  });

  it("forget one when its time is over, and the same again counts with its new time", async () => {
    const clock = new FakeClock();
    const revocations = new Revocations({ clock });
    const untilMs = clock.now() + 1_000;
    revocations.add({ jti: "t1", untilMs });
    revocations.add({ jti: "t1", untilMs: untilMs + 1_000 });
    assert.equal(revocations.size, 1);
    await clock.advance(1_999);
    assert.equal(revocations.revokes(token), true);
    await clock.advance(1);
    assert.equal(revocations.revokes(token), false);
  });

  it("refuse to hold more than they may rather than forget one, but for those whose time is over", async () => {
    const clock = new FakeClock();
    const revocations = new Revocations({ clock, max: 3 });
    revocations.add({ jti: "t1" });
    revocations.add({ jti: "t2", untilMs: clock.now() + 1_000 });
    revocations.add({ subject: "bob" });
    revocations.add({ jti: "t1" });
    assert.throws(() => revocations.add({ jti: "t3" }), { code: "ERR_AUTH_REVOCATIONS_FULL", message: /there are 3 / });
    await clock.advance(1_000);
    revocations.add({ jti: "t3" });
    assert.deepEqual([revocations.size, revocations.revokes(token)], [3, true]);
    assert.throws(() => revocations.replaceFile(["a", "b", "c", "d"].map((jti) => ({ jti }))), {
      code: "ERR_AUTH_REVOCATIONS_FULL",
    });
  });

  it("keep those of the file apart from those that were added, and take a file whole or not at all", () => {
    const revocations = new Revocations({ clock: new FakeClock() });
    revocations.add({ jti: "t1" });
    revocations.replaceFile([{ subject: "alice" }]);
    assert.equal(revocations.remove({ subject: "alice" }), false);
    revocations.remove({ jti: "t1" });
    assert.equal(revocations.revokes(token), true);
    assert.throws(() => revocations.replaceFile([{ jti: "x" }, {}]), {
      code: "ERR_AUTH_REVOCATION",
      message: /^revocation 2: expected one of/,
    });
    assert.equal(revocations.revokes(token), true);
    revocations.replaceFile([]);
    assert.deepEqual([revocations.revokes(token), revocations.size], [false, 0]);
  });

  for (const bad of [
    {},
    { issuer: "i" },
    { untilMs: 1 },
    { jti: "" },
    { subject: "x".repeat(1_025) },
    { jti: "t1", issuedBeforeMs: NaN },
    { jti: "t1", untilMs: -1 },
    { jti: "t1", untilMs: Infinity },
  ]) {
    it(`refuse ${JSON.stringify(bad).slice(0, 60)}`, () => {
      const revocations = new Revocations({ clock: new FakeClock() });
      assert.throws(() => revocations.add(bad), { code: "ERR_AUTH_REVOCATION" });
      assert.equal(revocations.size, 0);
    });
  }

  it("find one among many at once", () => {
    const revocations = new Revocations({ clock: new FakeClock() });
    for (let i = 0; i < 20_000; i++) revocations.add({ jti: `t${i}`, subject: "alice" });
    assert.deepEqual([revocations.revokes(token), revocations.revokes({ ...token, jti: "none" })], [true, false]);
    revocations.add({ subject: "alice" });
    assert.equal(revocations.revokes({ ...token, jti: "none" }), true);
  });
});
