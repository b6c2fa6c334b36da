import assert from "node:assert/strict";
import { once } from "node:events";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { describe, it } from "node:test";
import type { AppOptions } from "./app/app.ts";
import { createApp } from "./app/create-app.ts";
import { defineModule, type Module } from "./app/module.ts";
import { provider } from "./app/provider.ts";
import { token } from "./app/token.ts";
import { appControl } from "./app/tokens.ts";
import { coreModule } from "./core-module.ts";
import { errorBus, errorReporters } from "./errors/module.ts";
import { health, healthChecks } from "./health/module.ts";
import { logger } from "./logger/module.ts";
import { metrics } from "./metrics/module.ts";
import { tracing } from "./tracing/module.ts";
import { runInContext } from "./context.ts";
import { AppError } from "./errors/app-error.ts";
import type { ErrorReport } from "./errors/error-bus.ts";
import type { Logger } from "./logger/logger.ts";
import type { LogDestination } from "./logger/pino.ts";
import { FakeClock } from "./testing/fake-clock.ts";
import { MemoryLog } from "./testing/memory-log.ts";
import { StallingClock } from "./testing/stalling-clock.ts";
import { testApp } from "./testing/test-app.ts";

const span = { traceId: "1".repeat(32), spanId: "2".repeat(16), sampled: true };

describe("coreModule", () => {
  it("is all that an app needs to start, and logs its states", async () => {
    const app = await testApp({ name: "notes", modules: [coreModule] });
    await app.stop();
    assert.deepEqual(
      app.logged.lines.map(({ level, message, service }) => [level, message, service]),
      ["ready", "draining", "stopping", "stopped"].map((state) => ["info", `app ${state}`, "notes"]),
    );
  });

  it("has all lines flushed once it has stopped, or has failed to start, the last one included", async () => {
    const failing = defineModule("failing", [
      provider({
        provides: token("never").of<string>(),
        create: () => "",
        start: () => Promise.reject(new Error("no")),
      }),
    ]);
    for (const modules of [[coreModule], [coreModule, failing]]) {
      const written: string[] = [];
      let kept: string[] = [];
      const logDestination: LogDestination = {
        write: (line) => void kept.push(line),
        flush: (done) => setImmediate(() => (written.push(...kept), (kept = []), done())),
      };
      const app = createApp<readonly Module[]>({ name: "notes", modules, config: { environment: {} }, logDestination });
      await app.start().catch(() => undefined);
      await app.stop();
      assert.deepEqual(kept, []);
      assert.match(written.at(-1) ?? "", modules.length > 1 ? /"app failed"/ : /"app stopped"/);
    }
  });

  for (const [how, flush] of [
    ["fails", (done: (error: Error) => void) => done(new Error("disk full"))],
    ["hangs", () => {}],
  ] as const) {
    it(`ends though the flush of its last lines ${how}, and says so on standard error`, async (t) => {
      const clock = new FakeClock();
      const logDestination: LogDestination = { write: () => {}, flush };
      const said: unknown[] = [];
      const app = await testApp({ name: "notes", modules: [coreModule], clock, logDestination });
      t.mock.method(process.stderr, "write", (text: unknown) => said.push(text) > 0);
      const stopped = app.stop();
      await clock.advance(1_000);
      await stopped;
      assert.equal(said.length, 1);
      assert.match(String(said[0]), /^writing the last log lines of notes .*\n$/);
    });
  }

  it("takes the level of the log from the config", async () => {
    await using app = await testApp({
      name: "notes",
      modules: [coreModule],
      config: { environment: { PLINTH_LOG_LEVEL: "error" } },
    });
    app.get(logger).warn("quiet");
    app.get(logger).error("loud");
    assert.deepEqual(
      app.logged.lines.map(({ message }) => message),
      ["loud"],
    );
  });

  it("refuses a level that is none, naming the variable", async () => {
    const config = { environment: { PLINTH_LOG_LEVEL: "loud" } };
    await assert.rejects(createApp({ name: "notes", modules: [coreModule], config }).start(), {
      code: "ERR_CONFIG_INVALID",
      message: /log\.level: .*"trace".*got "loud" \(PLINTH_LOG_LEVEL\)/,
    });
  });

  it("is not ready before all has started, is ready after, and not while it drains", async () => {
    const states: [string, boolean][] = [];
    const watcher = provider({
      provides: token("watcher").of<() => Promise<void>>(),
      needs: { health },
      create:
        ({ health }) =>
        async () => {
          const { state, ready } = await health.readiness();
          states.push([state, ready]);
        },
      start: (watch) => watch(),
      join: (watch) => watch(),
      drain: (watch) => watch(),
      stop: (watch) => watch(),
    });
    const app = await testApp({ name: "notes", modules: [coreModule, defineModule("watch", [watcher])] });
    await app.stop();
    assert.deepEqual(states, [
      ["starting", false],
      ["ready", true],
      ["draining", false],
      ["stopped", false],
    ]);
    assert.equal((await app.get(health).readiness()).state, "stopped");
  });

  it("runs the checks that modules add on the configured schedule, and logs when one begins to fail and recovers", async () => {
    const clock = new FakeClock();
    const store = { isUp: true, runs: 0 };
    const check = provider({
      provides: healthChecks,
      create: () => ({
        name: "store",
        run() {
          store.runs++;
          if (!store.isUp) throw new Error("no route to host");
        },
      }),
    });
    const modules = [coreModule, defineModule("store", [check])] as const;
    const config = { overrides: { health: { intervalMs: 500, failuresToFlip: 3 } } };
    await using app = await testApp({ name: "notes", clock, modules, config });
    assert.equal((await app.get(health).readiness()).ready, true);
    store.isUp = false;
    await clock.advance(1_100); // two runs
    assert.deepEqual([store.runs, app.get(health).state], [3, "ready"]);
    await clock.advance(10_000);
    assert.equal(app.get(health).state, "failing");
    const [line, ...more] = app.logged.withMessage("health check failed");
    assert.deepEqual(
      [line?.level, line?.logger, line?.check, line?.critical, more],
      ["warn", "health", "store", true, []],
    );
    assert.match(JSON.stringify(line?.error), /no route to host/);
    const { body } = await app.get(metrics).expose();
    assert.match(body, /^health_ready 0$/m);
    assert.match(body, /^health_check_status\{check="store"\} 0$/m);
    assert.match(body, /^health_check_status\{check="heap"\} 1$/m);
    assert.match(body, /^health_check_duration_seconds\{check="store"\} 0$/m);
    assert.match(body, /^health_check_flips_total\{check="store"\} 1$/m);
    assert.match(body, /^health_event_loop_stall_seconds 0$/m);
    assert.match(body, /^health_event_loop_stalls_total 0$/m);
    store.isUp = true;
    await clock.advance(500);
    assert.equal(app.get(health).state, "ready");
    const [back] = app.logged.withMessage("health check passes again");
    assert.deepEqual([back?.level, back?.check], ["info", "store"]);
    assert.match((await app.get(metrics).expose()).body, /^health_ready 1$/m);
  });

  it("brings checks of its own: event loop and heap, which only degrade", async () => {
    await using app = await testApp({ name: "notes", modules: [coreModule] });
    const { ready, checks } = await app.get(health).readiness();
    assert.equal(ready, true);
    assert.deepEqual(
      checks.map(({ name, status }) => [name, status]),
      [
        ["event-loop", "pass"],
        ["heap", "pass"],
      ],
    );
    await using tight = await testApp({
      name: "notes",
      modules: [coreModule],
      config: { environment: { PLINTH_HEALTH_MAX_HEAP_RATIO: "0.000001" } },
    });
    assert.deepEqual([tight.get(health).state, (await tight.get(health).readiness()).ready], ["degraded", true]);
  });

  it("does not start with two checks of one name, and says which", async () => {
    const twice = ["a", "b"].map((module) =>
      defineModule(module, [provider({ provides: healthChecks, create: () => ({ name: "store", run: () => {} }) })]),
    );
    await assert.rejects(testApp({ name: "notes", modules: [coreModule, ...twice] }), {
      message: /store is registered already; give one of the two another/,
    });
  });

  it("tells of a stall of the event loop in log and metrics, and of none where they are not looked for", async () => {
    for (const [maxStallMs, alive] of [
      [1_000, false],
      [0, true],
    ] as const) {
      const clock = new StallingClock();
      const config = { overrides: { health: { maxStallMs } } };
      await using app = await testApp({ name: "notes", clock, modules: [coreModule], config });
      clock.stall(2_500);
      await clock.advance(50);
      assert.equal(app.get(health).liveness().alive, alive);
      const lines = app.logged.withMessage("event loop stalled").map(({ level, tookMs }) => [level, tookMs]);
      assert.deepEqual(lines, alive ? [] : [["warn", 2_500]]);
      const { body } = await app.get(metrics).expose();
      assert.match(body, new RegExp(`^health_event_loop_stall_seconds ${alive ? 0 : 2.5}$`, "m"));
      assert.match(body, new RegExp(`^health_event_loop_stalls_total ${alive ? 0 : 1}$`, "m"));
    }
  });

  it("writes each reported error to the log once, with the ids of its request, and counts it", async () => {
    await using app = await testApp({ name: "notes", modules: [coreModule] });
    const bus = app.get(errorBus);
    const error = new AppError("ERR_NOTES_FULL", "resource_exhausted", "no more notes");
    runInContext({ requestId: "r1", span }, () => {
      bus.report(error, { origin: "request", attributes: { route: "/notes" } });
      bus.report(error, { origin: "request" });
    });
    runInContext({ requestId: "r2" }, () =>
      bus.report(new Error("second"), { origin: "request", severity: "warning" }),
    );
    bus.report(new Error("third"), { origin: "job" });
    await bus.flush();
    const lines = ["no more notes", "second", "third"].flatMap((message) => app.logged.withMessage(message));
    assert.deepEqual(
      lines.map(({ level, origin, handled, route, trace_id, span_id, request_id }) => [
        level,
        origin,
        handled,
        route,
        trace_id,
        span_id,
        request_id,
      ]),
      [
        ["error", "request", true, "/notes", span.traceId, span.spanId, "r1"],
        ["warn", "request", true, undefined, undefined, undefined, "r2"],
        ["error", "job", true, undefined, undefined, undefined, undefined],
      ],
    );
    assert.equal(Object(lines[0]?.error).code, "ERR_NOTES_FULL");
    const { body } = await app.get(metrics).expose();
    assert.match(body, /errors_total\{origin="request",code="ERR_NOTES_FULL"\} 1/);
    assert.match(body, /errors_total\{origin="job",code="ERR_INTERNAL"\} 1/);
    assert.match(body, /errors_dropped_total\{reporter="log"\} 0/);
  });

  it("gives errors to the reporters that modules add, the last ones before the app has stopped", async () => {
    const reports: ErrorReport[] = [];
    const reporter = provider({
      provides: errorReporters,
      create: () => ({ name: "webhook", report: async (batch: readonly ErrorReport[]) => void reports.push(...batch) }),
    });
    const app = await testApp({ name: "notes", modules: [coreModule, defineModule("webhook", [reporter])] });
    app.get(errorBus).report(new Error("a"), { origin: "timer" });
    const stopped = app.stop();
    app.get(errorBus).report(new Error("b"), { origin: "lifecycle" });
    await stopped;
    assert.deepEqual(
      reports.map(({ error }) => error.message),
      ["a", "b"],
    );
  });

  it("stops though a reporter hangs, and writes what was reported", async (t) => {
    t.mock.method(process.stderr, "write", () => true);
    const clock = new FakeClock();
    const hanging = provider({
      provides: errorReporters,
      create: () => ({ name: "hanging", report: () => new Promise<void>(() => {}) }),
    });
    const app = await testApp({ name: "notes", clock, modules: [coreModule, defineModule("webhook", [hanging])] });
    app.get(errorBus).report(new Error("a"), { origin: "timer" });
    const stopped = app.stop();
    await clock.advance(3_000);
    await stopped;
    assert.equal(app.logged.withMessage("a").length, 1);
  });

  it("reports a fatal error to the log and the reporters, also one that came before there was a bus", async () => {
    const memory = new MemoryLog();
    const app = createApp({
      name: "notes",
      modules: [coreModule],
      logDestination: memory,
      config: { environment: {} },
    });
    app.fail(new Error("early"), "process");
    await app.start();
    app.get(appControl).fail(new Error("late"), "stream");
    await app.stop();
    assert.deepEqual(
      memory.lines
        .filter(({ level }) => level === "fatal")
        .map(({ message, origin, handled }) => [message, origin, handled]),
      [
        ["early", "process", false],
        ["late", "stream", false],
      ],
    );
  });

  it("reports hooks that fail, with their causes, but not what was cut short by them", async () => {
    const memory = new MemoryLog();
    const slow = provider({
      provides: token("slow").of<string>(),
      create: () => "slow",
      start: (_, { signal }) => once(signal, "abort").then(() => signal.throwIfAborted()),
      stop() {
        throw new Error("stuck");
      },
    });
    const failing = provider({
      provides: token("failing").of<string>(),
      create: () => "failing",
      start() {
        throw new Error("no route to host");
      },
    });
    const modules = [coreModule, defineModule("net", [slow, failing])] as const;
    const app = createApp({ name: "notes", modules, logDestination: memory, config: { environment: {} } });
    await assert.rejects(app.start(), { code: "ERR_LIFECYCLE_START" });
    const errors = memory.lines.filter(({ level }) => level === "error");
    assert.deepEqual(
      errors.map(({ message, origin }) => [String(message).replace(/ \(.*?\)/, ""), origin]),
      [
        ['start of "failing" failed: no route to host', "lifecycle"],
        ['stop of "slow" failed: stuck', "lifecycle"],
      ],
    );
    assert.match(JSON.stringify(errors[0]?.error), /"cause":\{"type":"Error","message":"no route to host","stack"/);
  });

  it("tells by metrics who runs and what its hooks took", async () => {
    const clock = new FakeClock();
    const slow = provider({
      provides: token("slow").of<string>(),
      create: () => "slow",
      start: () => clock.advance(250),
    });
    await using app = await testApp({
      name: "notes",
      version: "1.2.3",
      clock,
      modules: [coreModule, defineModule("slow", [slow])],
    });
    const { body } = await app.get(metrics).expose();
    assert.match(
      body,
      /app_info\{service="notes",version="1\.2\.3",revision="",node="[\d.]+",plinth="\d+\.\d+\.\d+"\} 1/,
    );
    assert.match(body, /app_hook_duration_seconds\{provider="slow",hook="start"\} 0\.25/);
    assert.match(body, /process_resident_memory_bytes \d+/);
  });

  it("tells by metrics apart what several providers of one list took", async () => {
    const clock = new FakeClock();
    const check = (ms: number) =>
      provider({
        provides: healthChecks,
        create: async () => (await clock.advance(ms), { name: `after ${ms} ms`, run: () => {} }),
      });
    const modules = [coreModule, defineModule("checks", [check(250), check(0)])];
    await using app = await testApp({ name: "notes", clock, modules });
    const { body } = await app.get(metrics).expose();
    for (const provider of ["health.checks#3", "health.checks#4"]) {
      assert.ok(body.includes(`app_hook_duration_seconds{provider="${provider}",hook="create"} 0.25`), body);
    }
  });

  it("makes spans with ids, though nothing exports them", async () => {
    await using app = await testApp({ name: "notes", modules: [coreModule] });
    await app.get(tracing).withSpan("work", {}, ({ traceId }) => {
      app.get(logger).info("inside");
      assert.equal(app.logged.withMessage("inside")[0]?.trace_id, traceId);
    });
  });

  it("lets modules replace any of it", async () => {
    const quiet: string[] = [];
    const own = provider({
      provides: logger,
      create: () => {
        const write = (message: string): void => void quiet.push(message);
        const log: Logger = {
          trace: write,
          debug: write,
          info: write,
          warn: write,
          error: write,
          fatal: write,
          isEnabled: () => true,
          child: () => log,
          named: () => log,
          flush: async () => {},
          flushSync: () => {},
        };
        return log;
      },
    });
    const app = await testApp({ name: "notes", modules: [coreModule], overrides: [own] });
    await app.stop();
    assert.deepEqual(quiet.at(-1), "app stopped");
    assert.deepEqual(app.logged.lines, []);
  });
});

describe("two hundred apps, one after the other", () => {
  it("leave no listener, timer, handle or event-loop monitor behind", async (t) => {
    const monitor: object = Object.getPrototypeOf(monitorEventLoopDelay());
    const [enabled, disabled] = (["enable", "disable"] as const).map((name) =>
      t.mock.method(monitor as ReturnType<typeof monitorEventLoopDelay>, name),
    );
    const parts = (): Module => {
      const base = token("base").of<string>();
      return defineModule("parts", [
        provider({ provides: base, create: () => "base" }),
        provider({
          provides: token("service").of<string>(),
          needs: { base, log: logger, bus: errorBus, own: metrics },
          create: () => "service",
          start: () => {},
          join: () => {},
          leave: () => {},
          drain: () => {},
        }),
        provider({ provides: healthChecks, create: () => ({ name: "fine", run: () => {} }) }),
      ]);
    };
    const live = async (options: Partial<AppOptions<readonly []>> = {}): Promise<void> => {
      const app = await testApp({ name: "leak", modules: [coreModule, parts()], ...options });
      await app.get(health).readiness();
      app.get(errorBus).report(new Error("x"), { origin: "job" });
      await app.stop();
    };
    await live();
    const before = stateOf();
    for (let round = 0; round < 200; round++) await live();
    await new Promise(setImmediate);
    assert.deepEqual(stateOf(), before);
    assert.equal(enabled?.mock.callCount(), 402); // by metrics and health
    assert.equal(disabled?.mock.callCount(), 402);
  });

  it("leave none behind when they cannot start, or are cancelled", async () => {
    const failing = defineModule("failing", [
      provider({
        provides: token("failing").of<string>(),
        needs: { log: logger },
        create: () => "failing",
        start() {
          throw new Error("no");
        },
      }),
    ]);
    const live = async (signal?: AbortSignal): Promise<void> => {
      const options = {
        name: "leak",
        modules: [coreModule, failing],
        logDestination: new MemoryLog(),
        config: { environment: {} },
      } as const;
      await assert.rejects(createApp(options).start(signal ? { signal } : {}));
    };
    await live();
    const before = stateOf();
    for (let round = 0; round < 50; round++) {
      await live();
      await live(AbortSignal.abort());
    }
    await new Promise(setImmediate);
    assert.deepEqual(stateOf(), before);
  });

  it("run: leave no listener on the process", async () => {
    const before = stateOf();
    const app = createApp({
      name: "leak",
      modules: [coreModule],
      logDestination: new MemoryLog(),
      config: { environment: {}, overrides: { lifecycle: { announceDelayMs: 0 } } },
    });
    const listening = process.listenerCount("SIGTERM");
    const running = app.run({ onReady: () => void process.emit("SIGTERM", "SIGTERM") });
    assert.equal(process.listenerCount("SIGTERM"), listening + 1);
    assert.equal(await running, 0);
    assert.deepEqual(stateOf().listeners, before.listeners);
  });
});

/** What an app could leave in the process. */
function stateOf(): { readonly resources: Record<string, number>; readonly listeners: Record<string, number> } {
  const resources: Record<string, number> = {};
  for (const name of process.getActiveResourcesInfo()) {
    // stays until the garbage collector comes; whether it was stopped is asked otherwise
    if (name !== "IntervalHistogram") resources[name] = (resources[name] ?? 0) + 1;
  }
  const listeners: Record<string, number> = {};
  for (const name of process.eventNames()) listeners[String(name)] = process.listenerCount(name);
  return { resources, listeners };
}
