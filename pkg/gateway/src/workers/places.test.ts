import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { FakeClock } from "@plinth/kernel/testing";
import { FakeTeam, type FakeWorker } from "../testing/fake-team.ts";
import { LeasedCap } from "./leased-cap.ts";
import { isLease, Places, targetsOf } from "./places.ts";

function setUp(count: number, maxInFlight: number, maxQueue = 100) {
  const clock = new FakeClock();
  const team = new FakeTeam(count);
  const places = new Places(team, clock);
  let lastId = 0;
  const capOf = ({ link }: FakeWorker): LeasedCap => {
    const id = ++lastId;
    const cap = new LeasedCap({
      route: "r",
      id,
      link,
      clock,
      workers: count,
      maxInFlight,
      maxQueue,
      maxWaitMs: 10_000,
    });
    link.listen("gateway.places", {
      onMessage: (data) => {
        if (isLease(data) && data[1] === id) cap.lease(data[2], data[3]);
      },
    });
    return cap;
  };
  const caps = team.workers.map(capOf);
  const [first = assert.fail(), second = first] = caps;
  const inFlight = (): number => caps.reduce((total, cap) => total + cap.inFlight, 0);
  return { clock, team, places, caps, first, second, capOf, inFlight };
}

const settled = async (): Promise<void> => {
  for (let each = 0; each < 6; each++) await turn();
};

/** Asks so often, and counts who was let in. */
function crowd(cap: LeasedCap, howMany: number): { taken: number; refused: number } {
  const seen = { taken: 0, refused: 0 };
  for (let each = 0; each < howMany; each++)
    void cap.acquire().then((verdict) => (verdict === "taken" ? seen.taken++ : seen.refused++));
  return seen;
}

describe("places that workers have together", () => {
  it("are all there for one worker when the others want none, and never more than there are", async () => {
    const { first, inFlight, places } = setUp(4, 10);
    await settled();
    const seen = crowd(first, 30);
    await settled();
    assert.deepEqual([seen.taken, inFlight(), places.lent("r")], [10, 10, 10]);
    for (let each = 0; each < 10; each++) first.release();
    await settled();
    assert.equal(seen.taken, 20, "who waited has them next");
  });

  it("are shared evenly as soon as others want some, when those who have them are done", async () => {
    const { first, second, inFlight } = setUp(2, 10);
    await settled();
    crowd(first, 50);
    await settled();
    assert.equal(first.inFlight, 10);
    crowd(second, 50);
    await settled();
    assert.equal(inFlight(), 10, "what is under way is not broken off, nor added to");
    for (let each = 0; each < 10; each++) {
      first.release();
      await settled();
      assert.ok(inFlight() <= 10);
    }
    assert.deepEqual([first.inFlight, second.inFlight], [5, 5]);
  });

  it("go by turns where there are fewer than workers who want one", async () => {
    const { clock, caps, inFlight } = setUp(3, 1);
    await settled();
    const seen = caps.map((cap) => crowd(cap, 5));
    for (let each = 0; each < 40; each++) {
      await settled();
      assert.ok(inFlight() <= 1);
      for (const cap of caps) if (cap.inFlight > 0) cap.release();
      await clock.advance(60);
    }
    assert.ok(
      seen.every(({ taken }) => taken > 0),
      JSON.stringify(seen),
    );
  });

  it("of a worker that was killed are the others'", async () => {
    const { team, first, second } = setUp(2, 4);
    await settled();
    crowd(first, 9);
    await settled();
    crowd(second, 9);
    team.kill(team.workers[0] ?? assert.fail());
    await settled();
    assert.equal(second.inFlight, 4);
  });

  it("are gone by the worker's share where the primary does not answer in time, and by its word when it does again", async () => {
    const { clock, team, first, second, inFlight } = setUp(2, 6);
    team.hang();
    crowd(first, 9);
    crowd(second, 9);
    await settled();
    assert.equal(inFlight(), 0);
    await clock.advance(30);
    await settled();
    assert.deepEqual([first.inFlight, second.inFlight], [3, 3]);
    team.goOn();
    await settled();
    assert.equal(inFlight(), 6);
  });

  it("go by an answer that has come while this process stood still, though its time is over", async (t) => {
    const { clock, team, first, second, inFlight } = setUp(2, 1);
    await settled();
    crowd(first, 1);
    await settled();
    team.hang();
    const schedule = clock.schedule.bind(clock);
    t.mock.method(clock, "schedule", (delayMs: number, run: () => void) =>
      schedule(delayMs, () => {
        run();
        team.goOn();
      }),
    );
    crowd(second, 1);
    await settled();
    await clock.advance(30);
    await settled();
    assert.deepEqual([inFlight(), second.waiting], [1, 1]);
  });

  it("follow another document: more at once, fewer as those under way end", async () => {
    const { caps, first, second, inFlight } = setUp(2, 4);
    await settled();
    crowd(first, 20);
    crowd(second, 20);
    await settled();
    for (const cap of caps) cap.resize({ maxInFlight: 8 });
    await settled();
    assert.equal(inFlight(), 8);
    for (const cap of caps) cap.resize({ maxInFlight: 2 });
    for (let each = 0; each < 8; each++) {
      await settled();
      for (const cap of caps) if (cap.inFlight > 1) cap.release();
    }
    await settled();
    assert.deepEqual([first.inFlight, second.inFlight], [1, 1]);
  });

  it("are given back by a cap that another takes the place of, and its queue is this worker's part", async () => {
    const { places, caps, first } = setUp(2, 4, 4);
    await settled();
    const seen = crowd(first, 9);
    await settled();
    assert.deepEqual([seen.taken, seen.refused, first.waiting], [4, 5, 0]);
    for (const cap of caps) cap.close();
    await settled();
    assert.equal(places.lent("r"), 0);
  });

  it("are never more than there are, nor left unused while somebody waits, whatever comes", async () => {
    const step = fc.record({ worker: fc.nat(2), ask: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.integer({ min: 3, max: 7 }), async (steps, max) => {
        const { caps, inFlight } = setUp(3, max);
        await settled();
        for (const { worker, ask } of steps) {
          const cap = caps[worker] ?? assert.fail();
          if (ask) crowd(cap, 3);
          else if (cap.inFlight > 0) cap.release();
          if (worker === 0) await settled();
          assert.ok(inFlight() <= max, `${inFlight()} of ${max}`);
        }
        await settled();
        const waiting = caps.reduce((total, cap) => total + cap.waiting, 0);
        assert.ok(inFlight() <= max);
        assert.ok(waiting === 0 || inFlight() === max, `${waiting} wait, ${inFlight()} of ${max} are under way`);
      }),
      { seed: 41, numRuns: 40 },
    );
  });
});

describe("targetsOf", () => {
  it("gives what is wanted up to an even share, and of the rest an even part", () => {
    assert.deepEqual(targetsOf(10, [20, 2], 2), [8, 2]);
    assert.deepEqual(targetsOf(10, [20, 20], 2), [5, 5]);
    assert.deepEqual(targetsOf(10, [0, 0], 4), [2, 2]);
    assert.deepEqual(targetsOf(1, [3, 3], 2), [1, 0]);
    assert.deepEqual(targetsOf(1, [3, 3], 2, 1), [0, 1]);
    assert.deepEqual(targetsOf(5, [], 2), []);
  });
});
