import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sleep } from "../clock.ts";
import { currentContext, runInContext } from "../context.ts";
import { StallingClock } from "../testing/stalling-clock.ts";
import type { CheckChange, HealthCheck } from "./check.ts";
import { createHealth, type Health, type HealthOptions } from "./health.ts";

interface Bench {
  readonly health: Health;
  readonly clock: StallingClock;
  readonly changes: CheckChange[];
}

/** Health with these checks, in the phase `ready`. Its jitter takes nothing off. */
function benchOf(
  checks: readonly HealthCheck[],
  { clock = new StallingClock(), ...options }: Partial<HealthOptions & { readonly clock: StallingClock }> = {},
): Bench {
  const changes: CheckChange[] = [];
  const health = createHealth({ clock, random: () => 0, onChange: (change) => changes.push(change), ...options });
  for (const check of checks) health.register(check);
  health.setPhase("ready");
  return { health, clock, changes };
}

/** A check that counts its runs. */
function counted(run: HealthCheck["run"] = () => {}, more: Partial<HealthCheck> = {}): HealthCheck & { runs: number } {
  const check = {
    name: "store",
    ...more,
    runs: 0,
    run(context: { readonly signal: AbortSignal }) {
      check.runs++;
      return run(context);
    },
  };
  return check;
}

/** A check that is as well as it is told to be. */
function switched(more: Partial<HealthCheck> = {}) {
  const check = counted(() => {
    if (!state.isUp) throw new Error("down");
  }, more);
  const state = { isUp: true, check };
  return state;
}

const never = (): Promise<void> => new Promise(() => {});
const down = (): Promise<void> => Promise.reject(new Error("down"));

describe("Health", () => {
  it("is not ready before the app is, and runs no check for it", async () => {
    const check = counted();
    const health = createHealth({ clock: new StallingClock() });
    health.register(check);
    assert.deepEqual(await health.readiness(), {
      ready: false,
      status: "fail",
      state: "starting",
      checks: [{ name: "store", status: "fail", output: "not run yet" }],
    });
    assert.equal(check.runs, 0);
  });

  it("is not ready without any check: nothing is known", async () => {
    const { health } = benchOf([]);
    assert.deepEqual(await health.readiness(), { ready: false, status: "fail", state: "starting", checks: [] });
  });

  it("is starting until each critical check has run, and waits for none that is not", async () => {
    const clock = new StallingClock();
    const mail: HealthCheck = { name: "mail", critical: false, run: never };
    const { health } = benchOf([{ name: "store", run: () => sleep(clock, 30) }, mail], { clock });
    assert.equal(health.state, "starting");
    const report = health.readiness();
    await clock.advance(30);
    assert.deepEqual(await report, {
      ready: true,
      status: "pass",
      state: "ready",
      checks: [
        { name: "store", status: "pass", durationMs: 30, ageMs: 0 },
        { name: "mail", status: "warn", output: "not run yet" },
      ],
    });
  });

  it("names each check with its verdict, how long it took and how old that is", async () => {
    const { health, clock } = benchOf([{ name: "store", run: () => {} }]);
    health.register({ name: "queue", run: () => sleep(clock, 20) });
    const report = health.readiness();
    await clock.advance(20);
    assert.deepEqual((await report).checks, [
      { name: "store", status: "pass", durationMs: 0, ageMs: 20 },
      { name: "queue", status: "pass", durationMs: 20, ageMs: 0 },
    ]);
  });

  const failing: Readonly<Record<string, () => void | Promise<void>>> = {
    throws: () => {
      throw new Error("connect ECONNREFUSED 10.1.2.3:5432");
    },
    rejects: () => Promise.reject(new Error("connect ECONNREFUSED 10.1.2.3:5432")),
    "throws a non-error": () => {
      // oxlint-disable-next-line typescript/only-throw-error -- the point of it
      throw undefined;
    },
    "throws what cannot be looked at": () => {
      const trap = (): never => {
        throw new Error("trap");
      };
      // oxlint-disable-next-line typescript/only-throw-error -- the point of it
      throw new Proxy({}, { get: trap, has: trap, getPrototypeOf: trap });
    },
  };
  for (const [name, run] of Object.entries(failing)) {
    it(`is failing when a critical check ${name}; the cause goes to the log and the details, not into the report`, async () => {
      const { health, changes } = benchOf([{ name: "store", run }]);
      const report = await health.readiness();
      assert.deepEqual(report, {
        ready: false,
        status: "fail",
        state: "failing",
        checks: [{ name: "store", status: "fail", durationMs: 0, ageMs: 0, output: "failed" }],
      });
      assert.deepEqual(
        changes.map(({ name, critical, passing }) => [name, critical, passing]),
        [["store", true, false]],
      );
      assert.equal(typeof health.details().checks[0]?.cause, "string");
    });
  }

  it("is degraded but ready when a check that is not critical fails", async () => {
    const { health, clock } = benchOf([
      { name: "store", run: () => {} },
      { name: "mail", critical: false, run: down },
    ]);
    await clock.advance(0);
    const report = await health.readiness();
    assert.deepEqual([report.ready, report.status, report.state], [true, "warn", "degraded"]);
    assert.deepEqual(
      report.checks.map(({ status, output }) => [status, output]),
      [
        ["pass", undefined],
        ["warn", "failed"],
      ],
    );
  });

  it("includes a check that is registered later in the next answer, and takes back no readiness for it meanwhile", async () => {
    const { health, clock } = benchOf([{ name: "store", run: () => {} }]);
    await health.readiness();
    health.register({ name: "late", run: () => sleep(clock, 10).then(down) });
    assert.equal(health.state, "ready");
    const report = health.readiness();
    await clock.advance(10);
    assert.deepEqual([(await report).ready, health.state], [false, "failing"]);
  });

  it("tells listeners of each change of state, once, until they leave", async () => {
    const store = switched({ failuresToFlip: 1 });
    const mail = switched({ name: "mail", critical: false, failuresToFlip: 1 });
    const { health, clock } = benchOf([store.check, mail.check]);
    const heard: string[] = [];
    const leave = health.onState((state) => heard.push(state));
    const leaveEarly = health.onState(() => assert.fail("has left"));
    leaveEarly();
    await clock.advance(5_000);
    mail.isUp = false;
    await clock.advance(10_000);
    store.isUp = false;
    await clock.advance(10_000);
    mail.isUp = true;
    await clock.advance(5_000);
    store.isUp = true;
    await clock.advance(5_000);
    health.setPhase("draining");
    health.setPhase("draining");
    leave();
    leave();
    health.setPhase("stopped");
    assert.deepEqual(heard, ["ready", "degraded", "failing", "ready", "draining"]);
  });

  it("shows operators what it goes by", async () => {
    const store = switched();
    const { health, clock } = benchOf([store.check]);
    await health.readiness();
    store.isUp = false;
    await clock.advance(5_000);
    assert.deepEqual(health.details(), {
      phase: "ready",
      since: new Date(clock.now() - 5_000).toISOString(),
      uptimeMs: 5_000,
      stalls: 0,
      checks: [
        {
          name: "store",
          status: "pass",
          durationMs: 0,
          ageMs: 0,
          critical: true,
          intervalMs: 5_000,
          timeoutMs: 1_000,
          failuresToFlip: 2,
          successesToFlip: 1,
          since: new Date(clock.now() - 5_000).toISOString(),
          consecutiveFailures: 1,
          consecutiveSuccesses: 0,
          flips: 0,
          cause: "down",
          hangs: false,
        },
      ],
    });
    await clock.advance(5_000);
    assert.partialDeepStrictEqual(health.details().checks[0], {
      status: "fail",
      output: "failed",
      since: new Date(clock.now()).toISOString(),
      flips: 1,
      consecutiveFailures: 2,
    });
  });

  it("shows the causes of a failure as one line, without the passwords in it", async () => {
    const cause = new Error("at postgres://app:hunter2@db:5432\nrefused", { cause: "ECONNREFUSED" });
    const run = (): Promise<void> => Promise.reject(new Error("no connection", { cause }));
    const { health } = benchOf([{ name: "store", run }]);
    await health.readiness();
    const text = String.raw`no connection: at postgres://app:***@db:5432\nrefused: ECONNREFUSED`;
    assert.equal(health.details().checks[0]?.cause, text);
  });
});

describe("the time limit of a check", () => {
  it("ends a hanging one as timed out, aborts its signal, and delays no other", async () => {
    let signal: AbortSignal | undefined;
    const { health, clock, changes } = benchOf([
      {
        name: "hanging",
        timeoutMs: 200,
        run(context) {
          signal = context.signal;
          return never();
        },
      },
      { name: "quick", run: () => {} },
    ]);
    const report = health.readiness();
    await clock.advance(199);
    assert.equal(signal?.aborted, false);
    await clock.advance(1);
    assert.deepEqual((await report).checks, [
      { name: "hanging", status: "fail", durationMs: 200, ageMs: 0, output: "timed out" },
      { name: "quick", status: "pass", durationMs: 0, ageMs: 200 },
    ]);
    assert.equal(signal?.aborted, true);
    assert.match(String(changes[0]?.cause), /health check hanging took longer than 200 ms/);
  });

  it("starts no run beside one that still hangs; each time counts as another failure, and no probe waits", async () => {
    const hanging = { promise: Promise.resolve(), isStuck: false };
    const check = counted(() => hanging.promise);
    const { health, clock } = benchOf([check]);
    await health.readiness();
    const stuck = Promise.withResolvers<void>();
    hanging.promise = stuck.promise;
    await clock.advance(6_000); // the run at 5 s has timed out
    assert.deepEqual([check.runs, health.state], [2, "ready"]);
    await clock.advance(5_000);
    assert.deepEqual([check.runs, health.state], [2, "failing"]);
    await clock.advance(60_000);
    const { checks } = await health.readiness(); // the clock stands still
    assert.equal(checks[0]?.output, "timed out");
    assert.equal(check.runs, 2);
    const [details] = health.details().checks;
    assert.equal(details?.hangs, true);
    assert.match(details?.cause ?? "", /still runs after \d+ ms, heedless of its signal/);
    hanging.promise = Promise.resolve();
    stuck.resolve();
    await clock.advance(5_000);
    assert.deepEqual([check.runs, health.state, health.details().checks[0]?.hangs], [3, "ready", false]);
  });

  it("tells of a check once, also when it fails by the abort that its time-out caused", async () => {
    const obedient: HealthCheck = {
      name: "obedient",
      timeoutMs: 100,
      run: ({ signal }) => sleep(new StallingClock(), 1, { signal }),
    };
    const { health, clock, changes } = benchOf([obedient]);
    const report = health.readiness();
    await clock.advance(100);
    assert.equal((await report).checks[0]?.output, "timed out");
    assert.deepEqual([changes.length, health.details().checks[0]?.consecutiveFailures], [1, 1]);
  });

  it("begins anew when it strikes much too late: the event loop stood still, and the answer may be there", async () => {
    const answer = Promise.withResolvers<void>();
    const { health, clock } = benchOf([{ name: "store", run: () => answer.promise }]);
    clock.stall(5_000);
    await clock.advance(1_000);
    answer.resolve();
    await clock.advance(0);
    assert.equal(health.state, "ready");
  });

  it("begins anew once: whatever stands still, a check that hangs times out", async () => {
    const { health, clock } = benchOf([{ name: "store", run: never }]);
    clock.stall(5_000);
    await clock.advance(1_000);
    assert.equal(health.state, "starting");
    clock.stall(5_000);
    await clock.advance(1_000);
    assert.equal(health.state, "failing");
  });
});

describe("the schedule of checks", () => {
  it("runs each when the app is up and then at its interval after each end, of which up to a tenth is taken off", async () => {
    for (const [random, gapMs] of [
      [0, 5_000],
      [0.5, 4_750],
    ] as const) {
      const check = counted();
      const { clock } = benchOf([check], { random: () => random });
      assert.equal(check.runs, 1);
      await clock.advance(gapMs - 1);
      assert.equal(check.runs, 1);
      await clock.advance(1);
      assert.equal(check.runs, 2);
      await clock.advance(10 * gapMs);
      assert.equal(check.runs, 12);
    }
  });

  it("is the check's own, else the one of all", async () => {
    const own = counted(undefined, { intervalMs: 100 });
    const common = counted(undefined, { name: "queue" });
    const { clock } = benchOf([own, common], { intervalMs: 1_000 });
    await clock.advance(1_000);
    assert.deepEqual([own.runs, common.runs], [11, 2]);
  });

  it("is one run alone where the interval is infinite", async () => {
    const check = counted(undefined, { intervalMs: Infinity });
    const { health, clock } = benchOf([check]);
    await clock.advance(3_600_000);
    assert.deepEqual([(await health.readiness()).ready, check.runs, clock.pending], [true, 1, 0]);
  });

  it("costs nothing for probes: they get the last verdict with its age, and it runs no faster", async () => {
    const clock = new StallingClock();
    const check = counted(() => sleep(clock, 10));
    const { health } = benchOf([check], { clock });
    await clock.advance(10);
    for (let second = 1; second <= 4; second++) {
      await clock.advance(1_000);
      assert.equal((await health.readiness()).checks[0]?.ageMs, second * 1_000);
    }
    assert.equal(check.runs, 1);
  });

  for (const [how, run] of [
    ["pass", () => {}],
    ["fail", down],
    ["hang", never],
  ] as const) {
    it(`runs once for 10 000 probes at the same time before there is a verdict, when it is to ${how}`, async () => {
      const check = counted(run);
      const { health, clock } = benchOf([check]);
      const probes = Array.from({ length: 10_000 }, () => health.readiness());
      await clock.advance(1_000);
      const reports = await Promise.all(probes);
      assert.equal(check.runs, 1);
      assert.ok(reports.every(({ ready }) => ready === (how === "pass")));
    });
  }

  it("answers probes during a run from the verdict before", async () => {
    const clock = new StallingClock();
    let delayMs = 0;
    const check = counted(() => sleep(clock, delayMs));
    const { health } = benchOf([check], { clock });
    await clock.advance(0);
    delayMs = 900;
    await clock.advance(5_800); // the second run is under way since 5 s
    assert.equal(check.runs, 2);
    const { ready, checks } = await health.readiness(); // the clock stands still
    assert.deepEqual([ready, checks[0]?.ageMs], [true, 5_800]);
  });

  it("is caught up by one run for all probes when it must have stood still", async () => {
    const clock = new StallingClock();
    const check = counted(() => sleep(clock, 10));
    const { health } = benchOf([check], { clock });
    await clock.advance(10);
    clock.stall(6_000); // interval and limit: as old as a verdict gets by itself
    await health.readiness();
    assert.equal(check.runs, 1);
    clock.stall(1);
    const probes = Array.from({ length: 100 }, () => health.readiness());
    assert.equal(check.runs, 2);
    await clock.advance(10);
    for (const { checks } of await Promise.all(probes)) assert.equal(checks[0]?.ageMs, 0);
    assert.equal(check.runs, 2);
  });

  it("runs checks as part of no request, whoever asks first", async () => {
    const contexts: unknown[] = [];
    const check: HealthCheck = { name: "store", run: () => void contexts.push(currentContext()) };
    const { health } = benchOf([]);
    await runInContext({ requestId: "r1" }, async () => {
      health.register(check);
      await health.readiness();
    });
    assert.deepEqual(contexts, [undefined]);
  });

  for (const phase of ["draining", "stopped"] as const) {
    it(`ends when ${phase}: nothing runs any more, what runs is told and its outcome dropped, no timer is left`, async () => {
      let signal: AbortSignal | undefined;
      const work = Promise.withResolvers<void>();
      const store = counted((context) => {
        signal = context.signal;
        return work.promise;
      });
      const queue = counted(undefined, { name: "queue" });
      const { health, clock, changes } = benchOf([store, queue]);
      await clock.advance(10);
      health.setPhase(phase);
      assert.equal(signal?.aborted, true);
      assert.equal(clock.pending, 0);
      work.reject(new Error("aborted"));
      await clock.advance(60_000);
      assert.deepEqual([store.runs, queue.runs, clock.pending, changes.length], [1, 1, 0, 0]);
    });

    it(`is not ready at once when ${phase}, also for a probe that is waiting for a check`, async () => {
      const { health } = benchOf([{ name: "store", run: never }]);
      const waiting = Array.from({ length: 100 }, () => health.readiness());
      health.setPhase(phase);
      for (const report of await Promise.all([...waiting, health.readiness()])) {
        assert.deepEqual([report.ready, report.status, report.state], [false, "fail", phase]);
      }
    });
  }

  it("is ended by close, twice as well, and a probe after it starts nothing", async () => {
    const check = counted();
    const { health, clock } = benchOf([check]);
    await clock.advance(0);
    health.close();
    health.close();
    assert.equal(health.state, "stopped");
    await clock.advance(60_000);
    assert.equal((await health.readiness()).ready, false);
    health.register(counted(undefined, { name: "late" }));
    assert.deepEqual([check.runs, clock.pending], [1, 0]);
  });
});

describe("the verdict of a check", () => {
  it("is decided by the first run, and by two failures and one success in a row after it", async () => {
    const store = switched();
    const { health, clock, changes } = benchOf([store.check]);
    await clock.advance(0);
    const after = async (isUp: boolean): Promise<string> => {
      store.isUp = isUp;
      await clock.advance(5_000);
      return health.state;
    };
    assert.equal(health.state, "ready");
    const ups = [false, true, false, false, false, true, false, true];
    const states: string[] = [];
    for (const isUp of ups) states.push(await after(isUp));
    assert.deepEqual(states, ["ready", "ready", "ready", "failing", "failing", "ready", "ready", "ready"]);
    assert.deepEqual(
      changes.map(({ passing, afterMs }) => [passing, afterMs]),
      [
        [false, 20_000],
        [true, 10_000],
      ],
    );
    assert.equal(health.details().checks[0]?.flips, 2);
  });

  it("takes as many in a row as the check says, and shows what it failed of until then", async () => {
    const store = switched({ failuresToFlip: 3, successesToFlip: 2 });
    const { health, clock } = benchOf([store.check]);
    await clock.advance(0);
    const states: string[] = [];
    for (const isUp of [false, false, true, false, false, false, true, false, true, true]) {
      store.isUp = isUp;
      await clock.advance(5_000);
      const { state, checks } = await health.readiness();
      states.push(`${state} ${checks[0]?.output ?? ""}`);
    }
    assert.deepEqual(states, [
      ...Array.from({ length: 5 }, () => "ready "),
      ...Array.from({ length: 4 }, () => "failing failed"),
      "ready ",
    ]);
  });

  it("fails by the first run of all alone", async () => {
    const store = switched({ failuresToFlip: 5 });
    store.isUp = false;
    const { health, changes } = benchOf([store.check]);
    assert.equal((await health.readiness()).state, "failing");
    assert.deepEqual(
      changes.map(({ afterMs }) => afterMs),
      [0],
    );
  });
});

describe("a health check that is none", () => {
  for (const [field, values] of [
    ["intervalMs", [0, 9, -1, NaN]],
    ["timeoutMs", [0, -1, NaN]],
    ["failuresToFlip", [0, 1.5, NaN, Infinity]],
    ["successesToFlip", [0, 1.5, NaN, Infinity]],
  ] as const) {
    it(`is refused for ${field} of ${values.join(", ")}, naming both`, () => {
      const { health } = benchOf([]);
      for (const value of values) {
        assert.throws(() => health.register({ name: "store", [field]: value, run: () => {} }), {
          code: "ERR_OPTION_RANGE",
          message: new RegExp(`^${field} of health check store must be .*${value}$`),
        });
      }
    });
  }

  it("is refused when another has its name, which goes on", async () => {
    const { health } = benchOf([{ name: "store", run: () => {} }]);
    assert.throws(() => health.register({ name: "store", run: down }), {
      code: "ERR_OPTION_RANGE",
      message: "name of a health check must be its own, and store is registered already; give one of the two another",
    });
    assert.equal((await health.readiness()).ready, true);
  });

  it("is refused without a name of 1 to 100 characters, or without something to run", () => {
    const { health } = benchOf([]);
    const refused = (given: unknown, code: string, message: RegExp): void => {
      assert.throws(() => health.register(given as HealthCheck), { code, message });
    };
    refused({ name: "", run() {} }, "ERR_OPTION_RANGE", /^name of a health check .*not 0$/);
    refused({ name: "x".repeat(101), run() {} }, "ERR_OPTION_RANGE", /^name of a health check .*not 101$/);
    refused({ run() {} }, "ERR_OPTION_TYPE", /^name of a health check must be a text, not undefined/);
    refused({ name: "store" }, "ERR_OPTION_TYPE", /^run of health check store must be a function, not undefined/);
    refused([], "ERR_OPTION_TYPE", /^a health check must be an object, not a list/);
  });
});
