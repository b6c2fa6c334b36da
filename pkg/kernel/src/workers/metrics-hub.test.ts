import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openLogger } from "../logger/pino.ts";
import { createMetrics } from "../metrics/create-metrics.ts";
import { checkLeaks, FakeClock, MemoryLog } from "../testing/index.ts";
import type { PrimaryMessage } from "./messages.ts";
import { MetricsHub } from "./metrics-hub.ts";
import { RunningWorker } from "./slot.ts";
import { writeSnapshot } from "./snapshot-text.ts";

const app = "notes";
const scrapeMs = 1_000;

/** Workers that answer when a test says so, and what their primary makes of it. */
function setUp() {
  const clock = new FakeClock();
  const log = new MemoryLog();
  const missingSeen: number[][] = [];
  const hub = new MetricsHub({
    clock,
    scrapeMs,
    log: openLogger({ destination: log }),
    own: async (missing) => {
      missingSeen.push([...missing]);
      return { families: [] };
    },
  });
  const join = (index: number, { answers = true } = {}) => new FakeMember(hub, index, answers);
  return { clock, log, hub, join, missingSeen };
}

class FakeMember {
  readonly worker: RunningWorker;
  readonly asked: number[] = [];
  readonly answered: Extract<PrimaryMessage, { type: "scraped" }>[] = [];
  readonly #hub: MetricsHub;
  readonly #metrics = createMetrics();
  readonly #requests = this.#metrics.counter({ name: "requests_total", help: "Requests." });
  readonly #active = this.#metrics.gauge({ name: "active_requests", help: "Being served." });
  answers: boolean;

  constructor(hub: MetricsHub, index: number, answers: boolean) {
    this.#hub = hub;
    this.answers = answers;
    this.worker = new RunningWorker(index, 0);
    this.worker.process = { pid: index, kill: () => {}, send: (message) => this.#receive(message) };
    this.#active.set({}, 1);
    hub.receive(this.worker, { type: "app", app, stopMs: 1_000 });
  }

  serve(requests: number): void {
    this.#requests.inc({}, requests);
  }

  async tell(round?: number): Promise<void> {
    const text = await writeSnapshot(await this.#metrics.snapshot());
    assert.ok(text !== undefined);
    this.tellText(text, round);
  }

  tellText(text: string | undefined, round?: number): void {
    const facts = { type: "snapshot", app, ...(round === undefined ? {} : { round }) } as const;
    this.#hub.receive(this.worker, text === undefined ? facts : { ...facts, text });
  }

  /** A scrape that came to this worker: what it is answered. */
  scrape(of = app, format: "prometheus" | "openmetrics" = "prometheus"): number {
    const id = this.answered.length + 1;
    this.#hub.receive(this.worker, { type: "scrape", id, app: of, format });
    return id;
  }

  die(): void {
    this.answers = false;
    this.#hub.leave(this.worker);
  }

  #receive(message: PrimaryMessage): void {
    if (message.type === "scraped") this.answered.push(message);
    if (message.type !== "collect") return;
    this.asked.push(message.round);
    if (this.answers) void this.tell(message.round);
  }
}

const valueOf = (body: string | undefined, name: string): number =>
  Number(new RegExp(`^${name} (\\S+)$`, "m").exec(body ?? "")?.[1] ?? Number.NaN);
const requests = (member: FakeMember): number[] => member.answered.map(({ body }) => valueOf(body, "requests_total"));

describe("the metrics of all workers", () => {
  it("are added up, whichever was asked, and simultaneous scrapes share one round", async () => {
    await using _ = checkLeaks();
    const { clock, join } = setUp();
    const members = [join(1), join(2), join(3)];
    members.forEach((member, index) => member.serve(10 ** index));
    for (const member of members) member.scrape();
    await clock.advance(0);
    assert.deepEqual(members.map(requests), [[111], [111], [111]]);
    assert.deepEqual(
      members.map(({ asked }) => asked.length),
      [1, 1, 1],
    );
    assert.equal(valueOf(members[0]?.answered[0]?.body, "active_requests"), 3);
    members[0]?.scrape(app, "openmetrics");
    await clock.advance(0);
    assert.match(members[0]?.answered[1]?.contentType ?? "", /^application\/openmetrics-text/);
    assert.equal(clock.pending, 0);
  });

  it("have what a worker told last that does not answer in time, and tell that it is missing", async () => {
    const { clock, join, missingSeen } = setUp();
    const [first, second] = [join(1), join(2)];
    first.serve(10);
    second.serve(5);
    first.scrape();
    await clock.advance(0);
    second.answers = false;
    second.serve(100);
    first.serve(1);
    first.scrape();
    await clock.advance(scrapeMs - 1);
    assert.deepEqual(requests(first), [15]);
    await clock.advance(1);
    assert.deepEqual(requests(first), [15, 16]);
    assert.deepEqual(missingSeen, [[], [2]]);
    await second.tell(second.asked.at(-1)); // too late for that scrape, and known from now on
    second.answers = true;
    first.scrape();
    await clock.advance(0);
    assert.deepEqual(requests(first), [15, 16, 116]);
    assert.deepEqual(missingSeen.at(-1), []);
  });

  it("do not wait for a worker again that still owes an answer, until it gives it or half a minute has passed", async () => {
    const { clock, join, missingSeen } = setUp();
    const [first, second] = [join(1), join(2, { answers: false })];
    first.scrape();
    await clock.advance(scrapeMs);
    first.scrape();
    await clock.advance(0);
    assert.deepEqual([first.answered.length, second.asked.length, missingSeen], [2, 1, [[2], [2]]]);
    await second.tell(second.asked[0]);
    first.scrape();
    await clock.advance(scrapeMs - 1);
    assert.equal(first.answered.length, 2);
    await clock.advance(1);
    assert.deepEqual([second.asked.length, missingSeen.at(-1)], [2, [2]]);
    await clock.advance(30_000 - scrapeMs);
    second.answers = true;
    first.scrape();
    await clock.advance(0);
    assert.deepEqual([second.asked.length, missingSeen.at(-1), clock.pending], [3, [], 0]);
  });

  it("never fall when a worker dies: what it had told last stays, its gauges do not", async () => {
    const { clock, join } = setUp();
    const [first, second] = [join(1), join(2)];
    second.serve(5);
    first.scrape();
    await clock.advance(0);
    second.serve(2);
    second.die(); // killed: the last two are lost
    const third = join(2);
    third.serve(1);
    third.die(); // it never told anything
    first.scrape();
    await clock.advance(0);
    assert.deepEqual(requests(first), [5, 5]);
    assert.equal(valueOf(first.answered[1]?.body, "active_requests"), 1);
  });

  it("have all that a worker counted which stops in order and tells it", async () => {
    const { clock, join } = setUp();
    const [first, second] = [join(1), join(2)];
    second.serve(7);
    await second.tell();
    second.die();
    first.scrape();
    await clock.advance(0);
    assert.deepEqual(requests(first), [7]);
  });

  it("do not wait for a worker that dies while it is asked", async () => {
    const { clock, join, missingSeen } = setUp();
    const [first, second] = [join(1), join(2, { answers: false })];
    await second.tell();
    first.serve(1);
    first.scrape();
    await clock.advance(1);
    assert.equal(first.answered.length, 0);
    second.die();
    await clock.advance(0);
    assert.deepEqual(requests(first), [1]);
    assert.deepEqual([missingSeen, clock.pending], [[[]], 0]);
  });

  it("are those of the app that was asked for alone, and none of one that no worker has", async () => {
    const { clock, join } = setUp();
    const [first] = [join(1), join(2)];
    first.scrape("mail");
    await clock.advance(scrapeMs);
    assert.deepEqual(first.answered, [{ type: "scraped", id: 1 }]);
    assert.deepEqual(first.asked, []);
  });

  it("pass over garbage, say so once, and go on with what that worker told last", async () => {
    const { clock, join, log, missingSeen } = setUp();
    const [first, second] = [join(1), join(2)];
    first.serve(1);
    second.serve(2);
    first.scrape();
    await clock.advance(0);
    second.answers = false;
    for (const garbage of ["{", "[]", '{"families":7}']) {
      first.scrape();
      await clock.advance(0);
      second.tellText(garbage, second.asked.at(-1));
      second.tellText(garbage, second.asked.at(-1));
      await clock.advance(0);
    }
    first.scrape();
    await clock.advance(0);
    second.tellText(undefined, second.asked.at(-1)); // more than can be sent
    await clock.advance(0);
    assert.deepEqual(requests(first), [3, 3, 3, 3, 3]);
    assert.deepEqual(missingSeen, [[], [2], [2], [2], [2]]);
    assert.equal(log.withMessage("metrics of workers are left out").length, 4);
    assert.equal(clock.pending, 0);
  });

  it("leave out a metric that two workers declare differently, and have the others", async () => {
    const { clock, join, log } = setUp();
    const [first, second] = [join(1), join(2, { answers: false })];
    first.serve(1);
    const other = createMetrics();
    other.counter({ name: "requests_total", help: "Requests.", labels: ["route"] }).inc({ route: "/" });
    other.gauge({ name: "active_requests", help: "Being served." }).set({}, 9);
    const text = await writeSnapshot(await other.snapshot());
    for (let scrapes = 0; scrapes < 2; scrapes++) {
      first.scrape();
      await clock.advance(0);
      second.tellText(text, second.asked.at(-1));
      await clock.advance(0);
    }
    assert.deepEqual(requests(first), [Number.NaN, Number.NaN]);
    assert.equal(valueOf(first.answered[1]?.body, "active_requests"), 10);
    assert.equal(log.withMessage("metrics of workers are left out").length, 1);
  });
});
