import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { describe, it } from "node:test";
import { systemClock } from "@plinth/kernel";
import { FakeClock } from "@plinth/kernel/testing";
import { createMemoryRateStore, createSharedRateLimiter, StoreGate } from "@plinth/resilience";
import { FakeTeam, type FakeWorker } from "../testing/fake-team.ts";
import { answerRates, PrimaryRateStore } from "./rates.ts";
import { shareRevocations, TeamRevocations } from "./revocations.ts";

const ask = { name: "a", key: "k", limit: 3, windowMs: 60_000, cost: 1, owed: 0 };

function setUp(count = 2) {
  const clock = new FakeClock();
  const team = new FakeTeam(count);
  answerRates(team, createMemoryRateStore({ clock }));
  const stores = team.workers.map(({ link }) => new PrimaryRateStore(link, clock));
  const [first = assert.fail(), second = first] = stores;
  return { clock, team, stores, first, second };
}

describe("a rate limit that workers count in their primary", () => {
  it("is one limit however unevenly the workers are asked, and however many ask at one time", async () => {
    const { clock, stores } = setUp(4);
    const limiters = stores.map((store) =>
      createSharedRateLimiter({ name: "n", limit: 50, windowMs: 60_000, gate: new StoreGate({ store, clock }), clock }),
    );
    const asked = Array.from({ length: 400 }, (_, index) => limiters[index % 10 === 0 ? (index / 10) % 4 : 0]);
    const verdicts = await Promise.all(asked.map((limiter) => limiter?.take("k") ?? assert.fail()));
    assert.equal(verdicts.filter(({ allowed }) => allowed).length, 50);
    assert.ok(verdicts.every(({ by }) => by === "store"));
  });

  it("asks in one message what comes in one turn", async () => {
    const { team, first } = setUp();
    let messages = 0;
    team.listen("gateway.rates", { onMessage: () => messages++ });
    await Promise.all(Array.from({ length: 20 }, (_, index) => first.take({ ...ask, key: `${index}` })));
    assert.equal(messages, 1);
  });

  it("gives back what did not go, and counts what went without it", async () => {
    const { first, second } = setUp();
    await first.take({ ...ask, cost: 3 });
    await first.giveBack({ ...ask, cost: 2 });
    assert.equal((await second.take(ask)).remaining, 1);
    assert.equal((await second.take({ ...ask, owed: 9 })).allowed, false);
  });

  it("goes by shares within the deadline while the primary hangs: all of them together let one more limit through at most", async () => {
    const { clock, team, stores } = setUp();
    const limiters = stores.map((store) => {
      const gate = new StoreGate({ store, clock, deadlineMs: 30 });
      return createSharedRateLimiter({ name: "n", limit: 4, windowMs: 60_000, gate, processes: () => 2, clock });
    });
    const [first = assert.fail(), second = assert.fail()] = limiters;
    for (let each = 0; each < 4; each++) assert.equal((await first.take("k")).allowed, true);
    team.hang();
    const taken: boolean[] = [];
    for (const limiter of [first, second]) {
      for (let each = 0; each < 4; each++) {
        const verdict = limiter.take("k");
        await turn();
        await clock.advance(30);
        const { allowed, by } = await verdict;
        taken.push(allowed);
        assert.equal(by, "share");
      }
    }
    assert.equal(taken.filter(Boolean).length, 4);
    team.goOn();
    await clock.advance(5_000);
    assert.equal((await first.take("k")).allowed, false, "what went meanwhile was told");
  });

  it("fails at once when the primary has gone, and lets go of whoever waits", async () => {
    const { team, first } = setUp();
    team.hang();
    const waiting = first.take(ask);
    team.workers[0]?.lose();
    await assert.rejects(waiting, /the primary has gone/);
    await assert.rejects(first.take(ask), /the primary has gone/);
    assert.equal(first.isReady, false);
    await first.close();
    await first.close();
  });

  it("passes over what is no question or no answer, on both sides", async () => {
    const { team, first } = setUp();
    const [worker = assert.fail()] = team.workers;
    for (const nonsense of [null, 7, {}, [1], [[1, "a"]], [[1, "a", "k", -1, 0.5, 1, 0]], [[1, "a", "k", 0, 0, 0, 0]]])
      worker.link.send("gateway.rates", nonsense);
    for (const nonsense of [null, 7, {}, [1], [["x", 1, 1, 1, 1]]]) worker.send("gateway.rates", nonsense);
    assert.equal((await first.take(ask)).remaining, 2);
  });
});

describe("revocations of workers", () => {
  const revocation = { subject: "eve" };
  const token = { issuer: "i", subject: "eve", jti: undefined, issuedAtMs: undefined };
  const held = ({ link }: FakeWorker): TeamRevocations => new TeamRevocations(link, systemClock);

  it("hold in all of them, those that start later included, until one takes them back", async () => {
    const team = new FakeTeam(2);
    shareRevocations(team, systemClock);
    const [first = assert.fail(), second = assert.fail()] = team.workers.map(held);
    first.add(revocation);
    assert.equal(first.revokes(token), true, "at once where it was added");
    await turn();
    assert.equal(second.revokes(token), true);
    const late = held(team.start(3));
    late.ask();
    await turn();
    assert.equal(late.revokes(token), true);
    assert.equal(second.remove(revocation), true);
    await turn();
    assert.deepEqual([first.revokes(token), second.revokes(token), late.revokes(token)], [false, false, false]);
  });

  it("are refused where they are added when they say nothing, and nonsense of a worker reaches nobody", async () => {
    const team = new FakeTeam(2);
    shareRevocations(team, systemClock);
    const [first = assert.fail(), second = assert.fail()] = team.workers.map(held);
    assert.throws(() => first.add({}), { code: "ERR_AUTH_REVOCATION" });
    for (const nonsense of [null, [{}], [{ op: "add", revocation: { subject: "" } }]])
      team.workers[0]?.link.send("gateway.revocations", nonsense);
    await turn();
    assert.equal(second.size, 0);
  });
});
