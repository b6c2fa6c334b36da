import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { FakeTeam, type FakeWorker } from "../testing/fake-team.ts";
import { addUp, InstancesLink, passInstances, type SeenInstance, type SeenServices } from "./instances.ts";

const well: SeenInstance = {
  id: "s-1",
  address: "10.0.0.1:80",
  weight: 100,
  inFlight: 0,
  latencyMs: undefined,
  ejected: false,
  breakers: [],
};
const of = (...instances: SeenInstance[]): SeenServices => [{ service: "s", isPanicking: false, instances }];

function setUp(knowing: readonly SeenServices[]) {
  const clock = new FakeClock();
  const team = new FakeTeam(knowing.length);
  passInstances(team);
  const linkOf = ({ link, worker }: FakeWorker): InstancesLink =>
    new InstancesLink(link, clock, () => knowing[worker - 1] ?? []);
  const [first = assert.fail()] = team.workers.map(linkOf);
  return { clock, team, first, linkOf };
}

describe("what workers know of instances", () => {
  it("is asked of all of them, and added up", async () => {
    const open = { route: "r", state: "open", retryAfterMs: 5 } as const;
    const { first } = setUp([
      of({ ...well, inFlight: 2, latencyMs: 10 }),
      of({ ...well, inFlight: 3, latencyMs: 20, ejected: true, ejectedFor: "failures", breakers: [open] }),
      [{ service: "s", isPanicking: true, instances: [well, { ...well, id: "s-2" }] }],
    ]);
    const { told, missing } = await first.ask();
    assert.deepEqual(missing, []);
    const [service = assert.fail(), ...others] = addUp(told);
    assert.deepEqual([service.service, service.isPanicking, others.length], ["s", true, 0]);
    const [one = assert.fail(), two = assert.fail()] = service.instances;
    assert.deepEqual([one.inFlight, one.latencyMs, one.ejected, one.ejectedFor], [5, 15, true, "failures"]);
    assert.deepEqual(one.breakers, [{ worker: 2, ...open }]);
    assert.deepEqual(
      one.workers.map(({ worker, inFlight, ejected }) => [worker, inFlight, ejected]),
      [
        [1, 2, false],
        [2, 3, true],
        [3, 0, false],
      ],
    );
    assert.deepEqual([two.id, two.inFlight, two.latencyMs, two.ejected], ["s-2", 0, undefined, false]);
    assert.deepEqual(
      two.workers.map(({ worker }) => worker),
      [3],
      "the others have not heard of it",
    );
  });

  it("is told without a worker that stands still, and names it; what it says later is passed over", async () => {
    const { clock, team, first } = setUp([of(well), of(well), of(well)]);
    team.workers[2]?.hang();
    const asked = first.ask();
    const same = first.ask();
    assert.equal(same, asked, "one question for all who ask meanwhile");
    await turn();
    await clock.advance(1_000);
    const { told, missing } = await asked;
    assert.deepEqual([[...told.keys()], missing], [[1, 2], [3]]);
    team.workers[2]?.goOn();
    await turn();
    assert.deepEqual((await first.ask()).missing, []);
  });

  it("is this worker's alone while the primary says nothing, has gone, or the worker ends", async () => {
    const { clock, team, first } = setUp([of(well), of(well)]);
    team.hang();
    const late = first.ask();
    await clock.advance(1_000);
    assert.deepEqual([...(await late).told.keys()], [1]);
    const closing = first.ask();
    team.workers[0]?.lose();
    assert.deepEqual([...(await closing).told.keys()], [1]);
    assert.deepEqual([...(await first.ask()).told.keys()], [1]);
    first.close();
    first.close();
  });

  it("comes of a worker that has taken the place of another, and of none that is gone", async () => {
    const { team, first, linkOf } = setUp([of(well), of(well), of(well)]);
    const [, second = assert.fail(), third = assert.fail()] = team.workers;
    team.kill(third);
    team.kill(second);
    assert.deepEqual([...(await first.ask()).told.keys()], [1]);
    linkOf(team.start(2));
    assert.deepEqual([...(await first.ask()).told.keys()], [1, 2]);
  });

  it("passes over nonsense, on both sides", async () => {
    const { team, first } = setUp([of(well), of(well)]);
    const [one = assert.fail()] = team.workers;
    for (const nonsense of [null, 7, [], { type: "ask" }, { type: "tell", id: 1, pid: 1_001, services: [{}] }])
      one.link.send("gateway.instances", nonsense);
    for (const nonsense of [null, {}, { type: "told", id: 1, worker: 0, services: [] }, { type: "ask", id: 1 }])
      one.send("gateway.instances", nonsense);
    const { told, missing } = await first.ask();
    assert.deepEqual([[...told.keys()], missing], [[1, 2], []]);
  });

  it("is nothing of a worker that tells nonsense", async () => {
    const { clock, team, first } = setUp([of(well)]);
    const { link } = team.start(2);
    const services = [{ service: "s", isPanicking: false, instances: [{ ...well, inFlight: "many" }] }];
    link.listen("gateway.instances", {
      onMessage: () => link.send("gateway.instances", { type: "tell", id: 1, pid: 1_001, services }),
    });
    const asked = first.ask();
    await turn();
    await clock.advance(1_000);
    const { told, missing } = await asked;
    assert.deepEqual([[...told.keys()], missing], [[1], [2]]);
  });
});
