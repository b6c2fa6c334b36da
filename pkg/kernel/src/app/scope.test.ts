import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { currentContext, runInContext } from "../context.ts";
import { AppError } from "../errors/app-error.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { testApp } from "../testing/test-app.ts";
import type { App } from "./app.ts";
import { createApp } from "./create-app.ts";
import { defineModule, type Module } from "./module.ts";
import { current, optional } from "./needs.ts";
import { type HookContext, provider } from "./provider.ts";
import { requestInput, type RequestScope, scopeValue } from "./request-scope.ts";
import { token } from "./token.ts";
import { requestScopes } from "./tokens.ts";

const database = token("database").of<{ readonly name: string }>();
const connection = token("connection").perRequest<{ readonly of: string }>();
const user = token("user").perRequest<{ readonly id: string }>();
const tenant = token("tenant").perRequest<string>();

/** What happened, in order. */
type Said = string[];

const provideDatabase = provider({ provides: database, create: () => ({ name: "main" }), start: () => {} });

function requestModule(said: Said): Module<"connection" | "user", "database"> {
  return defineModule("requests", [
    provider({
      provides: connection,
      needs: { database },
      create: ({ database }) => {
        said.push("open connection");
        return { of: database.name };
      },
      stop: () => void said.push("close connection"),
    }),
    provider({
      provides: user,
      needs: { connection },
      create: async ({ connection }) => {
        said.push("find user");
        return { id: `${connection.of}-7` };
      },
      stop: () => void said.push("forget user"),
    }),
  ]);
}

const base = defineModule("base", [provideDatabase]);

describe("a request scope", () => {
  it("makes what is asked for and what that needs, once, and stops it in reverse", async () => {
    const said: Said = [];
    await using app = await testApp({ name: "app", modules: [base, requestModule(said)], expose: [user] });
    const scope = app.openScope();
    assert.deepEqual(said, []);
    assert.deepEqual(await scope.get(user), { id: "main-7" });
    assert.equal(await scope.get(user), await scope.get(user));
    assert.deepEqual(await scope.get(connection), { of: "main" });
    await scope.close();
    assert.deepEqual(said, ["open connection", "find user", "forget user", "close connection"]);
  });

  it("shares nothing with another one", async () => {
    await using app = await testApp({ name: "app", modules: [base, requestModule([])], expose: [user] });
    await using one = app.openScope();
    await using other = app.openScope();
    assert.notEqual(await one.get(user), await other.get(user));
    assert.notEqual(await one.get(connection), await other.get(connection));
  });

  it("makes a thing once when two ask for it at the same moment", async () => {
    const said: Said = [];
    await using app = await testApp({ name: "app", modules: [base, requestModule(said)], expose: [user] });
    await using scope = app.openScope();
    const [one, other] = await Promise.all([scope.get(user), scope.get(user)]);
    assert.equal(one, other);
    assert.deepEqual(said, ["open connection", "find user"]);
  });

  it("tells a failure to all that wait, as it was thrown, and tries anew for the next", async () => {
    const refused = new AppError("ERR_TEST_REFUSED", "unauthenticated", "who are you");
    let tries = 0;
    const module = defineModule("users", [
      provider({
        provides: user,
        create: async () => {
          if (++tries === 1) throw refused;
          return { id: `try ${tries}` };
        },
      }),
    ]);
    await using app = await testApp({ name: "app", modules: [module], expose: [user] });
    await using scope = app.openScope();
    const asked = [scope.get(user), scope.get(user)];
    for (const each of asked) await assert.rejects(each, (error) => error === refused);
    assert.deepEqual(await scope.get(user), { id: "try 2" });
  });

  it("passes on what a synchronous create throws, unhandled by nobody", async () => {
    const broken = new Error("broken");
    const slow = token("slow").perRequest<number>();
    const module = defineModule("users", [
      provider({ provides: slow, create: () => Promise.reject(new Error("slow and broken")) }),
      provider({
        provides: tenant,
        create: () => {
          throw broken;
        },
      }),
      provider({ provides: user, needs: { slow, tenant }, create: () => ({ id: "never" }) }),
    ]);
    await using app = await testApp({ name: "app", modules: [module], expose: [user] });
    await using scope = app.openScope();
    await assert.rejects(scope.get(user), (error) => error === broken);
    await scope.close();
  });

  it("waits at its end for what is being made, and stops that too", async () => {
    const said: Said = [];
    const made = Promise.withResolvers<void>();
    let signal: AbortSignal | undefined;
    const module = defineModule("users", [
      provider({
        provides: user,
        create: async (_, context) => {
          signal = context.signal;
          await made.promise;
          return { id: "late" };
        },
        stop: ({ id }) => void said.push(`stop ${id}`),
      }),
    ]);
    await using app = await testApp({ name: "app", modules: [module], expose: [user] });
    const scope = app.openScope();
    const asked = scope.get(user);
    const closed = scope.close();
    assert.equal(signal?.aborted, true);
    made.resolve();
    assert.deepEqual(await asked, { id: "late" });
    await closed;
    assert.deepEqual(said, ["stop late"]);
  });

  it("gives up a create that overruns its limit, names it, and stops what comes late", async () => {
    const said: Said = [];
    const made = Promise.withResolvers<void>();
    let signal: AbortSignal | undefined;
    const module = defineModule("users", [
      provider({
        provides: user,
        create: async (_, context) => {
          signal = context.signal;
          await made.promise;
          return { id: "late" };
        },
        stop: ({ id }) => void said.push(`stop ${id}`),
        limits: { createMs: 50 },
      }),
    ]);
    const clock = new FakeClock();
    await using app = await testApp({ name: "app", modules: [module], expose: [user], clock });
    const scope = app.openScope();
    const asked = assert.rejects(scope.get(user), {
      code: "ERR_LIFECYCLE_TIMEOUT",
      message: /^create of "user" \(module users, .*scope\.test\.ts:\d+\) took longer than its limit of 50 ms/,
    });
    await clock.advance(50);
    await asked;
    assert.equal(signal?.aborted, true);
    made.resolve();
    await scope.close();
    await clock.advance(0);
    assert.deepEqual(said, ["stop late"]);
  });

  it("goes on stopping after failures and hangs, and reports all of them", async () => {
    const said: Said = [];
    const tokens = ["a", "b", "c"].map((name) => token(name).perRequest<string>());
    const [a, b, c] = tokens;
    assert.ok(a && b && c);
    const module = defineModule("users", [
      provider({ provides: a, create: () => "a", stop: () => void said.push("stop a") }),
      provider({
        provides: b,
        needs: { a },
        create: () => "b",
        stop: () => new Promise(() => {}),
        limits: { stopMs: 20 },
      }),
      provider({
        provides: c,
        needs: { b },
        create: () => "c",
        stop: () => {
          throw new Error("no");
        },
      }),
    ]);
    const clock = new FakeClock();
    await using app = await testApp({ name: "app", modules: [module], expose: [c], clock });
    const scope = app.openScope();
    await scope.get(c);
    const closed = assert.rejects(scope.close(), (error: unknown) => {
      assert.ok(AppError.is(error) && error.code === "ERR_SCOPE_STOP", String(error));
      assert.match(
        error.message,
        /^2 hooks failed at the end of a request: stop of "c" .* failed: no; stop of "b" .* 20 ms/,
      );
      assert.ok(error.cause instanceof AggregateError && error.cause.errors.length === 2);
      return true;
    });
    await clock.advance(20);
    await closed;
    assert.deepEqual(said, ["stop a"]);
    assert.equal(app.get(requestScopes).openCount, 0);
  });

  it("is closed once, and gives nothing after that", async () => {
    const said: Said = [];
    await using app = await testApp({ name: "app", modules: [base, requestModule(said)], expose: [user] });
    const scope = app.openScope();
    await scope.get(user);
    await Promise.all([scope.close(), scope.close(), scope[Symbol.asyncDispose]()]);
    assert.equal(said.filter((line) => line === "forget user").length, 1);
    await assert.rejects(scope.get(user), { code: "ERR_SCOPE_CLOSED" });
    assert.equal(scope.signal.aborted, true);
  });

  it("tells its hooks when whoever asked has gone", async () => {
    const gone = new AbortController();
    const heard: HookContext[] = [];
    const module = defineModule("users", [
      provider({
        provides: user,
        create: (_, context) => {
          heard.push(context);
          return { id: "x" };
        },
      }),
    ]);
    await using app = await testApp({ name: "app", modules: [module], expose: [user] });
    await using scope = app.openScope({ signal: gone.signal });
    await scope.get(user);
    const [context] = heard;
    assert.equal(context?.signal.aborted, false);
    const why = new Error("the caller has gone");
    gone.abort(why);
    assert.equal(context?.signal.reason, why);
    assert.equal(scope.signal.reason, why);
  });

  it("gives the values that it was opened with, and does not stop them", async () => {
    const said: Said = [];
    const module = defineModule("users", [
      requestInput(tenant),
      provider({ provides: user, needs: { tenant }, create: ({ tenant }) => ({ id: `${tenant}-7` }) }),
      provider({ provides: connection, create: () => ({ of: "x" }), stop: () => void said.push("stopped") }),
    ]);
    await using app = await testApp({ name: "app", modules: [module], expose: [user, connection] });
    const given = { of: "given" };
    await using scope = app.openScope({ values: [scopeValue(tenant, "acme"), scopeValue(connection, given)] });
    assert.deepEqual(await scope.get(user), { id: "acme-7" });
    assert.equal(await scope.get(connection), given);
    await scope.close();
    assert.deepEqual(said, []);
    await using empty = app.openScope();
    await assert.rejects(empty.get(user), {
      code: "ERR_SCOPE_INPUT",
      message: /^"tenant" was not given when the request scope was opened; pass scopeValue/,
    });
  });

  it("is not to be had before the start and once the app stops, which closes those that are open", async () => {
    const said: Said = [];
    const app = createApp({
      name: "app",
      modules: [base, requestModule(said)],
      expose: [user],
      config: { environment: {}, overrides: { lifecycle: { announceDelayMs: 0 } } },
    });
    assert.throws(() => app.openScope(), { code: "ERR_APP_TOKEN", message: /has not started/ });
    await app.start();
    const scope = app.openScope();
    await scope.get(user);
    assert.equal(app.get(requestScopes).openCount, 1);
    await app.stop();
    assert.deepEqual(said.slice(2), ["forget user", "close connection"]);
    assert.throws(() => app.openScope(), { code: "ERR_SCOPE_CLOSED" });
    await assert.rejects(scope.get(user), { code: "ERR_SCOPE_CLOSED" });
  });

  it("that hangs at its end does not keep the app from stopping within its limit", async () => {
    const module = defineModule("users", [
      provider({
        provides: user,
        create: () => ({ id: "x" }),
        stop: () => new Promise(() => {}),
        limits: { stopMs: Infinity },
      }),
    ]);
    const clock = new FakeClock();
    const stopMs = 5_000;
    const app = await testApp({
      name: "app",
      modules: [module],
      expose: [user],
      clock,
      config: { overrides: { lifecycle: { stopMs } } },
    });
    await app.openScope().get(user);
    const stopped = assert.rejects(app.stop(), {
      code: "ERR_LIFECYCLE_STOP",
      message: /closing 1 request scopes did not end within 1000 ms of being cancelled/,
    });
    await clock.advance(stopMs + 1_000);
    await stopped;
  });

  it("does not build what nothing needs, and says so when it is asked for", async () => {
    await using app = await testApp({ name: "app", modules: [base, requestModule([])] });
    await using scope = app.openScope();
    await assert.rejects(scope.get(user), {
      code: "ERR_APP_TOKEN",
      message: /"user" is not there: nothing needs it.*expose/,
    });
  });
});

describe("what needs the current one of a request", () => {
  const greeter = token("greeter").of<() => Promise<string>>();
  const greeterModule = defineModule("greeter", [
    provider({
      provides: greeter,
      needs: { user: current(user) },
      create:
        ({ user }) =>
        async () =>
          (await user()).id,
    }),
  ]);

  it("gets it in each request, whatever is asynchronous in between", async () => {
    const said: Said = [];
    await using app = await testApp({
      name: "app",
      modules: [base, requestModule(said), greeterModule],
      expose: [greeter],
    });
    const scopes = app.get(requestScopes);
    const greet = app.get(greeter);
    const ids = await Promise.all([
      scopes.run(async () => {
        const first = await greet();
        await new Promise((resolve) => setImmediate(resolve));
        return [first, await greet()];
      }),
      scopes.run(() => greet()),
    ]);
    assert.deepEqual(ids, [["main-7", "main-7"], "main-7"]);
    assert.equal(said.filter((line) => line === "find user").length, 2);
    assert.equal(said.filter((line) => line === "forget user").length, 2);
    assert.equal(scopes.openCount, 0);
  });

  it("is told when there is no request, or one of another app", async () => {
    const make = (): Promise<App<"greeter" | "app.scopes"> & AsyncDisposable> =>
      testApp({ name: "app", modules: [base, requestModule([]), greeterModule], expose: [greeter] });
    await using app = await make();
    await using other = await make();
    const none = {
      code: "ERR_SCOPE_NONE",
      message: /^"user" \(module requests, .*\) lives for one request, and no request of this app is being served here/,
    };
    await assert.rejects(app.get(greeter)(), none);
    await other.get(requestScopes).run(() => assert.rejects(app.get(greeter)(), none));
    await runInContext({ requestId: "r" }, () => assert.rejects(app.get(greeter)(), none));
  });

  it("keeps the rest of the request's context, and the failure of the work comes before that of the end", async () => {
    const module = defineModule("users", [
      provider({
        provides: user,
        create: () => ({ id: "x" }),
        stop: () => {
          throw new Error("end");
        },
      }),
    ]);
    await using app = await testApp({ name: "app", modules: [module], expose: [user] });
    const scopes = app.get(requestScopes);
    let seen: string | undefined;
    const run = runInContext({ requestId: "r-1" }, () =>
      scopes.run(async (scope: RequestScope) => {
        seen = currentContext()?.requestId;
        await scope.get(user);
        throw new Error("work");
      }),
    );
    await assert.rejects(run, (error: unknown) => {
      assert.ok(error instanceof SuppressedError);
      assert.match(String(error.suppressed), /work/);
      assert.match(String(error.error), /ERR_SCOPE_STOP|end/);
      return true;
    });
    assert.equal(seen, "r-1");
  });

  it("is up after what the request stands on, and stopped before it", async () => {
    const said: Said = [];
    const server = token("server").of<string>();
    const modules = [
      defineModule("server", [
        provider({
          provides: server,
          needs: { user: current(user) },
          create: () => "server",
          start: () => void said.push("listen"),
          stop: () => void said.push("closed"),
        }),
      ]),
      defineModule("requests", [
        provider({ provides: user, needs: { database }, create: ({ database }) => ({ id: database.name }) }),
        provider({
          provides: database,
          create: () => ({ name: "main" }),
          start: () => void said.push("connect"),
          stop: () => void said.push("disconnect"),
        }),
      ]),
    ];
    const app = await testApp({ name: "app", modules: [...modules, defineModule("rest", [])] });
    await app.stop();
    assert.deepEqual(said, ["connect", "listen", "closed", "disconnect"]);
  });

  it("may itself be what the request needs", async () => {
    const counter = token("counter").of<{ count: number; readonly next: () => Promise<string> }>();
    const module = defineModule("counter", [
      provider({
        provides: counter,
        needs: { user: current(user) },
        create: ({ user }) => ({ count: 0, next: async () => (await user()).id }),
      }),
      provider({ provides: user, needs: { counter }, create: ({ counter }) => ({ id: `n${++counter.count}` }) }),
    ]);
    await using app = await testApp({ name: "app", modules: [module], expose: [counter] });
    const scopes = app.get(requestScopes);
    assert.equal(await scopes.run(() => app.get(counter).next()), "n1");
    assert.equal(await scopes.run(() => app.get(counter).next()), "n2");
  });
});

describe("an optional need", () => {
  const report = token("report").of<string>();
  const module = defineModule("report", [
    provider({
      provides: report,
      needs: { database: optional(database) },
      create: ({ database }) => database?.name ?? "none",
    }),
  ]);

  it("is undefined where no module provides it", async () => {
    await using app = await testApp({ name: "app", modules: [module], expose: [report] });
    assert.equal(app.get(report), "none");
  });

  it("is up before its user where one does", async () => {
    await using app = await testApp({ name: "app", modules: [module, base], expose: [report] });
    assert.equal(app.get(report), "main");
  });
});
