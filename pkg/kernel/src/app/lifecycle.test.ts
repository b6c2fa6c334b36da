import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sleep } from "../clock.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import type { App } from "./app.ts";
import { createApp } from "./create-app.ts";
import { LifecycleError } from "./errors.ts";
import type { AppEvent } from "./events.ts";
import { defineModule } from "./module.ts";
import { type HookContext, type HookLimits, type Provider, provider, type StopContext } from "./provider.ts";
import { type AnyToken, token } from "./token.ts";

type Hook = (context: HookContext) => unknown;

interface Behaviour {
  readonly needs?: readonly Part[];
  readonly create?: Hook;
  readonly start?: Hook;
  readonly join?: Hook;
  readonly leave?: Hook;
  readonly drain?: Hook;
  readonly stop?: Hook;
  readonly limits?: HookLimits;
  readonly ground?: boolean;
}

interface Part {
  readonly token: AnyToken;
  readonly provider: Provider;
}

/** Parts that write down what is done to them, under a clock that stands still. */
class Bench {
  readonly clock = new FakeClock();
  readonly journal: string[] = [];
  readonly parts: Provider[] = [];

  part(name: string, behaviour: Behaviour = {}): Part {
    const { needs = [], limits, ground } = behaviour;
    const own = token(name).of<string>();
    const hook = (step: "start" | "join" | "leave" | "drain" | "stop") => async (_: string, context: HookContext) => {
      this.journal.push(`${step} ${name}`);
      await behaviour[step]?.(context);
    };
    const made = provider<AnyToken, Readonly<Record<string, AnyToken>>>({
      provides: own,
      needs: Object.fromEntries(needs.map(({ token }) => [token.name, token])),
      create: async (_, context) => {
        this.journal.push(`create ${name}`);
        await behaviour.create?.(context);
        return name;
      },
      start: hook("start"),
      stop: hook("stop"),
      ...(behaviour.join ? { join: hook("join") } : {}),
      ...(behaviour.leave ? { leave: hook("leave") } : {}),
      ...(behaviour.drain ? { drain: hook("drain") } : {}),
      ...(limits ? { limits } : {}),
      ...(ground === undefined ? {} : { ground }),
    } as Parameters<typeof provider<AnyToken, Readonly<Record<string, AnyToken>>>>[0]);
    this.parts.push(made);
    return { token: own, provider: made };
  }

  app(limits: Readonly<Record<string, number>> = {}): App {
    const { clock, parts } = this;
    const overrides = { lifecycle: { announceDelayMs: 0, ...limits } };
    return createApp({
      name: "bench",
      clock,
      modules: [defineModule("bench", parts)],
      config: { environment: {}, overrides },
    });
  }

  /** What was done since last asked. */
  done(): string[] {
    return this.journal.splice(0);
  }
}

const hang = (): Promise<never> => new Promise(() => {});
/** Ends when told, by throwing. */
const obey: Hook = ({ signal }) => sleep(new FakeClock(), 1, { signal });
const boom =
  (text = "boom") =>
  (): never => {
    throw new Error(text);
  };

/** Waits for a rejection with this code, moving time on until it comes; tells the message without places. */
async function failureOf(promise: Promise<unknown>, code: string, clock: FakeClock, withinMs = 0): Promise<string> {
  let settled: { readonly error?: unknown } | undefined;
  void promise.then(
    () => (settled = {}),
    (error: unknown) => (settled = { error }),
  );
  await clock.advance(withinMs);
  assert.ok(settled, `not settled within ${withinMs} ms`);
  assert.ok(settled.error instanceof LifecycleError, "it did not fail");
  assert.equal(settled.error.code, code);
  return settled.error.message.replaceAll(/ \(module \w+, [^)]*\)/g, "");
}

describe("starting", () => {
  it("creates and starts needs before users, one after the other", async () => {
    const bench = new Bench();
    const a = bench.part("a");
    const b = bench.part("b", { needs: [a] });
    bench.part("c", { needs: [b, a] });
    const app = bench.app();
    await app.start();
    assert.equal(app.state, "ready");
    assert.deepEqual(bench.done(), ["create a", "start a", "create b", "start b", "create c", "start c"]);
    await app.stop();
    assert.equal(app.state, "stopped");
  });

  it("runs independent branches side by side, and one that needs both after both", async () => {
    const bench = new Bench();
    const { clock } = bench;
    const slow = bench.part("slow", { start: () => sleep(clock, 50) });
    const slower = bench.part("slower", { create: () => sleep(clock, 80) });
    bench.part("user", { needs: [slow, slower], start: () => bench.journal.push(`at ${clock.monotonicMs()}`) });
    const started = bench.app().start();
    await clock.advance(80);
    await started;
    assert.equal(bench.done().at(-1), "at 80");
  });

  it("runs no more than 16 hooks at once, without a warning of the runtime", async (t) => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning);
    process.on("warning", onWarning);
    t.after(() => process.off("warning", onWarning));
    const bench = new Bench();
    let running = 0;
    let most = 0;
    for (let part = 0; part < 50; part++) {
      bench.part(`part${part}`, {
        async create() {
          most = Math.max(most, ++running);
          await sleep(bench.clock, 10);
          running--;
        },
      });
    }
    const app = bench.app();
    const started = app.start();
    await bench.clock.advance(40);
    await started;
    assert.equal(most, 16);
    await app.stop();
    assert.deepEqual(warnings, []);
  });

  it("brings the whole ground up before the rest", async () => {
    const bench = new Bench();
    bench.part("rest");
    bench.part("ground", { ground: true, start: () => sleep(bench.clock, 10) });
    const app = bench.app();
    const started = app.start();
    await bench.clock.advance(9);
    assert.deepEqual(bench.done(), ["create ground", "start ground"]);
    await bench.clock.advance(1);
    await started;
    assert.deepEqual(bench.done(), ["create rest", "start rest"]);
    await app.stop();
    assert.deepEqual(bench.done(), ["stop rest", "stop ground"]);
  });

  it("joins only after everything has started, when the app is ready", async () => {
    const bench = new Bench();
    let state: string | undefined;
    bench.part("registry", { join: () => (state = app.state) });
    bench.part("late", { start: () => sleep(bench.clock, 10) });
    const app = bench.app();
    const started = app.start();
    await bench.clock.advance(10);
    await started;
    assert.equal(state, "ready");
    assert.deepEqual(bench.done().slice(-2), ["start late", "join registry"]);
  });

  it("passes on values, lists in the order of the modules, and frozen", async () => {
    const list = token("list").listOf<number>();
    const sum = token("sum").of<number>();
    const needs = { list };
    let given: readonly number[] = [];
    const user = provider({
      provides: sum,
      needs,
      create({ list: numbers }) {
        given = numbers;
        return numbers.reduce((total, number) => total + number, 0);
      },
    });
    const add = (value: number): Provider<"list", never> => provider({ provides: list, create: () => value });
    const app = createApp({
      name: "lists",
      modules: [defineModule("user", [user]), defineModule("more", [add(1), add(2)]), defineModule("last", [add(0)])],
      expose: [sum],
      config: { environment: {} },
    });
    await app.start();
    assert.equal(app.get(sum), 3);
    assert.deepEqual(given, [1, 2, 0]);
    assert.ok(Object.isFrozen(given));
    await app.stop();
  });
});

describe("a start that fails", () => {
  it("names what failed and the chain of who needs it, once, with its cause", async () => {
    const bench = new Bench();
    const pool = bench.part("pool", { start: boom("no route to host") });
    const store = bench.part("store", { needs: [pool] });
    bench.part("notes", { needs: [store] });
    const app = bench.app();
    const error: unknown = await app.start().catch((error: unknown) => error);
    assert.ok(error instanceof LifecycleError);
    assert.equal(error.code, "ERR_LIFECYCLE_START");
    const place = "\\(module bench, .*lifecycle\\.test\\.ts:\\d+\\)";
    assert.match(
      error.message,
      new RegExp(
        `^start of "pool" ${place}, needed by "store" ${place}, needed by "notes" ${place} failed: no route to host$`,
      ),
    );
    assert.equal((error.cause as LifecycleError).code, "ERR_LIFECYCLE_HOOK");
    assert.equal(((error.cause as LifecycleError).cause as Error).message, "no route to host");
    assert.equal(app.state, "failed");
  });

  it("stops in reverse what was created, also what failed to start, and never what was not created", async () => {
    const bench = new Bench();
    const a = bench.part("a");
    const b = bench.part("b", { needs: [a] });
    const c = bench.part("c", { needs: [b], start: boom() });
    bench.part("d", { needs: [c] });
    const { clock } = bench;
    await failureOf(bench.app().start(), "ERR_LIFECYCLE_START", clock);
    assert.deepEqual(bench.done(), [
      "create a",
      "start a",
      "create b",
      "start b",
      "create c",
      "start c",
      "stop c",
      "stop b",
      "stop a",
    ]);
  });

  it("does not stop what failed to be created", async () => {
    const bench = new Bench();
    const a = bench.part("a");
    bench.part("b", { needs: [a], create: boom() });
    await failureOf(bench.app().start(), "ERR_LIFECYCLE_START", bench.clock);
    assert.deepEqual(bench.done(), ["create a", "start a", "create b", "stop a"]);
  });

  it("cancels what runs beside the failure, and begins nothing more", async () => {
    const bench = new Bench();
    const { clock } = bench;
    let reason: unknown;
    const beside = bench.part("beside", {
      start: ({ signal }) => sleep(clock, 1_000, { signal }).catch(() => (reason = signal.reason)),
    });
    bench.part("after", { needs: [beside] });
    bench.part("failing", { start: () => sleep(clock, 10).then(boom("first")) });
    const message = await failureOf(bench.app().start(), "ERR_LIFECYCLE_START", clock, 10);
    assert.match(message, /^start of "failing" failed: first$/);
    assert.match(String(reason), /first/);
    assert.deepEqual(
      bench.done().filter((step) => step.includes("after")),
      [],
    );
  });

  it("reports what failed while rolling back as well, and still stops the rest", async () => {
    const bench = new Bench();
    const a = bench.part("a");
    const b = bench.part("b", { needs: [a], stop: boom("stuck") });
    bench.part("c", { needs: [b], start: boom("first") });
    const app = bench.app();
    const error: unknown = await app.start().catch((error: unknown) => error);
    assert.ok(error instanceof LifecycleError);
    assert.match(error.message, /first; and while stopping what had started: stop of "b" .* failed: stuck$/);
    assert.ok(error.cause instanceof AggregateError);
    assert.equal(error.cause.errors.length, 2);
    assert.deepEqual(bench.done().slice(-3), ["stop c", "stop b", "stop a"]);
    await app.stop();
    assert.deepEqual(bench.done(), []);
  });

  for (const [name, thrown] of Object.entries({
    text: "plain text",
    undefined,
    object: { reason: "no" },
    null: null,
  })) {
    it(`takes a hook that throws ${name}`, async () => {
      const bench = new Bench();
      bench.part("a", {
        create() {
          // oxlint-disable-next-line typescript/only-throw-error -- the point of it
          throw thrown;
        },
      });
      const message = await failureOf(bench.app().start(), "ERR_LIFECYCLE_START", bench.clock);
      assert.match(message, /^create of "a" failed: (plain text|undefined|an object .* with 1 key: reason|null)$/);
    });
  }

  it("leaves again what had joined when a join fails, and does not wait for the other joins", async () => {
    const bench = new Bench();
    const leave = (): void => {};
    bench.part("joined", { join: () => {}, leave });
    bench.part("failing", { join: boom("registry down"), leave });
    bench.part("slow", { join: obey, leave });
    const app = bench.app();
    const message = await failureOf(app.start(), "ERR_LIFECYCLE_START", bench.clock);
    assert.equal(message, 'join of "failing" failed: registry down');
    const steps = bench.done();
    for (const name of ["joined", "failing", "slow"]) {
      assert.equal(steps.filter((step) => step === `leave ${name}`).length, 1);
      assert.equal(steps.filter((step) => step === `stop ${name}`).length, 1);
    }
  });

  it("names both ends of a chain that is too long to be read", async () => {
    const bench = new Bench();
    let below = bench.part("t0", { start: boom() });
    for (let at = 1; at < 1_000; at++) below = bench.part(`t${at}`, { needs: [below] });
    const message = await failureOf(bench.app().start(), "ERR_LIFECYCLE_START", bench.clock);
    assert.match(
      message,
      /^start of "t0", needed by "t1", .*, needed by "t15", needed by 980 more, needed by "t996", .*, needed by "t999" failed: boom$/,
    );
  });

  it("names the join that failed first, not one that ignored the end which that brought", async () => {
    const bench = new Bench();
    const { clock } = bench;
    bench.part("stubborn", { join: hang });
    bench.part("failing", { join: () => sleep(clock, 10).then(boom("refused")) });
    const message = await failureOf(bench.app().start(), "ERR_LIFECYCLE_START", clock, 1_010);
    assert.match(message, /^join of "failing" failed: refused/);
  });

  it("tells no event of a hook that did not run", async () => {
    const bench = new Bench();
    const events: string[] = [];
    const failing = bench.part("failing", { start: boom() });
    bench.part("user", { needs: [failing] });
    const made = bench.part("made", { create: () => sleep(bench.clock, 10) });
    bench.part("after", { needs: [made] });
    const app = bench.app();
    app.events.subscribe((event) => {
      if (event.type === "hook" && event.module === "bench") events.push(`${event.hook} ${event.id} ${event.step}`);
    });
    await failureOf(app.start(), "ERR_LIFECYCLE_START", bench.clock, 10);
    assert.deepEqual(
      events.filter((event) => /user|after|start made/.test(event)),
      [],
    );
    assert.ok(events.includes("stop made done"));
    const states = new Map(app.describe().nodes.map(({ id, state }) => [id, state]));
    assert.deepEqual(
      ["failing", "user", "made", "after"].map((id) => states.get(id)),
      ["failed", "waiting", "stopped", "waiting"],
    );
  });

  it("is refused before any factory runs when the graph or the config is wrong", async () => {
    const bench = new Bench();
    const missing = {
      token: token("missing").of<string>(),
      provider: provider({ provides: token("x").of(), create: () => 1 }),
    };
    bench.part("a");
    bench.part("b", { needs: [missing] });
    const app = bench.app();
    await assert.rejects(app.start(), { code: "ERR_GRAPH_INVALID" });
    assert.equal(app.state, "failed");
    const other = new Bench();
    other.part("a");
    await assert.rejects(other.app({ hookMs: -1 }).start(), { code: "ERR_CONFIG_INVALID" });
    assert.deepEqual([...bench.done(), ...other.done()], []);
    await app.stop();
  });
});

describe("limits of a start", () => {
  it("give up a hook that overruns, name it and its limit, and stop the rest", async () => {
    const bench = new Bench();
    const a = bench.part("a");
    bench.part("b", { needs: [a], start: hang });
    const started = bench.app({ hookMs: 100 }).start();
    const message = await failureOf(started, "ERR_LIFECYCLE_START", bench.clock, 100);
    assert.equal(message, 'start of "b" took longer than its limit of 100 ms and was abandoned');
    assert.deepEqual(bench.done().slice(-3), ["start b", "stop b", "stop a"]);
  });

  it("are a provider's own where it has some, for each hook", async () => {
    const bench = new Bench();
    bench.part("slow", {
      limits: { createMs: 500, startMs: 20 },
      create: () => sleep(bench.clock, 400),
      start: hang,
    });
    const message = await failureOf(bench.app({ hookMs: 100 }).start(), "ERR_LIFECYCLE_START", bench.clock, 420);
    assert.match(message, /^start of "slow" took longer than its limit of 20 ms/);
  });

  it("tell a hook by its signal that it has overrun", async () => {
    const bench = new Bench();
    let isTold = false;
    bench.part("a", { start: ({ signal }) => (signal.addEventListener("abort", () => (isTold = true)), hang()) });
    await failureOf(bench.app({ hookMs: 100 }).start(), "ERR_LIFECYCLE_START", bench.clock, 100);
    assert.ok(isTold);
  });

  it("end the whole start, naming what was at work; obedient hooks end it at once", async () => {
    const bench = new Bench();
    const a = bench.part("a", { limits: { startMs: Infinity }, start: obey });
    bench.part("b", { needs: [a] });
    const message = await failureOf(bench.app({ startMs: 300 }).start(), "ERR_LIFECYCLE_START", bench.clock, 300);
    assert.equal(message, 'start of "a", needed by "b" was cancelled: start took longer than its limit of 300 ms');
    assert.equal(bench.clock.pending, 0);
  });

  it("give a hook that ignores the end of the start a second, then abandon it", async () => {
    const bench = new Bench();
    bench.part("a", { limits: { startMs: Infinity }, start: hang });
    const started = bench.app({ startMs: 300 }).start();
    await bench.clock.advance(1_299);
    const message = await failureOf(started, "ERR_LIFECYCLE_START", bench.clock, 1);
    assert.equal(message, 'start of "a" did not end within 1000 ms of being cancelled and was abandoned');
    assert.deepEqual(bench.done().at(-1), "stop a");
  });

  it("fail a start whose last hook ends only after its limit, though it ends well", async () => {
    const bench = new Bench();
    bench.part("a", { start: () => sleep(bench.clock, 350) });
    const message = await failureOf(bench.app({ startMs: 300 }).start(), "ERR_LIFECYCLE_START", bench.clock, 350);
    assert.equal(
      message,
      'the start was cancelled: start took longer than its limit of 300 ms; what else took time: "a" 350 ms',
    );
    assert.deepEqual(bench.done().at(-1), "stop a");
  });

  it("leave the rollback a budget of its own", async () => {
    const bench = new Bench();
    const slow = bench.part("slow", {
      stop: () => sleep(bench.clock, 900).then(() => bench.journal.push("slow is down")),
    });
    bench.part("b", { needs: [slow], start: obey, limits: { startMs: Infinity } });
    const started = bench.app({ startMs: 300, stopMs: 1_000 }).start();
    await failureOf(started, "ERR_LIFECYCLE_START", bench.clock, 1_200);
    assert.deepEqual(bench.done().slice(-2), ["stop slow", "slow is down"]);
  });

  it("release what is created after it was given up", async () => {
    const bench = new Bench();
    const late = Promise.withResolvers<void>();
    bench.part("late", { create: () => late.promise });
    await failureOf(bench.app({ hookMs: 100 }).start(), "ERR_LIFECYCLE_START", bench.clock, 100);
    assert.deepEqual(bench.done(), ["create late"]);
    late.resolve();
    await bench.clock.advance(0);
    assert.deepEqual(bench.done(), ["stop late"]);
  });

  it("survive a late creation that fails, and one whose release fails", async () => {
    const bench = new Bench();
    const late = Promise.withResolvers<void>();
    bench.part("rejects", { create: () => late.promise.then(boom("late")) });
    bench.part("unstoppable", { create: () => late.promise, stop: boom("stuck") });
    const app = bench.app({ hookMs: 100 });
    const failed: AppEvent[] = [];
    app.events.subscribe(
      (event) => event.type === "hook" && event.hook === "stop" && event.step === "failed" && failed.push(event),
    );
    await failureOf(app.start(), "ERR_LIFECYCLE_START", bench.clock, 100);
    late.resolve();
    await bench.clock.advance(0);
    assert.deepEqual(bench.done().at(-1), "stop unstoppable");
    assert.equal(failed.length, 1);
  });

  for (const limits of [{ startMs: 0 }, { stopMs: -1 }, { drainMs: NaN }]) {
    it(`are refused when they are none: ${JSON.stringify(limits)}`, () => {
      const [name] = Object.keys(limits);
      assert.throws(() => new Bench().part("a", { limits }), {
        code: "ERR_OPTION_RANGE",
        message: new RegExp(`^limits\\.${name} of "a" `),
      });
    });
  }
});

describe("cancelling a start", () => {
  it("tells the hooks at work, begins no other, and stops what was created", async () => {
    const bench = new Bench();
    const a = bench.part("a");
    const b = bench.part("b", { needs: [a], start: obey });
    bench.part("c", { needs: [b] });
    const controller = new AbortController();
    const app = bench.app();
    const started = app.start({ signal: controller.signal });
    await bench.clock.advance(5);
    controller.abort(new Error("SIGTERM arrived"));
    const message = await failureOf(started, "ERR_LIFECYCLE_START", bench.clock);
    assert.match(message, /^start of "b", needed by "c" was cancelled: SIGTERM arrived$/);
    assert.deepEqual(bench.done(), ["create a", "start a", "create b", "start b", "stop b", "stop a"]);
    assert.equal(app.state, "stopped");
    assert.equal(bench.clock.pending, 0);
  });

  it("counts as cancelled when all was put back in order, as failed when not", async () => {
    for (const [stop, status] of [
      [() => {}, "cancelled"],
      [boom("stuck"), "failed_precondition"],
    ] as const) {
      const bench = new Bench();
      bench.part("a", { start: obey, stop });
      const controller = new AbortController();
      const started = bench.app().start({ signal: controller.signal });
      await bench.clock.advance(5);
      controller.abort(new Error("enough"));
      await assert.rejects(started, { code: "ERR_LIFECYCLE_START", status });
    }
  });

  it("counts a hook that ignores it as failed", async () => {
    const bench = new Bench();
    bench.part("a", { start: hang });
    const controller = new AbortController();
    const started = bench.app().start({ signal: controller.signal });
    await bench.clock.advance(5);
    controller.abort(new Error("enough"));
    await Promise.all([assert.rejects(started, { status: "failed_precondition" }), bench.clock.advance(1_000)]);
  });

  it("creates nothing when it comes before the start", async () => {
    const bench = new Bench();
    bench.part("a");
    await assert.rejects(bench.app().start({ signal: AbortSignal.abort(new Error("no")) }), { status: "cancelled" });
    assert.deepEqual(bench.done(), []);
  });

  it("is what a stop during the start does; both end in order", async () => {
    const bench = new Bench();
    const a = bench.part("a");
    bench.part("b", { needs: [a], start: obey });
    const app = bench.app();
    const started = app.start();
    await bench.clock.advance(5);
    const stopped = app.stop();
    const message = await failureOf(started, "ERR_LIFECYCLE_START", bench.clock);
    assert.match(message, /was cancelled: the app was told to stop$/);
    await stopped;
    assert.deepEqual(bench.done().slice(-2), ["stop b", "stop a"]);
  });

  it("stops also an app whose last hook ignored the stop and ended well", async () => {
    const bench = new Bench();
    bench.part("a", { start: () => sleep(bench.clock, 10) });
    const app = bench.app();
    const started = app.start();
    await bench.clock.advance(5);
    const stopped = app.stop();
    await failureOf(started, "ERR_LIFECYCLE_START", bench.clock, 5);
    await stopped;
    assert.deepEqual(bench.done(), ["create a", "start a", "stop a"]);
  });
});

describe("stopping", () => {
  it("leaves, announces, drains and stops in this order, everything up until all is drained", async () => {
    const bench = new Bench();
    const { clock, journal } = bench;
    const store = bench.part("store");
    const server = bench.part("server", {
      needs: [store],
      drain: async () => {
        await sleep(clock, 20);
        journal.push("drained");
      },
    });
    bench.part("registry", { needs: [server], join: () => {}, leave: () => sleep(clock, 10) });
    const app = bench.app({ announceDelayMs: 100 });
    const states: string[] = [];
    await app.start();
    app.events.subscribe((event) => event.type === "state" && states.push(`${event.state}@${clock.monotonicMs()}`));
    bench.done();
    const stopped = app.stop();
    await clock.advance(109);
    assert.deepEqual(bench.done(), ["leave registry"]);
    await clock.advance(1);
    assert.deepEqual(bench.done(), ["drain server"]);
    await clock.advance(20);
    await stopped;
    assert.deepEqual(bench.done(), ["drained", "stop registry", "stop server", "stop store"]);
    assert.deepEqual(states, ["starting@0", "ready@0", "draining@0", "stopping@130", "stopped@130"]);
  });

  it("announces nothing where nothing drains", async () => {
    const bench = new Bench();
    bench.part("job");
    const app = bench.app({ announceDelayMs: 100 });
    await app.start();
    await app.stop();
    assert.equal(bench.clock.monotonicMs(), 0);
  });

  it("stops dependents before what they need, independent ones side by side", async () => {
    const bench = new Bench();
    const { clock, journal } = bench;
    const base = bench.part("base", { stop: () => journal.push(`base at ${clock.monotonicMs()}`) });
    bench.part("left", { needs: [base], stop: () => sleep(clock, 50) });
    bench.part("right", { needs: [base], stop: () => sleep(clock, 80) });
    const app = bench.app();
    await app.start();
    const stopped = app.stop();
    await clock.advance(80);
    await stopped;
    assert.equal(journal.at(-1), "base at 80");
  });

  it("goes on after hooks that fail in any phase, and reports all of them", async () => {
    const bench = new Bench();
    const a = bench.part("a", { stop: boom("a stop") });
    const b = bench.part("b", {
      needs: [a],
      join: () => {},
      leave: boom("b leave"),
      drain: boom("b drain"),
      stop: boom("b stop"),
    });
    bench.part("c", { needs: [b] });
    const app = bench.app();
    await app.start();
    bench.done();
    const error: unknown = await app.stop().catch((error: unknown) => error);
    assert.ok(error instanceof LifecycleError);
    assert.equal(error.code, "ERR_LIFECYCLE_STOP");
    assert.match(error.message, /^4 hooks failed while stopping: leave of "b".*drain of "b".*stop of "b".*stop of "a"/);
    assert.ok(error.cause instanceof AggregateError);
    assert.equal(error.cause.errors.length, 4);
    assert.deepEqual(bench.done(), ["leave b", "drain b", "stop c", "stop b", "stop a"]);
    assert.equal(app.state, "stopped");
  });

  it("abandons a hook that hangs, names it, and goes on", async () => {
    const bench = new Bench();
    const a = bench.part("a");
    bench.part("b", { needs: [a], stop: hang });
    const app = bench.app({ hookMs: 100 });
    await app.start();
    const message = await failureOf(app.stop(), "ERR_LIFECYCLE_STOP", bench.clock, 100);
    assert.equal(
      message,
      '1 hook failed while stopping: stop of "b" took longer than its limit of 100 ms and was abandoned',
    );
    assert.equal(bench.done().at(-1), "stop a");
  });

  it("ends at its total limit, naming the hooks that did not run", async () => {
    const bench = new Bench();
    const a = bench.part("a");
    const b = bench.part("b", { needs: [a], stop: obey });
    bench.part("c", { needs: [b], stop: obey });
    const app = bench.app({ stopMs: 500 });
    await app.start();
    const message = await failureOf(app.stop(), "ERR_LIFECYCLE_STOP", bench.clock, 500);
    assert.match(
      message,
      /^3 hooks failed while stopping: stop of "c" was cancelled: stop took longer than its limit of 500 ms; stop of "b", needed by "c" did not run: .*; stop of "a", .* did not run: /,
    );
    assert.equal(bench.clock.monotonicMs(), 500);
    const states = new Map(app.describe().nodes.map(({ id, state }) => [id, state]));
    assert.deepEqual(
      ["a", "b", "c"].map((id) => states.get(id)),
      ["failed", "failed", "failed"],
    );
  });

  it("ends a second after its total limit also when hooks ignore it", async () => {
    const bench = new Bench();
    bench.part("a", { stop: hang, limits: { stopMs: Infinity } });
    const app = bench.app({ stopMs: 500 });
    await app.start();
    await failureOf(app.stop(), "ERR_LIFECYCLE_STOP", bench.clock, 1_500);
  });

  it("leaves time for stopping when a drain hangs, however long draining may take", async () => {
    const bench = new Bench();
    const { clock } = bench;
    const a = bench.part("a", { stop: () => sleep(clock, 1_000) });
    bench.part("b", { needs: [a], drain: obey });
    const app = bench.app({ stopMs: 10_000, drainMs: 3_600_000 });
    await app.start();
    const message = await failureOf(app.stop(), "ERR_LIFECYCLE_STOP", clock, 7_000);
    assert.equal(
      message,
      '1 hook failed while stopping: drain of "b" was cancelled: drain took longer than its limit of 6000 ms',
    );
    assert.equal(bench.done().at(-1), "stop a");
  });

  it("leaves time for draining when leaving hangs, and when the announcement would take it all", async () => {
    for (const [leave, announceDelayMs] of [
      [obey, 0],
      [() => {}, 600_000],
    ] as const) {
      const bench = new Bench();
      const { clock, journal } = bench;
      bench.part("server", { drain: () => sleep(clock, 400).then(() => journal.push("drained")) });
      bench.part("registry", { join: () => {}, leave });
      const app = bench.app({ stopMs: 10_000, drainMs: 1_000, announceDelayMs });
      await app.start();
      const stopped = app.stop().catch((error: unknown) => error);
      await clock.advance(900);
      await stopped;
      assert.ok(journal.includes("drained"));
    }
  });

  it("does not leave what it never joined", async () => {
    const bench = new Bench();
    bench.part("registry", { join: () => {}, leave: () => {} });
    bench.part("b", { start: boom() });
    await failureOf(bench.app().start(), "ERR_LIFECYCLE_START", bench.clock);
    assert.ok(!bench.done().includes("leave registry"));
  });

  it("happens once, however often it is asked for, with the same end for all who ask", async () => {
    const bench = new Bench();
    bench.part("a", { stop: boom("stuck") });
    const app = bench.app();
    await app.start();
    bench.done();
    const results = await Promise.allSettled([app.stop(), app.stop()]);
    assert.deepEqual(bench.done(), ["stop a"]);
    assert.ok(results.every(({ status }) => status === "rejected"));
    await assert.rejects(app.stop(), { code: "ERR_LIFECYCLE_STOP" });
    assert.deepEqual(bench.done(), []);
  });

  it("is nothing for an app that was never started, which then cannot be", async () => {
    const bench = new Bench();
    bench.part("a");
    const app = bench.app();
    await app.stop();
    assert.equal(app.state, "stopped");
    await assert.rejects(app.start(), { code: "ERR_APP_STATE", message: /was stopped before; create a new app/ });
    assert.deepEqual(bench.done(), []);
  });
});

describe("a stop hook", () => {
  it("is told whether its thing was up: one whose start failed or never ran has nothing to save", async () => {
    const said: string[] = [];
    const [first, second, third] = ["first", "second", "third"].map((name) => token(name).of<string>());
    assert.ok(first && second && third);
    const stop = (name: string, { hasStarted }: StopContext): void => void said.push(`${name} ${hasStarted}`);
    const modules = [
      defineModule("m", [
        provider({ provides: first, create: () => "first", start: () => {}, stop }),
        provider({
          provides: second,
          needs: { first },
          create: () => "second",
          start: () => Promise.reject(new Error("no")),
          stop,
        }),
        provider({ provides: third, needs: { second }, create: () => "third", start: () => {}, stop }),
      ]),
    ];
    const config = { environment: {}, overrides: { lifecycle: { announceDelayMs: 0 } } };
    await assert.rejects(createApp({ name: "app", modules, config }).start(), { code: "ERR_LIFECYCLE_START" });
    assert.deepEqual(said, ["second false", "first true"]);
  });
});

describe("several failures of one start", () => {
  it("are all told, the first one first, and marked as failed", async () => {
    const bench = new Bench();
    const refuse =
      (ms: number, text: string): Hook =>
      () =>
        sleep(bench.clock, ms).then(() => {
          throw new Error(text);
        });
    bench.part("database", { start: refuse(10, "database refused") });
    bench.part("redis", { start: refuse(12, "redis refused") });
    bench.part("queue", { start: ({ signal }) => sleep(bench.clock, 1_000, { signal }) });
    const app = bench.app();
    const started = app.start();
    started.catch(() => undefined);
    await bench.clock.advance(12);
    await assert.rejects(started, (error: unknown) => {
      assert.ok(error instanceof LifecycleError);
      assert.match(
        error.message,
        /^start of "database" .*failed: database refused; also start of "redis" .*failed: redis refused$/,
      );
      assert.ok(error.cause instanceof AggregateError && error.cause.errors.length === 2);
      return true;
    });
    const states = app
      .describe()
      .nodes.flatMap(({ id, module, state }) => (module === "bench" ? [`${id} ${state}`] : []));
    assert.deepEqual(states, ["database failed", "redis failed", "queue stopped"]);
  });

  it("are none where somebody wants the end: what is thrown then is told, and no failure", async () => {
    const bench = new Bench();
    const cancel = new AbortController();
    bench.part("pool", {
      start: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => reject(new Error("connection closed")));
        }),
    });
    const app = bench.app();
    const started = app.start({ signal: cancel.signal });
    await bench.clock.advance(1);
    cancel.abort(new Error("SIGTERM arrived"));
    await assert.rejects(started, {
      status: "cancelled",
      message: /^start of "pool" .*was cancelled: SIGTERM arrived; it threw: connection closed$/,
    });
    assert.equal(app.state, "stopped");
  });
});

describe("a stop that overruns", () => {
  it("leaves a tenth of its time to the ground, which tells of it", async () => {
    const bench = new Bench();
    const said: string[] = [];
    bench.part("bus", { ground: true, stop: () => void said.push(`flushed at ${bench.clock.monotonicMs()}`) });
    bench.part("stuck", { stop: () => new Promise(() => {}), limits: { stopMs: Infinity } });
    const app = bench.app({ stopMs: 20_000 });
    await app.start();
    const stopped = assert.rejects(app.stop(), {
      code: "ERR_LIFECYCLE_STOP",
      message: /^1 hook failed while stopping: stop of "stuck" .*did not end within 1000 ms of being cancelled/,
    });
    await bench.clock.advance(19_000);
    await stopped;
    assert.deepEqual(said, ["flushed at 19000"]);
  });
});
