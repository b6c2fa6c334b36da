import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sleep } from "../clock.ts";
import { currentContext, runInContext } from "../context.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { createHealth, type Health, type HealthCheck } from "./health.ts";

interface Bench {
  readonly health: Health;
  readonly clock: FakeClock;
  readonly failures: [string, unknown][];
}

function benchOf(checks: readonly HealthCheck[], cacheMs = 1_000): Bench {
  const clock = new FakeClock();
  const failures: [string, unknown][] = [];
  const health = createHealth({ clock, cacheMs, onFailure: (...failure) => failures.push(failure) });
  for (const check of checks) health.register(check);
  health.setState("ready");
  return { health, clock, failures };
}

/** A check that counts its runs. */
function counted(run: HealthCheck["run"] = () => {}): HealthCheck & { runs: number } {
  const check = {
    name: "store",
    runs: 0,
    run(context: { readonly signal: AbortSignal }) {
      check.runs++;
      return run(context);
    },
  };
  return check;
}

const never = (): Promise<void> => new Promise(() => {});

describe("Health", () => {
  it("is not ready before the app is, and runs no check for it", async () => {
    const check = counted();
    const health = createHealth({ clock: new FakeClock() });
    health.register(check);
    assert.deepEqual(await health.readiness(), { ready: false, status: "fail", state: "starting", checks: [] });
    assert.equal(check.runs, 0);
  });

  it("is ready without any check, once the app is", async () => {
    const { health } = benchOf([]);
    assert.deepEqual(await health.readiness(), { ready: true, status: "pass", state: "ready", checks: [] });
  });

  it("names each check with its verdict and duration", async () => {
    const { health, clock } = benchOf([{ name: "store", run: () => {} }]);
    health.register({ name: "queue", run: () => sleep(clock, 20) });
    const report = health.readiness();
    await clock.advance(20);
    assert.deepEqual((await report).checks, [
      { name: "store", status: "pass", durationMs: 0 },
      { name: "queue", status: "pass", durationMs: 20 },
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
  };
  for (const [name, run] of Object.entries(failing)) {
    it(`is not ready when a critical check ${name}; the cause goes to the log, not into the report`, async () => {
      const { health, failures } = benchOf([{ name: "store", run }]);
      const report = await health.readiness();
      assert.equal(report.ready, false);
      assert.equal(report.status, "fail");
      assert.deepEqual(report.checks, [{ name: "store", status: "fail", durationMs: 0, output: "failed" }]);
      assert.equal(failures.length, 1);
      assert.equal(failures[0]?.[0], "store");
      assert.doesNotMatch(JSON.stringify(report), /10\.1\.2\.3/);
    });
  }

  it("is degraded but ready when a check that is not critical fails", async () => {
    const { health } = benchOf([
      { name: "store", run: () => {} },
      { name: "mail", critical: false, run: () => Promise.reject(new Error("no")) },
    ]);
    const report = await health.readiness();
    assert.deepEqual([report.ready, report.status], [true, "warn"]);
    assert.deepEqual(
      report.checks.map(({ status }) => status),
      ["pass", "warn"],
    );
  });

  it("ends a hanging check as timed out, aborts its signal, and delays no other", async () => {
    let signal: AbortSignal | undefined;
    const { health, clock, failures } = benchOf([
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
      { name: "hanging", status: "fail", durationMs: 200, output: "timed out" },
      { name: "quick", status: "pass", durationMs: 0 },
    ]);
    assert.equal(signal?.aborted, true);
    assert.match(String(failures[0]?.[1]), /health check hanging took longer than 200 ms/);
  });

  it("tells of a check once, also when it fails by the abort that its time-out caused", async () => {
    const { health, clock, failures } = benchOf([
      {
        name: "obedient",
        timeoutMs: 100,
        run: ({ signal }) => sleep(new FakeClock(), 1, { signal }),
      },
    ]);
    const report = health.readiness();
    await clock.advance(100);
    assert.equal((await report).checks[0]?.output, "timed out");
    assert.equal(failures.length, 1);
  });

  it("answers 100 parallel probes from one round, and the next ones from its verdict", async () => {
    const check = counted(() => Promise.reject(new Error("down")));
    const { health, clock } = benchOf([check], 1_000);
    const reports = await Promise.all(Array.from({ length: 100 }, () => health.readiness()));
    assert.ok(reports.every(({ ready }) => !ready));
    assert.equal(check.runs, 1);
    await clock.advance(999);
    await health.readiness();
    assert.equal(check.runs, 1);
    await clock.advance(1);
    await health.readiness();
    assert.equal(check.runs, 2);
  });

  it("counts the age of a verdict from the end of its round, and starts no second one beside it", async () => {
    const check = Object.assign(counted(never), { timeoutMs: 5_000 });
    const { health, clock } = benchOf([check], 100);
    const first = health.readiness();
    await clock.advance(4_000);
    const second = health.readiness();
    await clock.advance(1_000);
    await Promise.all([first, second]);
    assert.equal(check.runs, 1);
  });

  it("recovers when the check does", async () => {
    let isDown = true;
    const { health, clock } = benchOf([
      { name: "store", run: () => (isDown ? Promise.reject(new Error("x")) : undefined) },
    ]);
    assert.equal((await health.readiness()).ready, false);
    isDown = false;
    await clock.advance(1_000);
    assert.equal((await health.readiness()).ready, true);
  });

  it("asks every time when verdicts are not kept", async () => {
    const check = counted();
    const { health } = benchOf([check], 0);
    await health.readiness();
    await health.readiness();
    assert.equal(check.runs, 2);
  });

  it("includes a check that is registered later in the next answer", async () => {
    const { health } = benchOf([]);
    await health.readiness();
    health.register({ name: "late", run: () => Promise.reject(new Error("no")) });
    assert.equal((await health.readiness()).ready, false);
  });

  for (const state of ["draining", "stopped"] as const) {
    it(`is not ready at once when ${state}, also for a probe that is waiting for its round`, async () => {
      const done = Promise.withResolvers<void>();
      const { health } = benchOf([{ name: "store", run: () => done.promise }]);
      const waiting = health.readiness();
      health.setState(state);
      const expected = { ready: false, status: "fail", state, checks: [] };
      assert.deepEqual(await health.readiness(), expected);
      done.resolve();
      assert.deepEqual(await waiting, expected);
    });
  }

  it("runs checks as part of no request, whoever asks first", async () => {
    const contexts: unknown[] = [];
    const { health } = benchOf([{ name: "store", run: () => void contexts.push(currentContext()) }]);
    await runInContext({ requestId: "r1" }, () => health.readiness());
    assert.deepEqual(contexts, [undefined]);
  });

  it("tells listeners of each change of state, once, until they leave", () => {
    const { health } = benchOf([]);
    const heard: string[] = [];
    const leave = health.onState((state) => heard.push(state));
    health.setState("ready");
    health.setState("draining");
    health.setState("draining");
    leave();
    leave();
    health.setState("stopped");
    assert.deepEqual(heard, ["draining"]);
  });

  for (const timeoutMs of [0, -1, NaN]) {
    it(`refuses a check with a time limit of ${timeoutMs}`, () => {
      const { health } = benchOf([]);
      assert.throws(() => health.register({ name: "store", timeoutMs, run: () => {} }), {
        code: "ERR_OPTION_RANGE",
        message: /^timeoutMs of health check store /,
      });
    });
  }
});
