import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { describe, it } from "node:test";
import { type Clock, createLogger } from "@plinth/kernel";
import { FakeClock, MemoryLog, until } from "@plinth/kernel/testing";
import { echo, httpInstance, openRoute, rawClient, startGateway } from "../testing/kit.ts";
import { oldLimitBytes } from "./heap-use.ts";
import { Shedder } from "./shedder.ts";

/** An instance whose replies wait until the test sends them. */
async function waiting() {
  const held: ServerResponse[] = [];
  const instance = await httpInstance((request, response) => {
    held.push(response);
    request.resume();
  });
  const next = async (): Promise<void> => {
    const response = await until(() => held.shift());
    response.end("done");
  };
  return { held, next, port: instance.port, [Symbol.asyncDispose]: () => instance.close() };
}

describe("a route's cap on requests at one time", () => {
  const get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

  it("refuses what comes beyond it, and gives each place back however its request ends", async () => {
    await using instance = await waiting();
    await using running = await startGateway({ routes: [openRoute({ concurrency: { maxInFlight: 2 } })] });
    await running.add(instance);
    const first = fetch(running.url);
    const leaver = await rawClient(running.gateway.port);
    leaver.send(get);
    await until(() => instance.held.length === 2);
    const refused = await fetch(running.url);
    assert.deepEqual([refused.status, refused.headers.get("retry-after")], [503, "1"]);
    assert.match(await refused.text(), /"reason":"concurrency_limited".*"retryable":true/);
    assert.match(await running.metrics(), /gateway_concurrency_in_flight\{route="all"\} 2/);
    leaver.socket.destroy();
    await until(async () => /gateway_concurrency_in_flight\{route="all"\} 1/.test(await running.metrics()));
    await instance.next();
    await instance.next().catch(() => undefined);
    assert.equal((await first).status, 200);
    await until(async () => /gateway_concurrency_in_flight\{route="all"\} 0/.test(await running.metrics()));
  });

  it("lets so many wait for a place, and forgets those who leave", async () => {
    await using instance = await waiting();
    const concurrency = { maxInFlight: 1, maxQueue: 1, maxWaitMs: 600_000 };
    await using running = await startGateway({ routes: [openRoute({ concurrency })] });
    await running.add(instance);
    const first = fetch(running.url);
    await until(() => instance.held.length === 1);
    const leaver = await rawClient(running.gateway.port);
    leaver.send(get);
    const waits = (count: number) =>
      until(async () => (await running.metrics()).includes(`gateway_concurrency_waiting{route="all"} ${count}\n`));
    await waits(1);
    assert.equal((await fetch(running.url)).status, 503, "the queue is full");
    leaver.socket.destroy();
    await waits(0);
    const second = fetch(running.url);
    await waits(1);
    await instance.next();
    assert.equal((await first).status, 200);
    await instance.next();
    assert.equal((await second).status, 200);
  });

  it("keeps none waiting beyond the time of the route", async () => {
    await using instance = await waiting();
    const concurrency = { maxInFlight: 1, maxQueue: 5, maxWaitMs: 600_000 };
    const route = openRoute({ concurrency, timeoutMs: 100 });
    await using running = await startGateway({ routes: [route] });
    await running.add(instance);
    const replies = await Promise.all([fetch(running.url), fetch(running.url), fetch(running.url)]);
    assert.ok(replies.every(({ status }) => status === 504 || status === 503));
    await until(async () => /gateway_concurrency_waiting\{route="all"\} 0/.test(await running.metrics()));
    await until(async () => /gateway_concurrency_in_flight\{route="all"\} 0/.test(await running.metrics()));
  });

  it("takes other limits over for what is under way when the document changes", async () => {
    await using instance = await waiting();
    const routeOf = (maxInFlight: number) => openRoute({ concurrency: { maxInFlight } });
    await using running = await startGateway({ routes: [routeOf(1)] });
    await running.add(instance);
    const first = fetch(running.url);
    await until(() => instance.held.length === 1);
    await running.gateway.reload({ routes: [routeOf(2)] });
    const second = fetch(running.url);
    await until(() => instance.held.length === 2);
    assert.equal((await fetch(running.url)).status, 503, "the one from before the change counts");
    await instance.next();
    await instance.next();
    assert.deepEqual([(await first).status, (await second).status], [200, 200]);
  });
});

describe("a gateway that has too much to do", () => {
  it("refuses the less important first, the critical never, and none when it keeps up again", async () => {
    const fake = new FakeClock();
    let stalledMs = 0;
    const clock: Clock = {
      now: () => fake.now(),
      monotonicMs: () => fake.monotonicMs() + stalledMs,
      schedule: (delayMs, task) => fake.schedule(delayMs, task),
    };
    const shedder = new Shedder({ maxLoopDelayMs: 100, maxHeapRatio: 0, clock });
    const refused = () => (["low", "normal", "high", "critical"] as const).filter((each) => shedder.refuses(each));
    shedder.start();
    shedder.start();
    assert.equal(fake.pending, 1);
    assert.deepEqual(refused(), []);
    const found: string[][] = [];
    for (const lateMs of [50, 51, 101, 201, 1_000_000]) {
      stalledMs = 50 + lateMs;
      found.push(refused());
    }
    const upTo = ["low", "normal", "high"];
    assert.deepEqual(found, [[], ["low"], ["low", "normal"], upTo, upTo]);
    await fake.advance(50);
    assert.deepEqual(refused(), upTo, "the sample was late");
    await fake.advance(50);
    assert.deepEqual(refused(), []);
    shedder.close();
    assert.equal(fake.pending, 0);
    const never = new Shedder({ maxLoopDelayMs: 0, maxHeapRatio: 0, clock });
    never.start();
    stalledMs += 10_000;
    assert.equal(never.refuses("low"), false);
  });

  it("refuses by what a collection leaves of the heap, for as long as that is known, and looks at none while there is room", async () => {
    const clock = new FakeClock();
    const listeners = new Set<() => void>();
    const heap = {
      used: 0,
      usedRatio: () => heap.used,
      onCollected(listener: () => void) {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    };
    const memory = new MemoryLog();
    const log = await createLogger({ destination: memory });
    const told = () => memory.lines.map(({ level, message }) => `${String(level)} ${String(message).slice(0, 23)}`);
    const shedder = new Shedder({ maxLoopDelayMs: 0, maxHeapRatio: 0.9, clock, heap, log });
    const refused = () => (["low", "normal", "high", "critical"] as const).filter((each) => shedder.refuses(each));
    const collect = (leaves: number): string[] => {
      heap.used = leaves;
      for (const listener of listeners) listener();
      return refused();
    };
    shedder.start();
    shedder.start();
    assert.equal(clock.pending, 1);
    await clock.advance(100);
    assert.equal(listeners.size, 0, "far from full");
    heap.used = 0.98;
    await clock.advance(100);
    assert.deepEqual([refused(), listeners.size], [[], 1], "what is in use may be garbage");
    const upTo = ["low", "normal", "high"];
    assert.deepEqual([0.84, 0.86, 0.91, 0.96, 1].map(collect), [[], ["low"], ["low", "normal"], upTo, upTo]);
    await clock.advance(1_900);
    assert.deepEqual(refused(), upTo);
    await clock.advance(200);
    assert.deepEqual(refused(), [], "without requests there may be no collection that tells of what has gone");
    assert.deepEqual(collect(0.96), upTo);
    assert.deepEqual(told(), ["warn the heap is nearly full"]);
    heap.used = 0.3;
    await clock.advance(100);
    assert.deepEqual([refused(), listeners.size], [[], 0]);
    assert.deepEqual(told().slice(1), ["info the heap has room again"]);
    heap.used = 1;
    await clock.advance(100);
    assert.deepEqual(collect(1), upTo);
    shedder.close();
    shedder.close();
    assert.deepEqual([refused(), listeners.size, clock.pending], [[], 0, 0]);
  });

  it("counts what has survived against the room that there is for that", () => {
    const mb = 2 ** 20;
    for (const [limitMb, flags, expectedMb] of [
      [256, "--max-old-space-size=160", 160],
      [256, "--max-old-space-size=512 --x --max_old_space_size 160", 160],
      [4_192, "", 4_096],
      [256, "--max-old-space-size=", 192],
      [160, "--max-old-space-size=999", 120],
    ] as const) {
      assert.equal(oldLimitBytes(limitMb * mb, flags), expectedMb * mb, flags);
    }
  });

  it("answers 503 with its reason, for routes of less importance alone", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({
      routes: [
        openRoute({ name: "background", match: { path: "/background" }, importance: "low" }),
        openRoute({ name: "vital", match: { path: "/vital" }, importance: "critical" }),
      ],
      settings: { maxLoopDelayMs: 2 },
    });
    await running.add(instance);
    let replies: Response[] = [];
    // A loop that runs late: each turn takes longer than the threshold.
    const busy = setInterval(() => {
      const endMs = performance.now() + 120;
      while (performance.now() < endMs);
    }, 0);
    try {
      replies = await until(async () => {
        const [low, critical] = await Promise.all([fetch(`${running.url}/background`), fetch(`${running.url}/vital`)]);
        return low?.status === 503 && critical ? [low, critical] : undefined;
      });
    } finally {
      clearInterval(busy);
    }
    assert.deepEqual(
      replies.map(({ status }) => status),
      [503, 200],
    );
    assert.match(String(await replies[0]?.text()), /"reason":"gateway_overloaded".*"retryable":true/);
  });
});
