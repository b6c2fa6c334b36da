import assert from "node:assert/strict";
import type { LookupAddress } from "node:dns";
import { describe, it } from "node:test";
import { messageOf } from "@plinth/kernel";
import { FakeClock } from "@plinth/kernel/testing";
import { Names } from "./names.ts";

const at = (address: string): readonly LookupAddress[] => [{ address, family: 4 }];

/** A resolver that answers when and what it is told. */
function open() {
  const clock = new FakeClock();
  const asked: PromiseWithResolvers<readonly LookupAddress[]>[] = [];
  const stale: string[] = [];
  const names = new Names({
    clock,
    lookup: () => {
      const answer = Promise.withResolvers<readonly LookupAddress[]>();
      asked.push(answer);
      return answer.promise;
    },
    onStale: (error) => void stale.push(error.message),
  });
  const ask = async (answer: readonly LookupAddress[] | Error) => {
    const addresses = names.addressesOf("db");
    const { resolve, reject } = asked.at(-1)!;
    if (answer instanceof Error) reject(answer);
    else resolve(answer);
    return addresses;
  };
  return { clock, asked, stale, names, ask };
}

describe("Names", () => {
  for (const host of ["10.0.0.1", "::1", "/var/run/postgresql"]) {
    it(`asks nobody for ${host}`, async () => {
      const { names, asked } = open();
      assert.deepEqual([await names.addressesOf(host), asked.length], [undefined, 0]);
    });
  }

  it("asks anew for each connection, so that a name that moves is followed", async () => {
    const { ask, asked } = open();
    assert.deepEqual(await ask(at("10.0.0.1")), at("10.0.0.1"));
    assert.deepEqual(await ask(at("10.0.0.2")), at("10.0.0.2"));
    assert.equal(asked.length, 2);
  });

  it("asks once for those who connect at the same time", async () => {
    const { names, asked } = open();
    const all = Promise.all([1, 2, 3].map(() => names.addressesOf("db")));
    asked[0]?.resolve(at("10.0.0.1"));
    await all;
    assert.equal(asked.length, 1);
  });

  it("fails for a name that never resolved, and keeps the name from callers", async () => {
    const { ask, stale } = open();
    for (const [answer, why] of [
      [new Error("getaddrinfo ENOTFOUND"), "db: getaddrinfo ENOTFOUND"],
      [[], "db: it has no address"],
    ] as const) {
      await assert.rejects(ask(answer), (error: Error) => {
        assert.equal(error.message, "the database's name does not resolve");
        assert.equal(messageOf(error.cause), why);
        return "code" in error && error.code === "ERR_DATABASE_UNAVAILABLE";
      });
    }
    assert.deepEqual(stale, []);
  });

  it("goes on with the last addresses when the resolver fails, and tells once until it works again", async () => {
    const { ask, stale } = open();
    await ask(at("10.0.0.1"));
    assert.deepEqual(await ask(new Error("SERVFAIL")), at("10.0.0.1"));
    assert.deepEqual(await ask(new Error("SERVFAIL")), at("10.0.0.1"));
    assert.deepEqual(stale, ["the name db does not resolve; the address it had before is used"]);
    await ask(at("10.0.0.2"));
    assert.deepEqual(await ask(new Error("SERVFAIL")), at("10.0.0.2"));
    assert.equal(stale.length, 2);
  });

  it("waits a second for a resolver that hangs, then goes on with the last addresses", async () => {
    const { clock, ask, names, asked, stale } = open();
    await ask(at("10.0.0.1"));
    const waiting = names.addressesOf("db");
    await clock.advance(999);
    assert.deepEqual(stale, []);
    await clock.advance(1);
    assert.deepEqual(await waiting, at("10.0.0.1"));
    const next = names.addressesOf("db"); // shares the one that still hangs
    assert.equal(asked.length, 2);
    asked[1]?.resolve(at("10.0.0.2"));
    assert.deepEqual(await next, at("10.0.0.2"));
  });
});
