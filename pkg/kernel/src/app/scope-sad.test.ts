// Request scopes that are closed, cancelled and asked at the worst moment.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "../testing/fake-clock.ts";
import { type TestApp, testApp } from "../testing/test-app.ts";
import type { App } from "./app.ts";
import { createApp } from "./create-app.ts";
import { defineModule } from "./module.ts";
import { current } from "./needs.ts";
import { type HookContext, type Provider, provider } from "./provider.ts";
import { requestInput, type RequestScope, scopeValue } from "./request-scope.ts";
import { type RequestToken, token } from "./token.ts";
import { requestScopes } from "./tokens.ts";

const thing = token("thing").perRequest<string>();
const user = token("user").perRequest<string>();
const tick = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

interface Bed {
  readonly app: TestApp<App<"thing">>;
  readonly clock: FakeClock;
  /** Set before anything is asked for. */
  scope: RequestScope<"thing">;
  created: number;
  readonly stopped: string[];
}

/** An app with `thing`, made by `create`, and one open scope of it. */
async function bedOf(create: (bed: Bed, context: HookContext) => string | Promise<string>): Promise<Bed> {
  const clock = new FakeClock();
  const stopped: string[] = [];
  const provideThing = provider({
    provides: thing,
    create: (_, context): string | Promise<string> => {
      bed.created++;
      return create(bed, context);
    },
    stop: (value) => void stopped.push(value),
    limits: { createMs: 100 },
  });
  const app = await testApp({ name: "app", modules: [defineModule("m", [provideThing])], expose: [thing], clock });
  const bed: Bed = { app, clock, scope: app.openScope(), created: 0, stopped };
  return bed;
}

describe("a request scope that its own create closes", () => {
  it("stops what a synchronous create returns after that, and gives it to nobody", async () => {
    const bed = await bedOf(({ scope }) => (void scope.close(), "late"));
    await using _app = bed.app;
    await assert.rejects(bed.scope.get(thing), { code: "ERR_SCOPE_CLOSED" });
    await bed.scope.close();
    assert.deepEqual(bed.stopped, ["late"]);
  });

  it("waits for an asynchronous create that closes it first of all, and stops what it makes", async () => {
    const bed = await bedOf(async ({ scope }) => (void scope.close(), await tick(), "late"));
    await using _app = bed.app;
    await assert.rejects(bed.scope.get(thing), { code: "ERR_SCOPE_CLOSED" });
    await bed.scope.close();
    assert.deepEqual(bed.stopped, ["late"]);
  });

  it("does not hang when the create waits for the close, which waits for the create", async () => {
    const bed = await bedOf(async ({ scope }) => (await tick(), await scope.close(), "late"));
    await using _app = bed.app;
    const asked = assert.rejects(bed.scope.get(thing), { code: "ERR_LIFECYCLE_TIMEOUT" });
    await bed.clock.advance(1_000);
    await asked;
    await bed.scope.close();
    await bed.clock.advance(0);
    assert.deepEqual(bed.stopped, ["late"]);
    await bed.app.stop();
    assert.equal(bed.clock.pending, 0);
  });
});

describe("a request whose caller has gone before something is made", () => {
  const goneScope = ({ app }: Bed): RequestScope<"thing"> =>
    app.openScope({ signal: AbortSignal.abort(new Error("the client hung up")) });

  it("is told by the signal, and what is made all the same is kept and stopped", async () => {
    const bed = await bedOf(async (_, { signal }) => (await tick(), `aborted: ${signal.aborted}`));
    await using _app = bed.app;
    const scope = goneScope(bed);
    assert.equal(await scope.get(thing), "aborted: true");
    assert.deepEqual(bed.stopped, []);
    await scope.close();
    assert.deepEqual(bed.stopped, ["aborted: true"]);
  });

  it("passes on what a create that obeys throws, and leaves no rejection unhandled", async (t) => {
    const unhandled: unknown[] = [];
    const onUnhandled = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", onUnhandled);
    t.after(() => process.off("unhandledRejection", onUnhandled));
    const bed = await bedOf((_, { signal }) => Promise.reject(signal.reason as Error));
    await using _app = bed.app;
    await assert.rejects(goneScope(bed).get(thing), {
      code: "ERR_LIFECYCLE_CANCELLED",
      message: /^create of "thing" .* was cancelled: the client hung up$/,
    });
    await tick();
    assert.deepEqual(unhandled, []);
  });

  it("abandons a create that ignores it after a second, and stops what comes late", async () => {
    const made = Promise.withResolvers<string>();
    const bed = await bedOf(() => made.promise);
    await using _app = bed.app;
    const scope = bed.app.openScope({ signal: AbortSignal.abort(new Error("gone")) });
    const asked = assert.rejects(scope.get(thing), { code: "ERR_LIFECYCLE_TIMEOUT" });
    await bed.clock.advance(1_000);
    await asked;
    made.resolve("late");
    await bed.clock.advance(0);
    assert.deepEqual(bed.stopped, ["late"]);
  });
});

describe("a create that asks its own request", () => {
  it("for itself is told so, at once, and the process lives", async () => {
    const bed = await bedOf(({ scope }) => scope.get(thing));
    await using _app = bed.app;
    const message = /^"thing" \(module m, .*\) asks for itself while it is being made, or for what needs it$/;
    await assert.rejects(bed.scope.get(thing), { code: "ERR_APP_TOKEN", message });
    await assert.rejects(bed.scope.get(thing), { code: "ERR_APP_TOKEN", message });
    assert.equal(bed.created, 2, "the next to ask tries anew");
  });

  it("for what needs it is told so, and nothing is made twice", async () => {
    let created = 0;
    const service = token("service").of<{ readonly user: () => Promise<string> }>();
    const module = defineModule("m", [
      provider({
        provides: service,
        needs: { user: current(user) },
        create: (needs) => ({ user: () => needs.user() }),
      }),
      provider({ provides: user, needs: { thing }, create: () => "ada" }),
      provider({
        provides: thing,
        needs: { service },
        create: ({ service }) => (created++, service.user()),
      }),
    ]);
    await using app = await testApp({ name: "app", modules: [module], expose: [thing] });
    await assert.rejects(
      app.get(requestScopes).run((scope) => scope.get(thing)),
      { code: "ERR_APP_TOKEN", message: /asks for itself/ },
    );
    assert.equal(created, 1);
  });

  it("for something else may do so", async () => {
    const bed = await bedOf(({ app }) => {
      const other = app.openScope({ values: [scopeValue(thing, "of another scope")] });
      return other.get(thing);
    });
    await using _app = bed.app;
    assert.equal(await bed.scope.get(thing), "of another scope");
  });
});

describe("a create that returns what only looks like a promise", () => {
  const silent = (): string => new Proxy({}, { get: () => () => undefined }) as unknown as string;
  // oxlint-disable-next-line unicorn/no-thenable -- that is what this is about
  const silentFunction = (): string => Object.assign(() => {}, { then: () => {} }) as unknown as string;
  const broken = (): string =>
    // oxlint-disable-next-line unicorn/no-thenable -- that is what this is about
    Object.defineProperty({}, "then", { get: () => assert.fail("no getter") }) as unknown as string;

  for (const [name, create] of Object.entries({
    "a proxy that answers to every name": silent,
    "a function": silentFunction,
  })) {
    it(`such as ${name}, is given up at its limit: in a request, and in the app`, async () => {
      const bed = await bedOf(create);
      await using app = bed.app;
      const asked = assert.rejects(bed.scope.get(thing), { code: "ERR_LIFECYCLE_TIMEOUT" });
      await bed.clock.advance(100);
      await asked;
      assert.equal(app.state, "ready");

      const client = provider({ provides: token("client").of<string>(), create, start: () => {} });
      const clock = new FakeClock();
      const config = { environment: {} };
      const other = createApp({ name: "app", modules: [defineModule("m", [client])], clock, config });
      const started = assert.rejects(other.start(), {
        message: /^create of "client" .* took longer than its limit of 10000 ms/,
      });
      await clock.advance(10_000);
      await started;
    });
  }

  it("and throws when it is looked at, fails the start with the words about it", async () => {
    const client = provider({ provides: token("client").of<string>(), create: broken, start: () => {} });
    const app = createApp({ name: "app", modules: [defineModule("m", [client])], config: { environment: {} } });
    await assert.rejects(app.start(), { message: /^create of "client" .* failed: no getter/ });
  });
});

describe("what a request stands on", () => {
  it("is up, not only created, before anything is made of it", async () => {
    const base = token("base").of<string>();
    const starting = Promise.withResolvers<void>();
    const module = defineModule("m", [
      provider({ provides: base, create: () => "base", start: () => starting.promise }),
      provider({ provides: thing, needs: { base }, create: () => "thing" }),
      provider({
        provides: token("early").of<unknown>(),
        needs: { scopes: requestScopes },
        create: () => "early",
        start: async () => {
          await tick();
          await assert.rejects(scopes().get(thing), {
            code: "ERR_APP_TOKEN",
            message: /"thing" .* cannot be made: "base" .* is not up/,
          });
          starting.resolve();
        },
      }),
    ]);
    const clock = new FakeClock();
    const later: { open?: () => RequestScope } = {};
    const scopes = (): RequestScope => later.open?.() ?? assert.fail("there is no app");
    const app = createApp({ name: "app", modules: [module], expose: [thing], clock, config: { environment: {} } });
    later.open = () => app.openScope();
    await app.start();
    assert.equal(await app.openScope().get(thing), "thing");
    await app.stop();
  });

  it("is not made where a value was given for its user", async () => {
    const module = defineModule("m", [
      requestInput(thing),
      provider({ provides: user, needs: { thing }, create: () => "made" }),
    ]);
    await using app = await testApp({ name: "app", modules: [module], expose: [user] });
    await using scope = app.openScope({ values: [scopeValue(user, "given")] });
    assert.equal(await scope.get(user), "given");
  });

  for (const kind of ["synchronous", "asynchronous"] as const) {
    it(`may be a chain of 5 000, ${kind}`, async () => {
      const tokens = Array.from({ length: 5_000 }, (_, at) => token(`t${at}`).perRequest<number>());
      const stopped: number[] = [];
      const parts = tokens.map((own, at): Provider => {
        const below = tokens[at - 1];
        return provider<RequestToken<number>, Readonly<Record<string, RequestToken<number>>>>({
          provides: own,
          needs: below ? { below } : {},
          create: () => (kind === "synchronous" ? at : Promise.resolve(at)),
          stop: (value) => void stopped.push(value),
        });
      });
      const last = tokens.at(-1) ?? assert.fail();
      await using app = await testApp({
        name: "app",
        modules: [defineModule("m", parts.toReversed())],
        expose: [last],
      });
      const scope: RequestScope = app.openScope();
      assert.equal(await scope.get(last), 4_999);
      await scope.close();
      assert.deepEqual(stopped, tokens.map((_, at) => at).toReversed());
    });
  }
});

describe("many request scopes at once", () => {
  it("that hang at their end leave time to stop the app, and the hooks of the app still run", async () => {
    const clock = new FakeClock();
    const stopped: string[] = [];
    const module = defineModule("m", [
      provider({ provides: thing, create: () => "thing", stop: () => new Promise(() => {}) }),
      provider({
        provides: token("database").of<string>(),
        create: () => "database",
        start: () => {},
        stop: () => void stopped.push("database"),
      }),
    ]);
    const config = { overrides: { lifecycle: { stopMs: 10_000, hookMs: 10_000 } } };
    const app = await testApp({ name: "app", modules: [module], expose: [thing], clock, config });
    await app.openScope().get(thing);
    const ended = assert.rejects(app.stop(), { code: "ERR_LIFECYCLE_STOP", message: /^1 hook failed .*closing 1 req/ });
    await clock.advance(3_000);
    await ended;
    assert.deepEqual(stopped, ["database"]);
    await clock.advance(10_000);
    assert.equal(clock.pending, 0);
  });

  it("that fail at their end when the time of the stop is up leave no rejection unhandled", async (t) => {
    const unhandled: unknown[] = [];
    const onUnhandled = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", onUnhandled);
    t.after(() => process.off("unhandledRejection", onUnhandled));
    const clock = new FakeClock();
    const module = defineModule("m", [
      provider({ provides: thing, create: () => "thing", stop: () => Promise.reject(new Error("busy")) }),
      provider({
        provides: token("server").of<string>(),
        create: () => "server",
        start: () => {},
        drain: () => new Promise(() => {}),
      }),
    ]);
    const config = { overrides: { lifecycle: { stopMs: 1_000, hookMs: 60_000, drainMs: 60_000 } } };
    const app = await testApp({ name: "app", modules: [module], expose: [thing], clock, config });
    await app.openScope().get(thing);
    const ended = assert.rejects(app.stop(), {
      message: /closing 1 request scopes did not run: stop (of all but the ground )?took longer than/,
    });
    await clock.advance(3_000);
    await ended;
    await tick();
    assert.deepEqual(unhandled, []);
  });

  it("listen to no signal in common: each listener would make the next one dearer", async (t) => {
    const heard = new Map<unknown, number>();
    const add = t.mock.method(EventTarget.prototype, "addEventListener");
    const module = defineModule("m", [
      provider({ provides: thing, create: async () => "thing", stop: async () => {} }),
    ]);
    const app = await testApp({ name: "app", modules: [module], expose: [thing] });
    const scopes = Array.from({ length: 100 }, () => app.openScope());
    await Promise.all(scopes.map((scope) => scope.get(thing)));
    await app.stop();
    for (const { this: target } of add.mock.calls) heard.set(target, (heard.get(target) ?? 0) + 1);
    assert.ok(heard.size >= 100, "their creates are listened for");
    assert.ok(Math.max(...heard.values()) < 10, `one has ${Math.max(...heard.values())} listeners`);
  });
});
