import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { coreModule } from "../core-module.ts";
import { logger } from "../logger/module.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { MemoryLog } from "../testing/memory-log.ts";
import { testApp } from "../testing/test-app.ts";
import type { App, AppOptions } from "./app.ts";
import { createApp } from "./create-app.ts";
import type { AppEvent } from "./events.ts";
import { defineModule, type Module } from "./module.ts";
import { provider } from "./provider.ts";
import { token } from "./token.ts";
import { appControl, appEvents, appInfo, clock } from "./tokens.ts";

const config = { environment: {} };
const store = token("store").of<{ readonly id: number }>();
const left = token("left").of<object>();
const right = token("right").of<object>();

/** A module whose factory counts, and two users of what it makes. */
function counting(create?: () => Promise<{ id: number }>): { readonly module: Module; readonly calls: () => number } {
  let calls = 0;
  const module = defineModule("counting", [
    provider({
      provides: store,
      create: async () => {
        calls++;
        return create ? create() : { id: calls };
      },
    }),
    provider({ provides: left, needs: { store }, create: ({ store }) => store, start: () => {} }),
    provider({ provides: right, needs: { store }, create: ({ store }) => store, start: () => {} }),
  ]);
  return { module, calls: () => calls };
}

describe("an app", () => {
  it("builds once what two ask for at the same moment, and gives both the same", async () => {
    const { module, calls } = counting();
    await using app = await testApp({ name: "app", modules: [module] });
    assert.equal(calls(), 1);
    assert.equal(app.get(left), app.get(right));
    assert.equal(app.get(left), app.get(store));
  });

  it("asks a factory that rejects once, and not again", async () => {
    const { module, calls } = counting(() => Promise.reject(new Error("no")));
    const app = createApp({ name: "app", modules: [module], config });
    await assert.rejects(app.start(), { code: "ERR_LIFECYCLE_START" });
    assert.equal(calls(), 1);
    assert.throws(() => app.get(store), { code: "ERR_APP_TOKEN" });
  });

  it("builds nothing that nobody needs, unless it is exposed", async () => {
    let calls = 0;
    const module = defineModule("lazy", [provider({ provides: store, create: () => ({ id: ++calls }) })]);
    await using app = await testApp({ name: "app", modules: [module] });
    assert.equal(calls, 0);
    assert.throws(() => app.get(store), {
      code: "ERR_APP_TOKEN",
      message: '"store" is not there: nothing needs it, so it was not built; name it in the app\'s `expose` list',
    });
    await using exposed = await testApp({ name: "app", modules: [module], expose: [store] });
    assert.equal(exposed.get(store).id, 1);
  });

  it("gives nothing before it has started, and says so", () => {
    const app = createApp({ name: "app", modules: [counting().module], config });
    assert.equal(app.state, "created");
    assert.throws(() => app.get(store), {
      code: "ERR_APP_TOKEN",
      message: '"store" is not there: the app has not started',
    });
  });

  it("gives values that are false, null or undefined like any other", async () => {
    const nothing = token("nothing").of<undefined>();
    const no = token("no").of<boolean>();
    const module = defineModule("odd", [
      provider({ provides: nothing, create: () => undefined, start: () => {} }),
      provider({ provides: no, needs: { nothing }, create: ({ nothing }) => nothing !== undefined, start: () => {} }),
    ]);
    await using app = await testApp({ name: "app", modules: [module] });
    assert.equal(app.get(nothing), undefined);
    assert.equal(app.get(no), false);
  });

  it("leaves the real factory uncalled where it is overridden, and stops only what was built", async () => {
    const { module, calls } = counting();
    const stopped: string[] = [];
    const fake = provider({ provides: store, create: () => ({ id: 99 }), stop: () => void stopped.push("fake") });
    {
      await using app = await testApp({ name: "app", modules: [module], overrides: [fake] });
      assert.deepEqual(app.get(left), { id: 99 });
    }
    assert.equal(calls(), 0);
    assert.deepEqual(stopped, ["fake"]);
  });

  it("lives beside another of the same modules, without seeing it", async () => {
    const { module, calls } = counting();
    const logs = [new MemoryLog(), new MemoryLog()] as const;
    const appOf = (name: string, log: MemoryLog): Promise<App> =>
      testApp({ name, modules: [coreModule, module], logDestination: log });
    const one = await appOf("one", logs[0]);
    const two = await appOf("two", logs[1]);
    assert.equal(calls(), 2);
    assert.notEqual(one.get(store), two.get(store));
    one.get(logger).info("from one");
    two.get(logger).info("from two");
    await one.stop();
    assert.deepEqual([one.state, two.state], ["stopped", "ready"]);
    assert.deepEqual(logs[0].withMessage("from two"), []);
    assert.equal(logs[1].withMessage("from two")[0]?.service, "two");
    await two.stop();
  });

  it("starts once", async () => {
    const app = createApp({ name: "app", modules: [counting().module], config });
    const starting = app.start();
    await assert.rejects(app.start(), { code: "ERR_APP_STATE", message: /^app app was started before/ });
    await starting;
    await assert.rejects(app.start(), { code: "ERR_APP_STATE" });
    await app.stop();
    await assert.rejects(app.start(), { code: "ERR_APP_STATE" });
  });

  it("knows who it is, and tells its providers", async () => {
    const time = new FakeClock();
    await using app = await testApp({ name: "notes", version: "1.2.3", modules: [], clock: time });
    const { instanceId, ...info } = app.get(appInfo);
    assert.deepEqual(info, { name: "notes", version: "1.2.3", logDestination: app.logged, environment: {} });
    assert.equal(info.logDestination, app.logged);
    assert.match(instanceId, /^notes-[0-9a-f-]{36}$/);
    assert.equal(app.get(clock), time);
    assert.equal(app.get(appEvents), app.events);
    app.get(appControl).fail("over");
    assert.equal(await app.failure, "over");
  });

  for (const name of ["", "Notes", "my notes", "a/b", "ä", "a_b"]) {
    it(`refuses ${JSON.stringify(name)} for a name`, () => {
      assert.throws(() => createApp({ name, modules: [] }), { code: "ERR_OPTION_RANGE", message: /^name must be / });
    });
  }

  it("refuses to be without a name, or of one that is no text, though no compiler did", () => {
    for (const name of [undefined, null, 5]) {
      const options: unknown = { name, modules: [] };
      assert.throws(() => createApp(options as AppOptions<readonly []>), { code: "ERR_OPTION_RANGE" });
    }
  });
});

describe("the events of an app", () => {
  it("tell each state and each hook with what it took, and what failed", async () => {
    const time = new FakeClock();
    const module = defineModule("m", [
      provider({
        provides: store,
        create: () => ({ id: 1 }),
        start: () => time.advance(25),
        stop() {
          throw new Error("stuck");
        },
      }),
    ]);
    const app = createApp({ name: "app", modules: [module], clock: time, config });
    await app.start();
    await assert.rejects(app.stop());
    const heard: AppEvent[] = [];
    app.events.subscribe((event) => heard.push(event));
    assert.deepEqual(
      heard
        .filter((event) => event.type !== "hook" || event.module !== "app")
        .map((event) =>
          event.type === "hook"
            ? `${event.hook} ${event.provider} of ${event.module} ${event.step === "begun" ? "begun" : event.tookMs}`
            : event.type === "state"
              ? event.state
              : event.type,
        ),
      [
        "starting",
        "create store of m begun",
        "create store of m 0",
        "start store of m begun",
        "start store of m 25",
        "ready",
        "draining",
        "stopping",
        "stop store of m begun",
        "stop store of m 0",
        "stopped",
      ],
    );
    const failed = heard.filter((event) => event.type === "hook" && event.step === "failed");
    assert.equal(failed.length, 1);
  });

  it("may be listened to by what starts or stops the app", async () => {
    const twice = createApp({ name: "app", modules: [], config });
    const again: Promise<unknown>[] = [];
    const end = twice.events.subscribe((event) => {
      if (event.type === "state" && event.state === "starting")
        again.push(assert.rejects(twice.start(), { code: "ERR_APP_STATE" }));
    });
    await twice.start();
    await Promise.all(again);
    assert.equal(again.length, 1);
    end();
    await twice.stop();

    const stopped = createApp({ name: "app", modules: [], config });
    const states: string[] = [];
    stopped.events.subscribe((event) => {
      if (event.type !== "state") return;
      states.push(event.state);
      if (event.state === "starting") void stopped.stop();
    });
    await assert.rejects(stopped.start(), { status: "cancelled" });
    await stopped.stop();
    assert.deepEqual(states, ["starting", "stopped"]);
  });

  it("reach each listener once, also one that comes while they are told", () => {
    const app = createApp({ name: "app", modules: [], config });
    const heard: string[] = [];
    app.events.subscribe(() => {
      if (heard.length === 0) app.events.subscribe((event) => heard.push(event.type));
    });
    app.fail("x");
    assert.deepEqual(heard, ["fatal"]);
  });

  it("do not let a listener that throws stop the app; its error is an uncaught exception", async (t) => {
    const thrown: unknown[] = [];
    const { nextTick } = process;
    t.mock.method(process, "nextTick", (task: (...args: unknown[]) => void, ...args: unknown[]) => {
      nextTick(() => {
        try {
          task(...args);
        } catch (error) {
          thrown.push(error);
        }
      });
    });
    const app = createApp({ name: "app", modules: [counting().module], config });
    const error = new Error("careless");
    app.events.subscribe((event) => {
      if (event.type === "state") throw error;
    });
    await app.start();
    await app.stop();
    assert.equal(app.state, "stopped");
    await new Promise(setImmediate);
    assert.ok(thrown.length >= 4 && thrown.every((one) => one === error));
  });

  it("do not let one that throws at what was before keep it, or its owner, from going on", async (t) => {
    t.mock.method(process, "nextTick", () => {});
    const app = createApp({ name: "app", modules: [], config });
    app.fail("early");
    const heard: string[] = [];
    app.events.subscribe((event) => {
      heard.push(event.type);
      throw new Error("careless");
    });
    app.fail("late");
    assert.deepEqual(heard, ["fatal", "fatal"]);
  });

  it("stop for who has left", async () => {
    const app = createApp({ name: "app", modules: [], config });
    const heard: string[] = [];
    const leave = app.events.subscribe((event) => heard.push(event.type));
    leave();
    await app.start();
    assert.deepEqual(heard, []);
  });
});

describe("a fatal error of an app", () => {
  it("is told by failure, the first one, whether it comes before or after the start", async () => {
    const early = createApp({ name: "app", modules: [], config });
    early.fail(new Error("first"));
    early.fail(new Error("second"));
    assert.equal(((await early.failure) as Error).message, "first");
    await early.start();
    assert.equal(early.state, "ready");

    const late = createApp({ name: "app", modules: [], config });
    await late.start();
    late.fail("after");
    assert.equal(await late.failure, "after");
    assert.equal(late.state, "ready");
  });

  for (const [name, error] of Object.entries({
    "a promise": new Promise(() => {}),
    // oxlint-disable-next-line unicorn/no-thenable -- the point of it
    "something like a promise": { then: () => assert.fail("called") },
    "a proxy that throws": new Proxy({}, { get: () => assert.fail("touched"), has: () => assert.fail("touched") }),
    "a revoked proxy": revoked(),
  })) {
    it(`may be ${name}: it is told all the same`, async () => {
      const app = createApp({ name: "app", modules: [], config });
      app.fail(error);
      assert.equal(((await app.failure) as Error).cause, error);
    });
  }

  it("may be nothing at all", async () => {
    const app = createApp({ name: "app", modules: [], config });
    app.fail(null);
    assert.equal(await app.failure, null);
  });

  it("is an event with its origin, for who listens now and for who comes late", () => {
    const app = createApp({ name: "app", modules: [], config });
    app.fail("x", "stream");
    app.fail("y");
    const heard: AppEvent[] = [];
    app.events.subscribe((event) => heard.push(event));
    assert.deepEqual(heard, [
      { type: "fatal", error: "x", origin: "stream" },
      { type: "fatal", error: "y", origin: "lifecycle" },
    ]);
  });
});

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}
