import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createMetrics } from "../metrics/create-metrics.ts";
import { FakePrimaryPort } from "../testing/fake-primary-port.ts";
import { enveloped, type PrimaryMessage, toPrimaryMessage, toWorkerMessage } from "./messages.ts";
import { linkOver } from "./link-over.ts";
import { RunningWorker, Slot } from "./slot.ts";
import { Team } from "./team.ts";

/** Two places, in the first of which a worker runs. */
function setUp() {
  const slots = [new Slot(1), new Slot(2)];
  const [first = assert.fail()] = slots;
  const sent: PrimaryMessage[] = [];
  const worker = new RunningWorker(1, 0);
  worker.process = { pid: 7, send: (message) => void sent.push(message), kill: () => {} };
  first.worker = worker;
  const team = new Team(2, () => slots);
  return { team, worker, sent, first };
}

describe("the team of a primary", () => {
  it("tells who runs, and the same member each time", () => {
    const { team, worker } = setUp();
    assert.equal(team.count, 2);
    const [member = assert.fail(), ...others] = team.members;
    assert.equal(others.length, 0);
    assert.deepEqual([member.worker, member.pid, member.isReady], [1, 7, false]);
    worker.readyAtMs = 1;
    assert.equal(member.isReady, true);
    assert.equal(team.members[0], member);
  });

  it("hands on what comes on a channel to who listens there, and the coming and going to all", () => {
    const { team, worker, sent } = setUp();
    const heard: unknown[] = [];
    const end = team.listen("a", {
      onMessage: (member, data) => {
        heard.push(data);
        member.send("a", { back: data });
      },
      onReady: ({ worker: number }) => heard.push(`${number} ready`),
      onLeft: ({ worker: number }) => heard.push(`${number} left`),
    });
    team.receive(worker, { type: "talk", channel: "a", data: { x: [1] } });
    team.receive(worker, { type: "talk", channel: "b", data: "for nobody" });
    team.receive(worker, { type: "ready" });
    team.leave(worker);
    assert.deepEqual(heard, [{ x: [1] }, "1 ready", "1 left"]);
    assert.deepEqual(sent, [{ type: "talk", channel: "a", data: { back: { x: [1] } } }]);
    end();
    team.receive(worker, { type: "talk", channel: "a", data: "late" });
    assert.equal(heard.length, 3);
  });

  it("adds metrics of the primary to those of its supervisor", async () => {
    const { team } = setUp();
    const own = createMetrics();
    assert.equal((await team.withMetrics({ families: [] })).families.length, 0);
    own.counter({ name: "reloads_total", help: "Reloads." }).inc({});
    team.addMetrics(own);
    const { families } = await team.withMetrics({ families: [] });
    assert.ok(families.some(({ name }) => name === "reloads_total"));
  });
});

describe("the link to a primary", () => {
  it("sends and hears on its channel alone, and hears of the end", () => {
    const port = new FakePrimaryPort();
    const link = linkOver(port, 3);
    const heard: unknown[] = [];
    const end = link.listen("a", { onMessage: (data) => heard.push(data), onGone: () => heard.push("gone") });
    link.send("a", { some: "thing" });
    assert.deepEqual(port.ofType("talk"), [{ type: "talk", channel: "a", data: { some: "thing" } }]);
    port.tell({ type: "talk", channel: "a", data: 1 });
    port.tell({ type: "talk", channel: "b", data: 2 });
    port.close();
    assert.deepEqual([heard, link.isOpen, link.worker], [[1, "gone"], false, 3]);
    end();
    assert.equal(port.listeners, 0);
  });

  it("passes over what has no channel", () => {
    for (const read of [toPrimaryMessage, toWorkerMessage]) {
      assert.deepEqual(read(enveloped({ type: "talk", channel: "a", data: 1 })), {
        type: "talk",
        channel: "a",
        data: 1,
      });
      assert.equal(read({ protocol: "plinth.workers/1", type: "talk", channel: "", data: 1 }), undefined);
    }
  });
});
