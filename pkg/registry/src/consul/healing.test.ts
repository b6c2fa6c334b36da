import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock, until } from "@plinth/kernel/testing";
import type { Readiness, RegistryEvent } from "../registry.ts";
import type { Script, ScriptedAnswer, ScriptedRequest } from "../testing/index.ts";
import {
  failing,
  fine,
  instance,
  isAlive,
  isDeregister,
  isInspect,
  isMaintenance,
  isReadyCheck,
  isRegister,
  type Kept,
  kept,
} from "../testing/kept-registry.ts";
import type { ConsulRegistryOptions } from "./consul-registry.ts";

const ttlMs = 16_000;
const heartbeatMs = ttlMs / 4;

interface Timed extends Kept {
  readonly clock: FakeClock;
  /** Resolves when nothing is under way and the next try waits for the clock. */
  idle(): Promise<void>;
  /** What has been asked since the last call. */
  asked(): string[];
}

/** As {@link kept}, with a clock that stands still and no jitter. */
async function timed(script: Script, options: ConsulRegistryOptions = {}): Promise<Timed> {
  const clock = new FakeClock();
  const test = await kept(script, { clock, ttlMs, requestTimeoutMs: 3_000, random: () => 0.5, ...options });
  const count = (type: RegistryEvent["type"]): number => test.events.filter((event) => event.type === type).length;
  let seen = 0;
  return {
    ...test,
    clock,
    async idle() {
      await until(() => count("request_begun") === count("request_ended") && clock.pending === 1);
    },
    asked() {
      const since = test.agent.requests.slice(seen);
      seen = test.agent.requests.length;
      return since.map(nameOf);
    },
  };
}

function nameOf(request: ScriptedRequest): string {
  if (isRegister(request)) return request.query.has("replace-existing-checks") ? "register anew" : "register";
  if (isAlive(request)) return "alive";
  if (isReadyCheck(request)) return "ready";
  if (isInspect(request)) return "inspect";
  if (isMaintenance(request)) return `maintenance ${request.query.get("reason") ?? "off"}`;
  return isDeregister(request) ? "deregister" : request.path;
}

const codesOf = ({ events }: Kept): string[] =>
  events.flatMap((event) => (event.type === "registration_failed" ? [event.error.code] : []));

describe("a registration that heals", { timeout: 20_000 }, () => {
  it("looks at its entry and sends a heartbeat once for each beat, and nothing else", async () => {
    await using test = await timed(fine);
    await test.own.register(instance);
    assert.deepEqual(test.asked(), ["register anew", "alive", "ready"]);
    for (let beat = 0; beat < 3; beat++) {
      await test.idle();
      await test.clock.advance(heartbeatMs - 1);
      assert.deepEqual(test.asked(), []);
      await test.clock.advance(1);
      await test.agent.received(isReadyCheck, beat + 2);
      assert.deepEqual(test.asked(), ["inspect", "alive", "ready"]);
    }
  });

  it("goes by the monotonic clock: steps of the wall clock change nothing", async () => {
    let stepMs = 0;
    class SteppingClock extends FakeClock {
      override now(): number {
        return super.now() + stepMs;
      }
    }
    const clock = new SteppingClock();
    await using test = await timed(fine, { clock });
    await test.own.register(instance);
    for (const step of [86_400_000, -86_400_000]) {
      test.asked();
      await until(() => clock.pending === 1);
      stepMs += step;
      await clock.advance(heartbeatMs - 1);
      assert.deepEqual(test.asked(), []);
      await clock.advance(1);
      await until(() => test.agent.requests.filter(isReadyCheck).length === (step > 0 ? 2 : 3));
      assert.deepEqual(test.asked(), ["inspect", "alive", "ready"]);
    }
    assert.deepEqual(test.states(), ["registered"]);
  });

  for (const [what, forgets] of [
    ["a wiped agent, or one that removed it as critical for too long", isInspect],
    ["an agent that has lost its checks", isAlive],
  ] as const) {
    it(`is registered again at the next heartbeat, once, at ${what}`, async () => {
      await using test = await timed(fine);
      await test.own.register(instance);
      await test.idle();
      test.asked();
      test.agent.play(failing(forgets, { status: 404, body: "unknown" }, 1));
      await test.clock.advance(heartbeatMs);
      await test.became("registered", 2);
      await test.idle();
      const asked = test.asked();
      assert.deepEqual(asked.slice(asked.indexOf("register")), ["register", "alive", "ready"]);
      assert.equal(asked.filter((each) => each === "register").length, 1);
      assert.deepEqual(test.states(), ["registered", "lost", "registered"]);
    });
  }

  for (const [field, other] of [
    ["service", { Service: "others" }],
    ["address", { Address: "10.9.9.9" }],
    ["port", { Port: 9 }],
    ["tags", { Tags: ["theirs"] }],
    ["metadata", { Meta: {} }],
    ["weights", { Weights: { Passing: 9, Warning: 1 } }],
  ] as const) {
    it(`takes its entry back at the next heartbeat from a process that wrote another ${field} under its id`, async () => {
      await using test = await timed(fine);
      await test.own.register(instance);
      await test.idle();
      test.asked();
      const own = test.agent.requests.find(isRegister)!.body as Record<string, unknown>;
      test.agent.play(failing(isInspect, { body: { ...own, Service: "notes", ...other } }, 1));
      await test.clock.advance(heartbeatMs);
      await test.became("registered", 2);
      assert.deepEqual(test.asked(), ["inspect", "register anew", "alive", "ready"], "with none of the other's checks");
      const failed = test.events.find(({ type }) => type === "registration_failed");
      assert.ok(failed?.type === "registration_failed");
      assert.equal(failed.error.code, "ERR_REGISTRY_OVERWRITTEN");
      assert.match(failed.error.message, new RegExp(`another entry under notes-1, with other ${field};`));
    });
  }

  it("does not fight faster than its heartbeat with a process that keeps coming back, and counts how often it did", async () => {
    await using test = await timed(fine);
    await test.own.register(instance);
    test.agent.play((request) => (isInspect(request) ? { body: { Service: "others" } } : {}));
    for (let beat = 1; beat <= 3; beat++) {
      await test.idle();
      test.asked();
      await test.clock.advance(heartbeatMs);
      await test.became("registered", beat + 1);
      assert.deepEqual(test.asked(), ["inspect", "register anew", "alive", "ready"]);
    }
    const counts = test.events.flatMap((event) => (event.type === "registration_failed" ? [event.failures] : []));
    assert.deepEqual(counts, [1, 2, 3], "the third in a row is reported");
  });

  it("asks nothing more once it was refused for good", async () => {
    await using test = await timed(failing(isRegister, { status: 400, body: "Invalid service name" }));
    await assert.rejects(test.own.register(instance), { code: "ERR_REGISTRY_REJECTED" });
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
    assert.deepEqual([test.clock.pending, test.states()], [0, ["left"]]);
    await test.clock.advance(heartbeatMs);
    assert.deepEqual(test.asked(), ["register anew"]);
  });

  it("does not register again what it cannot read, and says so", async () => {
    await using test = await timed(fine);
    await test.own.register(instance);
    await test.idle();
    test.asked();
    test.agent.play(failing(isInspect, { body: "<html>" }, 1));
    await test.clock.advance(heartbeatMs);
    await test.became("lost");
    assert.deepEqual(codesOf(test), ["ERR_REGISTRY_RESPONSE"]);
    await test.clock.advance(100);
    await test.became("registered", 2);
    assert.equal(test.agent.requests.filter(isRegister).length, 1);
  });

  it("asks an agent that denies it once for each heartbeat, tells of it, and is registered at the first after that ends", async () => {
    const denied: ScriptedAnswer = { status: 403, body: "Permission denied" };
    await using test = await timed(() => denied);
    const registration = await test.own.register(instance);
    assert.deepEqual([registration.state, registration.error?.code], ["pending", "ERR_REGISTRY_DENIED"]);
    for (let beat = 0; beat < 3; beat++) {
      await test.idle();
      test.asked();
      await test.clock.advance(heartbeatMs);
      await test.agent.received(isRegister, beat + 2);
      assert.deepEqual(test.asked(), ["register anew"]);
    }
    await test.idle();
    test.agent.play(fine);
    await test.clock.advance(heartbeatMs);
    await test.became("registered");
    await test.idle();
    test.agent.play(() => denied); // a token that is revoked
    test.asked();
    await test.clock.advance(heartbeatMs);
    await test.became("lost");
    await test.idle();
    assert.deepEqual(test.asked(), ["inspect"]);
    test.agent.play(fine);
    await test.clock.advance(heartbeatMs);
    await test.became("registered", 2);
    assert.deepEqual(test.asked(), ["inspect", "alive", "ready"], "its entry is as it was");
  });

  it("asks an agent that is away ever less often, and in the end as often as it would send heartbeats", async () => {
    await using test = await timed(() => "cut", { random: () => 0.75 });
    await test.own.register(instance);
    const gaps: number[] = [];
    for (let failures = 1; failures <= 9; failures++) {
      await test.idle();
      const before = test.agent.requests.length;
      let waitedMs = 0;
      while (test.events.filter(({ type }) => type === "request_begun").length === before) {
        await test.clock.advance(1);
        waitedMs++;
      }
      gaps.push(waitedMs);
      await until(() => test.agent.requests.length === before + 1);
    }
    assert.deepEqual(gaps, [75, 150, 300, 600, 1_200, 2_400, 4_200, 4_200, 4_200]);
  });
});

describe("what a registration tells", { timeout: 20_000 }, () => {
  it("tells of readiness in three words, with fixed texts", async () => {
    await using test = await timed(fine);
    let now: Readiness = "passing";
    await test.own.register(instance, { readiness: () => now });
    for (const next of ["warning", "critical", "passing"] as const) {
      await test.idle();
      now = next;
      await test.clock.advance(heartbeatMs);
      await until(() => test.events.filter(({ type }) => type === "readiness").length > 0);
      await test.idle();
    }
    assert.deepEqual(
      test.agent.requests.filter(isReadyCheck).map(({ body }) => body),
      [
        { Status: "passing", Output: "ready" },
        { Status: "warning", Output: "degraded" },
        { Status: "critical", Output: "not ready" },
        { Status: "passing", Output: "ready" },
      ],
    );
    const changes = test.events.flatMap((event) =>
      event.type === "readiness" ? [`${event.previous} to ${event.readiness}`] : [],
    );
    assert.deepEqual(changes, ["passing to warning", "warning to critical", "critical to passing"]);
  });

  it("tells of a changed readiness within half a second, twice a second at most, and when it has flapped what it is in the end", async () => {
    await using test = await timed(fine);
    let now: Readiness = "passing";
    let change = (): void => {};
    let ended = 0;
    await test.own.register(instance, {
      readiness: () => now,
      onReadiness: (onChange) => {
        change = onChange;
        return () => void ended++;
      },
    });
    const flip = (next: Readiness): void => {
      now = next;
      change();
    };
    await test.idle();
    test.asked();
    await test.clock.advance(2_000);
    flip("critical"); // the last round is long ago
    await until(() => test.agent.requests.filter(isReadyCheck).length === 2);
    assert.deepEqual(test.agent.requests.at(-1)!.body, { Status: "critical", Output: "not ready" });
    await test.idle();
    test.asked();
    for (let at = 0; at < 50; at++) flip(at % 2 === 0 ? "warning" : "critical");
    flip("passing");
    await test.clock.advance(499);
    assert.deepEqual(test.asked(), []);
    await test.clock.advance(1);
    await until(() => test.agent.requests.filter(isReadyCheck).length === 3);
    await test.idle();
    assert.deepEqual(test.asked(), ["inspect", "alive", "ready"]);
    assert.deepEqual(test.agent.requests.at(-1)!.body, { Status: "passing", Output: "ready" });
    await test.clock.advance(heartbeatMs - 1);
    assert.deepEqual(test.asked(), [], "the next is a heartbeat again");
    assert.equal(ended, 0);
    await test.own.close();
    flip("critical");
    assert.deepEqual([ended, test.asked()], [1, ["deregister"]]);
  });

  it("tells of a readiness that changed during the first try after it", async () => {
    const held = Promise.withResolvers<ScriptedAnswer>();
    await using test = await timed((request) => (isReadyCheck(request) ? held.promise : {}));
    let now: Readiness = "critical";
    let change = (): void => {};
    const registering = test.own.register(instance, {
      readiness: () => now,
      onReadiness: (onChange) => {
        change = onChange;
        return () => {};
      },
    });
    await test.agent.received(isReadyCheck);
    now = "passing";
    change();
    held.resolve({});
    await registering;
    await test.idle();
    await test.clock.advance(500);
    const second = await test.agent.received(isReadyCheck, 2);
    assert.deepEqual(second.body, { Status: "passing", Output: "ready" });
  });

  it("tries no more often, while the agent is away, for a readiness that flaps", async () => {
    await using test = await timed(fine);
    let change = (): void => {};
    await test.own.register(instance, {
      onReadiness: (onChange) => {
        change = onChange;
        return () => {};
      },
    });
    await test.idle();
    test.agent.play(() => ({ status: 403 }));
    await test.clock.advance(heartbeatMs);
    await test.became("lost");
    await test.idle();
    test.asked();
    for (let at = 0; at < 10; at++) {
      change();
      await test.clock.advance(heartbeatMs / 10 - 1);
    }
    assert.deepEqual(test.asked(), []);
  });

  it("updates its entry at once, under the same id, and keeps the checks that others have put there", async () => {
    await using test = await timed(fine);
    const registration = await test.own.register({ ...instance, tags: ["blue"], weight: 2 });
    await test.idle();
    test.asked();
    await registration.update({ tags: ["green"], weight: 7 });
    assert.deepEqual(test.asked(), ["register", "alive", "ready"]);
    const { ID, Tags, Weights } = test.agent.requests.findLast(isRegister)!.body as Record<string, unknown>;
    assert.deepEqual([ID, Tags, Weights], ["notes-1", ["green"], { Passing: 7, Warning: 7 }]);
    assert.deepEqual([registration.instance.tags, registration.instance.weight], [["green"], 7]);
    await registration.update({ weight: 7 });
    assert.deepEqual(test.asked(), [], "nothing has changed");
    assert.equal(test.events.filter(({ type }) => type === "registration_updated").length, 1);
    assert.deepEqual(test.states(), ["registered"]);
  });

  it("sends several updates at once as one, the last word of each field counting", async () => {
    await using test = await timed(fine);
    const registration = await test.own.register(instance);
    await test.idle();
    test.asked();
    await Promise.all([
      registration.update({ tags: ["a"] }),
      registration.update({ weight: 3 }),
      registration.update({ tags: ["b"] }),
    ]);
    assert.deepEqual(test.asked(), ["register", "alive", "ready"]);
    const { Tags, Weights } = test.agent.requests.findLast(isRegister)!.body as Record<string, unknown>;
    assert.deepEqual([Tags, Weights], [["b"], { Passing: 3, Warning: 3 }]);
  });

  it("refuses an update that nobody could use, and one that the agent refuses; both leave it as it was", async () => {
    await using test = await timed(fine);
    const registration = await test.own.register(instance);
    await test.idle();
    test.asked();
    await assert.rejects(registration.update({ weight: 0 }), { code: "ERR_REGISTRY_INSTANCE" });
    assert.deepEqual(test.asked(), []);
    test.agent.play(failing(isRegister, { status: 400, body: "Invalid tag" }, 1));
    await assert.rejects(registration.update({ tags: ["bad"] }), {
      code: "ERR_REGISTRY_REJECTED",
      message: /Invalid tag/,
    });
    await test.idle();
    assert.deepEqual(test.asked(), ["register", "inspect", "alive", "ready"]);
    assert.deepEqual([registration.instance.tags, registration.state], [[], "registered"]);
  });

  it("makes an update as soon as an agent that is away is back", async () => {
    await using test = await timed(fine);
    const registration = await test.own.register(instance);
    await test.idle();
    test.agent.play(() => ({ status: 500, body: "No cluster leader" }));
    await registration.update({ weight: 5 });
    assert.deepEqual([registration.state, registration.instance.weight], ["lost", 5]);
    test.agent.play(fine);
    await test.clock.advance(heartbeatMs);
    await test.became("registered", 2);
    const { Weights } = test.agent.requests.findLast(isRegister)!.body as Record<string, unknown>;
    assert.deepEqual(Weights, { Passing: 5, Warning: 5 });
  });

  it("is in maintenance at once, critical by itself too, and out of it again", async () => {
    await using test = await timed(fine);
    const registration = await test.own.register(instance);
    await test.idle();
    test.asked();
    await registration.maintenance("rebuilding the index");
    assert.equal(registration.maintenanceReason, "rebuilding the index");
    assert.deepEqual(test.asked(), ["inspect", "maintenance rebuilding the index", "alive", "ready"]);
    assert.deepEqual(test.agent.requests.at(-1)!.body, { Status: "critical", Output: "in maintenance" });
    await registration.maintenance("still at it");
    assert.deepEqual(test.asked(), ["inspect", "maintenance off", "maintenance still at it", "alive", "ready"]);
    await registration.maintenance(undefined);
    assert.equal(registration.maintenanceReason, undefined);
    assert.deepEqual(test.asked(), ["inspect", "maintenance off", "alive", "ready"]);
    assert.deepEqual(test.agent.requests.at(-1)!.body, { Status: "passing", Output: "ready" });
    await test.idle();
    await test.clock.advance(heartbeatMs);
    await until(() => test.agent.requests.filter(isReadyCheck).length === 5);
    assert.deepEqual(test.asked(), ["inspect", "alive", "ready"], "what was told is not told again");
    const reasons = test.events.flatMap((event) => (event.type === "maintenance" ? [event.reason] : []));
    assert.deepEqual(reasons, ["rebuilding the index", "still at it", undefined]);
    assert.deepEqual(test.states(), ["registered"]);
  });

  it("is in maintenance still after the agent has forgotten it, and critical from the first moment", async () => {
    await using test = await timed(fine);
    const registration = await test.own.register(instance);
    await registration.maintenance("rebuilding");
    await test.idle();
    test.asked();
    test.agent.play(failing(isInspect, { status: 404 }, 1));
    await test.clock.advance(heartbeatMs);
    await test.became("registered", 2);
    assert.deepEqual(test.asked(), ["inspect", "register", "maintenance rebuilding", "alive", "ready"]);
    const { Checks: checks } = test.agent.requests.findLast(isRegister)!.body as { Checks: { Status: string }[] };
    assert.deepEqual(
      checks.map(({ Status }) => Status),
      ["passing", "critical"],
    );
  });

  it("changes nothing more once it is being deregistered", async () => {
    const held = Promise.withResolvers<ScriptedAnswer>();
    await using test = await timed(fine);
    const registration = await test.own.register(instance);
    await test.idle();
    test.agent.play((request) => (isInspect(request) ? held.promise : {}));
    const waiting = registration.maintenance("too late");
    const refused = assert.rejects(waiting, {
      code: "ERR_REGISTRY_CLOSED",
      message: /registration of notes-1 is closed/,
    });
    await test.agent.received(isInspect);
    const leaving = registration.deregister();
    await refused;
    await leaving;
    held.resolve({});
    for (const late of [registration.update({ weight: 3 }), registration.maintenance(undefined)])
      await assert.rejects(late, { code: "ERR_REGISTRY_CLOSED" });
    assert.deepEqual([nameOf(test.agent.requests.at(-1)!), registration.instance.weight], ["deregister", 1]);
  });

  it("gives up waiting when told, and goes on with what was asked", async () => {
    const held = Promise.withResolvers<ScriptedAnswer>();
    await using test = await timed(fine);
    const registration = await test.own.register(instance);
    await test.idle();
    test.agent.play((request) => (isRegister(request) ? held.promise : {}));
    const stop = new AbortController();
    const waiting = registration.update({ weight: 3 }, { signal: stop.signal });
    await test.agent.received(isRegister, 2);
    stop.abort(new Error("no time"));
    await assert.rejects(waiting, { message: "no time" });
    held.resolve({});
    await test.idle();
    assert.equal(test.events.filter(({ type }) => type === "registration_updated").length, 1);
    await assert.rejects(registration.update({ weight: 9 }, { signal: stop.signal }), { message: "no time" });
    assert.equal(registration.instance.weight, 3);
  });
});
