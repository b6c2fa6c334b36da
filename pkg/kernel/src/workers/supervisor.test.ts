import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openLogger } from "../logger/pino.ts";
import { checkLeaks, FakeClock, MemoryLog } from "../testing/index.ts";
import { enveloped, type PrimaryMessage, type WorkerMessage } from "./messages.ts";
import type { RestartReason } from "./slot.ts";
import { Supervisor, type SupervisorOptions } from "./supervisor.ts";
import type { Fork, WorkerEnd, WorkerEvents } from "./worker-process.ts";

/** A worker process that does what a test says. */
class FakeWorker {
  readonly number: number;
  readonly pid: number;
  readonly sent: PrimaryMessage[] = [];
  readonly #events: WorkerEvents;
  isKilled = false;
  isOver = false;

  constructor(number: number, pid: number, events: WorkerEvents) {
    this.number = number;
    this.pid = pid;
    this.#events = events;
  }

  send(message: PrimaryMessage): void {
    this.sent.push(message);
  }

  kill(): void {
    this.isKilled = true;
    this.end({ code: null, signal: "SIGKILL" });
  }

  tell(message: WorkerMessage): void {
    this.#events.onMessage(enveloped(message));
  }

  tellRaw(message: unknown): void {
    this.#events.onMessage(message);
  }

  /** As a process that has run its apps to their end. */
  endInOrder(code = 0, told = ""): void {
    this.tell({ type: "ended", code, told });
    this.end({ code, signal: null });
  }

  end(end: WorkerEnd): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#events.onEnd(end);
  }
}

function setUp(options: Partial<SupervisorOptions> = {}) {
  const clock = new FakeClock();
  const log = new MemoryLog();
  const forked: FakeWorker[] = [];
  const restarts: RestartReason[] = [];
  const ended: number[] = [];
  const heard: WorkerMessage[] = [];
  const fork: Fork = (number, events) => {
    const worker = new FakeWorker(number, 1_000 + forked.length, events);
    forked.push(worker);
    return worker;
  };
  const supervisor = new Supervisor({
    name: "workers of notes",
    count: 2,
    maxFailedStarts: 3,
    fork,
    clock,
    random: () => 0.5,
    log: openLogger({ destination: log }),
    onMessage: (_, message) => void heard.push(message),
    onEnd: ({ index }) => void ended.push(index),
    onRestart: (reason) => void restarts.push(reason),
    unlisten: async () => {},
    ...options,
  });
  const start = (signal = new AbortController().signal): Promise<void> => supervisor.start({ signal });
  /** The one forked last in the place of that number. */
  const worker = (number: number): FakeWorker => {
    const found = forked.findLast((each) => each.number === number);
    assert.ok(found, `worker ${number} was never forked`);
    return found;
  };
  const startAll = async (): Promise<void> => {
    const started = start();
    for (const each of forked) each.tell({ type: "ready" });
    await started;
  };
  return { clock, log, forked, restarts, ended, heard, supervisor, start, worker, startAll };
}

const settledWithin = async (promise: Promise<unknown>): Promise<boolean> => {
  const pending = Symbol("pending");
  const later = new Promise((resolve) => void setImmediate(resolve, pending));
  return (await Promise.race([promise.then(null, () => undefined), later])) !== pending;
};

describe("a supervisor at its start", () => {
  it("forks all workers at once, is up with the first that is ready, and tells when all are", async () => {
    await using _ = checkLeaks();
    const { start, forked, worker, log, supervisor } = setUp({ count: 3 });
    const started = start();
    assert.deepEqual(
      forked.map(({ number }) => number),
      [1, 2, 3],
    );
    assert.equal(await settledWithin(started), false);
    worker(2).tell({ type: "ready" });
    await started;
    assert.equal(log.withMessage("all workers ready").length, 0);
    worker(1).tell({ type: "ready" });
    worker(3).tell({ type: "ready" });
    worker(3).tell({ type: "ready" });
    assert.deepEqual(
      log.withMessage("worker ready").map(({ worker: number }) => number),
      [2, 1, 3],
    );
    assert.deepEqual(
      log.withMessage("all workers ready").map(({ count }) => count),
      [3],
    );
    const stopped = supervisor.stop();
    for (const each of forked) each.endInOrder();
    await stopped;
  });

  it("gives up when one does not start, with its exit code and what it told, and starts no other", async () => {
    const { start, worker, clock, forked, supervisor, log } = setUp();
    const started = start();
    const failed = assert.rejects(started, {
      name: "WorkersError",
      code: "ERR_WORKERS_CRASH_LOOP",
      status: "failed_precondition",
      message:
        "worker 1 failed to start 3 times in a row; at last it ended with exit code 1: notes did not start: no such bucket; mend that, and start again",
    });
    for (let tries = 1; tries <= 3; tries++) {
      worker(1).endInOrder(1, "notes did not start: no such bucket");
      await clock.advance(10_000);
    }
    await failed;
    assert.deepEqual(
      forked.map(({ number }) => number),
      [1, 2, 1, 1],
    );
    assert.equal(log.withMessage("worker does not start").length, 1);
    const stopped = supervisor.stop();
    assert.deepEqual(worker(2).sent, [{ type: "stop" }]);
    worker(2).endInOrder();
    await stopped;
    await clock.advance(60_000);
    assert.equal(forked.length, 4);
    assert.equal(clock.pending, 0);
  });

  it("gives up after workers were ready too, and tells it as its failure", async () => {
    const { startAll, worker, clock, supervisor } = setUp();
    await startAll();
    for (let ends = 1; ends <= 4; ends++) {
      worker(2).end({ code: 7, signal: null });
      await clock.advance(10_000);
    }
    assert.match(
      String(await supervisor.failure),
      /worker 2 failed to start 3 times in a row; at last it ended with exit code 7;/,
    );
  });

  it("counts failures of the same worker in a row alone: one that got up once begins anew", async () => {
    const { startAll, worker, clock, supervisor } = setUp();
    await startAll();
    for (let round = 0; round < 4; round++) {
      for (const number of [1, 2]) {
        worker(number).end({ code: 1, signal: null });
        await clock.advance(10_000);
        worker(number).end({ code: 1, signal: null }); // failed to start once
        await clock.advance(10_000);
        worker(number).end({ code: 1, signal: null }); // and twice
        await clock.advance(10_000);
        worker(number).tell({ type: "ready" });
      }
    }
    assert.equal(await settledWithin(supervisor.failure), false);
  });

  it("takes a process that the system does not start for one that has failed", async () => {
    const { start, clock, supervisor } = setUp({
      count: 1,
      fork: () => {
        throw new Error("spawn EAGAIN");
      },
    });
    const failed = assert.rejects(start(), {
      message: /3 times in a row; at last it could not be started: spawn EAGAIN;/,
    });
    await clock.advance(60_000);
    await failed;
    await supervisor.stop();
  });

  it("is cancelled by its signal, and stops what it has started", async () => {
    const { start, supervisor, forked } = setUp();
    const cancel = new AbortController();
    const started = start(cancel.signal);
    cancel.abort(new Error("SIGTERM arrived"));
    await assert.rejects(started, { code: "ERR_WORKERS_STATE", status: "cancelled" });
    const stopped = supervisor.stop();
    for (const each of forked) each.endInOrder();
    await stopped;
  });
});

describe("a supervisor whose worker ends", () => {
  const ways = [
    { how: "is killed", end: { code: null, signal: "SIGKILL" }, reason: "signal" },
    { how: "crashes", end: { code: 1, signal: null }, reason: "failed" },
    { how: "was told to stop by somebody", end: { code: 0, signal: null }, reason: "ended" },
  ] as const;
  for (const { how, end, reason } of ways) {
    it(`starts another in its place when it ${how}, and counts why`, async () => {
      const { startAll, worker, clock, forked, restarts, ended } = setUp();
      await startAll();
      await clock.advance(60_000);
      worker(1).end(end);
      assert.deepEqual([ended, forked.length, restarts], [[1], 2, []]);
      await clock.advance(99);
      assert.equal(forked.length, 2);
      await clock.advance(1); // half of 200 ms: the jitter of this test
      assert.deepEqual([forked.length, forked[2]?.number, restarts], [3, 1, [reason]]);
      assert.ok(!worker(2).isOver);
    });
  }

  it("waits twice as long each time in a row, up to ten seconds, and briefly again after it was up for a while", async () => {
    const { startAll, worker, clock, log, supervisor } = setUp({ count: 1 });
    await startAll();
    for (let ends = 0; ends < 9; ends++) {
      worker(1).end({ code: 1, signal: null });
      await clock.advance(10_000);
      worker(1).tell({ type: "ready" });
    }
    await clock.advance(30_000);
    worker(1).end({ code: 1, signal: null });
    const waits = log.withMessage("worker ended").map(({ restartInMs }) => restartInMs);
    assert.deepEqual(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000, 100]);
    await supervisor.stop();
    assert.equal(clock.pending, 0);
  });

  it("passes over whatever is no message of a worker, and what comes of one that has ended", async () => {
    const { startAll, worker, clock, heard, supervisor } = setUp();
    await startAll();
    heard.length = 0;
    const old = worker(1);
    for (const garbage of [
      undefined,
      null,
      7,
      "ready",
      [],
      {},
      { type: "ready" },
      { protocol: "plinth.workers/2", type: "ready" },
    ])
      old.tellRaw(garbage);
    old.tellRaw({ protocol: "plinth.workers/1", type: "app", app: "x".repeat(10_000), stopMs: 1 });
    old.end({ code: 1, signal: null });
    await clock.advance(1_000);
    old.tell({ type: "ready" });
    old.end({ code: 1, signal: null });
    assert.deepEqual(heard, []);
    assert.deepEqual(
      supervisor.slots.map((slot) => slot.worker?.readyAtMs === undefined),
      [true, false],
    );
  });
});

describe("a supervisor whose worker stops alone", () => {
  it("lets it close its server at once, and goes on listening for the others", async () => {
    const asked: string[] = [];
    const { startAll, worker, clock } = setUp({ unlisten: async (place) => void asked.push(place) });
    await startAll();
    worker(2).tell({ type: "unlisten", id: 3, at: "127.0.0.1:8080" });
    await clock.advance(0);
    assert.deepEqual([worker(1).sent, worker(2).sent, asked], [[], [{ type: "unlistened", id: 3 }], []]);
  });
});

describe("a supervisor that is told to stop", () => {
  it("has all workers stop at once, waits for the last, and starts none again", async () => {
    const { startAll, worker, clock, forked, supervisor, restarts } = setUp();
    await startAll();
    const stopped = supervisor.stop();
    assert.equal(supervisor.stop(), stopped);
    assert.deepEqual(
      forked.map(({ sent }) => sent),
      [[{ type: "stop" }], [{ type: "stop" }]],
    );
    worker(1).endInOrder();
    assert.equal(await settledWithin(stopped), false);
    worker(2).endInOrder();
    await stopped;
    await clock.advance(60_000);
    assert.deepEqual([forked.length, restarts, clock.pending], [2, [], 0]);
  });

  it("lets none close its server before all that was accepted for it is handed out", async () => {
    const asked: string[] = [];
    const handedOut = Promise.withResolvers<void>();
    const unlisten = (place: string): Promise<void> => {
      asked.push(place);
      return handedOut.promise;
    };
    const { startAll, worker, clock, supervisor } = setUp({ unlisten });
    await startAll();
    const stopped = supervisor.stop();
    for (const [number, id] of [
      [1, 7],
      [2, 8],
    ] as const)
      worker(number).tell({ type: "unlisten", id, at: "127.0.0.1:8080" });
    await clock.advance(10);
    assert.deepEqual(asked, ["127.0.0.1:8080", "127.0.0.1:8080"]);
    assert.deepEqual([worker(1).sent, worker(2).sent], [[{ type: "stop" }], [{ type: "stop" }]]);
    handedOut.resolve();
    await clock.advance(0);
    assert.deepEqual(worker(1).sent.at(-1), { type: "unlistened", id: 7 });
    assert.deepEqual(worker(2).sent.at(-1), { type: "unlistened", id: 8 });
    worker(1).endInOrder();
    worker(2).endInOrder();
    await stopped;
  });

  it("lets them close also when that fails, and says so", async () => {
    const { startAll, worker, clock, log, supervisor } = setUp({
      count: 1,
      unlisten: () => Promise.reject(new Error("no such function")),
    });
    await startAll();
    const stopped = supervisor.stop();
    worker(1).tell({ type: "unlisten", id: 7, at: "127.0.0.1:8080" });
    await clock.advance(0);
    assert.deepEqual(worker(1).sent.at(-1), { type: "unlistened", id: 7 });
    const [line] = log.withMessage("connections may be lost at the end");
    assert.equal(line?.at, "127.0.0.1:8080");
    assert.match(JSON.stringify(line), /no such function/);
    worker(1).endInOrder();
    await stopped;
  });

  it("does not start the one again that was being waited for", async () => {
    const { startAll, worker, clock, forked, supervisor } = setUp();
    await startAll();
    worker(1).end({ code: 1, signal: null });
    const stopped = supervisor.stop();
    worker(2).endInOrder();
    await stopped;
    await clock.advance(60_000);
    assert.equal(forked.length, 2);
  });

  it("tells of each that did not stop in order, whatever its process then ended with", async () => {
    const { startAll, worker, supervisor } = setUp({ count: 4 });
    await startAll();
    const stopped = supervisor.stop();
    worker(1).tell({ type: "ended", code: 1, told: "notes did not stop in order: 1 hook failed" });
    worker(1).end({ code: 0, signal: null });
    worker(2).end({ code: null, signal: "SIGSEGV" });
    worker(3).endInOrder();
    worker(4).end({ code: 0, signal: null }); // it was up, and never came to an end of its apps
    await assert.rejects(stopped, {
      code: "ERR_WORKERS_STOP",
      message:
        "worker 1 ended with exit code 0: notes did not stop in order: 1 hook failed; worker 2 was ended by SIGSEGV; worker 4 ended with exit code 0",
    });
  });

  it("forgives one that Ctrl-C ended before it listened to signals", async () => {
    const { start, worker, supervisor } = setUp();
    const started = start();
    worker(1).tell({ type: "ready" });
    await started;
    const stopped = supervisor.stop();
    worker(1).endInOrder();
    worker(2).end({ code: null, signal: "SIGINT" });
    await stopped;
  });

  it("kills one that overruns what its apps may take, and what comes after", async () => {
    const { startAll, worker, clock, supervisor } = setUp();
    await startAll();
    worker(1).tell({ type: "app", app: "notes", stopMs: 5_000 });
    worker(1).tell({ type: "app", app: "mail", stopMs: 1_000 });
    const failed = assert.rejects(supervisor.stop(), {
      message:
        "worker 1 did not end within 10000 ms and was killed; worker 2 did not end within 29000 ms and was killed",
    });
    await clock.advance(9_999);
    assert.equal(worker(1).isKilled, false);
    await clock.advance(1);
    assert.deepEqual([worker(1).isKilled, worker(2).isKilled], [true, false]);
    await clock.advance(19_000);
    await failed;
    assert.equal(clock.pending, 0);
  });

  it("ends all at once when it is to, and kills those that do not within a second", async () => {
    const { startAll, worker, clock, supervisor } = setUp();
    await startAll();
    void supervisor.stop().catch(() => undefined);
    const ended = supervisor.endNow(143);
    assert.deepEqual(worker(1).sent.at(-1), { type: "exit", code: 143 });
    worker(1).end({ code: 143, signal: null });
    await clock.advance(999);
    assert.equal(worker(2).isKilled, false);
    await clock.advance(1);
    assert.equal(worker(2).isKilled, true);
    await ended;
    await supervisor.endNow(143); // nobody is left
    assert.equal(clock.pending, 0);
  });
});

describe("a supervisor that hears SIGHUP", () => {
  it("has those reload their config that are up", async () => {
    const { start, worker, supervisor } = setUp();
    const started = start();
    worker(1).tell({ type: "ready" });
    await started;
    supervisor.reload();
    assert.deepEqual([worker(1).sent, worker(2).sent], [[{ type: "reload" }], []]);
  });
});
