import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { z } from "zod";
import { coreModule } from "../core-module.ts";
import { errorReporters } from "../errors/module.ts";
import { healthChecks } from "../health/module.ts";
import { logger } from "../logger/module.ts";
import { defineSettings } from "../config/settings.ts";
import type { Logger } from "../logger/logger.ts";
import { testApp } from "../testing/test-app.ts";
import type { App } from "./app.ts";
import { createApp } from "./create-app.ts";
import { defineModule } from "./module.ts";
import { current, live, type LiveSettings, optional } from "./needs.ts";
import { provider } from "./provider.ts";
import { requestInput, scopeValue } from "./request-scope.ts";
import { token } from "./token.ts";
import { clock } from "./tokens.ts";

interface Store {
  readonly size: number;
  close(): void;
}

const store = token("store").of<Store>();
const cache = token("cache").of<Map<string, string>>();
const greeting = token("greeting").of<string>();
const settings = defineSettings("notes", z.strictObject({ max: z.int().default(5) }));

const provideStore = provider({ provides: store, create: () => ({ size: 1, close: () => {} }) });
const provideGreeting = provider({
  provides: greeting,
  needs: { store, settings, log: logger, time: clock },
  create: ({ store, settings, log, time }) =>
    `${store.size} ${settings.max} ${log.isEnabled("info")} ${time.now() > 0}`,
});
const storeModule = defineModule("store", [provideStore]);
const greetingModule = defineModule("greeting", [provideGreeting]);

/** Compiles only where both types are the same. */
function same<A, B>(..._proof: [A] extends [B] ? ([B] extends [A] ? [] : [never]) : [never]): void {}

// The compiler is the test here: each line marked as an error must be one, and no other may.
describe("the types of a provider", () => {
  it("are inferred from tokens, in create and in every hook, without an annotation", async () => {
    const values: unknown[] = [];
    const part = provider({
      provides: store,
      needs: { text: greeting, log: logger, checks: healthChecks, settings },
      create({ text, log, checks, settings }, { signal }) {
        same<typeof text, string>();
        same<typeof log, Logger>();
        same<(typeof checks)[number]["name"], string>();
        same<typeof settings, { max: number }>();
        same<typeof signal, AbortSignal>();
        values.push(text.length, checks.length, settings.max);
        return { size: 2, close: () => values.push("closed") };
      },
      start(own, { signal }) {
        same<typeof own, Store>();
        same<typeof signal, AbortSignal>();
      },
      stop: (own) => own.close(),
    });
    const text = provider({ provides: greeting, create: () => "hello" });
    const app = await testApp({ name: "types", modules: [coreModule, defineModule("notes", [part, text])] });
    await app.stop();
    assert.deepEqual(values, [5, 2, 5, "closed"]); // the core has two checks of its own
  });

  it("take whatever a hook returns, and tell a stop hook whether there is something to save", () => {
    provider({
      provides: cache,
      create: () => new Map<string, string>(),
      start: (own) => own.size,
      stop: async (own, { hasStarted }) => {
        same<typeof hasStarted, boolean>();
        return own.size;
      },
    });
    // @ts-expect-error -- only a stop hook is told
    provider({ provides: cache, create: () => new Map(), start: (_, { hasStarted }) => hasStarted });
  });

  it("take a promise from create, and what is more than the token asks for", () => {
    provider({ provides: store, create: async () => ({ size: 1, close: () => {}, extra: true }) });
    provider({ provides: cache, create: () => new Map<string, string>(), start: async () => {}, drain: () => {} });
  });

  it("refuse a create that makes something else", () => {
    // @ts-expect-error -- a number is no store
    provider({ provides: store, create: () => 5 });
    // @ts-expect-error -- nor is a promise of one that lacks its method
    provider({ provides: store, create: async () => ({ size: 1 }) });
    // @ts-expect-error -- one element of a list is made, not the list
    provider({ provides: healthChecks, create: () => [{ name: "x", run: () => {} }] });
  });

  it("refuse a hook that expects another value", () => {
    const made = { provides: store, create: (): Store => ({ size: 1, close: () => {} }) } as const;
    // @ts-expect-error -- the value is a store
    provider({ ...made, start: (value: string) => void value });
    // @ts-expect-error -- the value is a store
    provider({ ...made, stop: (value: number) => void value });
    // @ts-expect-error -- a store has no such method
    provider({ ...made, stop: (value) => value.shutDown() });
  });

  it("refuse needs used as something that they are not", () => {
    provider({
      provides: greeting,
      needs: { store, settings },
      create({ store, settings }) {
        // @ts-expect-error -- size is a number
        const size: string = store.size;
        // @ts-expect-error -- settings are frozen and typed as their schema says
        const max: string = settings.max;
        return size + max;
      },
    });
    provider({
      provides: greeting,
      needs: { store },
      // @ts-expect-error -- it was not asked for
      create: ({ cache }) => String(cache),
    });
    // @ts-expect-error -- a need is a token, not a name
    provider({ provides: greeting, needs: { store: "store" }, create: () => "x" });
  });
});

describe("the types of needs", () => {
  const user = token("user").perRequest<{ readonly id: string }>();

  it("are inferred for what is optional, live, and current", () => {
    provider({
      provides: greeting,
      needs: { cache: optional(cache), limits: live(settings), user: current(user) },
      create({ cache, limits, user }) {
        same<typeof cache, Map<string, string> | undefined>();
        same<typeof limits, LiveSettings<{ max: number }>>();
        same<typeof user, () => Promise<{ readonly id: string }>>();
        limits.subscribe((next, previous) => void (next.max - previous.max));
        // @ts-expect-error -- it may be absent
        cache.get("x");
        return String(limits.current.max);
      },
    });
  });

  it("are values, within a request, for what lives as long as the request", () => {
    const session = token("session").perRequest<string>();
    provider({
      provides: session,
      needs: { user, store },
      create({ user, store }) {
        same<typeof user, { readonly id: string }>();
        same<typeof store, Store>();
        return user.id;
      },
      stop: (own) => void own.length,
    });
    // @ts-expect-error -- one that makes something else
    provider({ provides: session, create: () => 5 });
  });

  it("refuse what is gone before its user is", () => {
    provider({
      provides: greeting,
      // @ts-expect-error -- a greeting lives longer than a user
      needs: { user },
      create: () => "x",
    });
    // @ts-expect-error -- only what lives as long as the app may be optional
    optional(user);
    // @ts-expect-error -- only what lives for one request has a current one
    current(store);
    // @ts-expect-error -- only settings are live
    live(store);
  });

  it("refuse hooks of the app's life where the request's is shorter", () => {
    const made = { provides: user, create: () => ({ id: "x" }) } as const;
    provider({ ...made, stop: (own) => void own.id, limits: { createMs: 5 } });
    // @ts-expect-error -- it starts with no app
    provider({ ...made, start: () => {} });
    // @ts-expect-error -- it joins nothing
    provider({ ...made, join: () => {} });
    // @ts-expect-error -- it is no ground
    provider({ ...made, ground: true });
  });
});

describe("the types of an app", () => {
  it("take modules that provide all that they need, in any order and nesting", () => {
    createApp({ name: "types", modules: [coreModule, storeModule, greetingModule] });
    createApp({ name: "types", modules: [greetingModule, storeModule, coreModule] });
    createApp({
      name: "types",
      modules: [defineModule("all", [greetingModule, defineModule("deep", [storeModule]), coreModule])],
    });
    createApp({ name: "types", modules: [] });
    createApp({
      name: "types",
      modules: [defineModule("clocked", [provider({ provides: cache, needs: { clock }, create: () => new Map() })])],
    });
  });

  it("need nobody to add to a list, and no provider for settings", () => {
    const part = provider({ provides: greeting, needs: { errorReporters, settings }, create: () => "x" });
    createApp({ name: "types", modules: [defineModule("notes", [part])] });
  });

  it("refuse modules of which one needs what no other provides", () => {
    // @ts-expect-error -- nobody provides "store"
    createApp({ name: "types", modules: [coreModule, greetingModule] });
    // @ts-expect-error -- nobody provides "logger"
    createApp({ name: "types", modules: [storeModule, greetingModule] });
  });

  it("give by get what is provided, with its type, and nothing else", async () => {
    await using app = await testApp({
      name: "types",
      modules: [coreModule, storeModule, greetingModule],
      expose: [greeting],
    });
    const text = app.get(greeting);
    same<typeof text, string>();
    assert.equal(text, "1 5 true true");
    same<ReturnType<typeof app.get<Store, "store">>, Store>();
    app.get(clock);
    // @ts-expect-error -- no module provides "cache"
    assert.throws(() => app.get(cache), { code: "ERR_APP_TOKEN" });
    // @ts-expect-error -- a list is no one value
    assert.throws(() => app.get(errorReporters), { code: "ERR_APP_TOKEN" });
  });

  it("see private providers in their own module only", () => {
    const hidden = provider({ provides: store, private: true, create: () => ({ size: 1, close: () => {} }) });
    const inner = defineModule("inner", [provideGreeting]);
    createApp({ name: "types", modules: [coreModule, defineModule("one", [hidden, inner])] });
    // @ts-expect-error -- nobody provides "store" to the second module
    createApp({ name: "types", modules: [coreModule, defineModule("one", [hidden]), greetingModule] });
    const app = createApp({ name: "types", modules: [defineModule("one", [hidden])] });
    // @ts-expect-error -- and get is no way in
    assert.throws(() => app.get(store), { code: "ERR_APP_TOKEN" });
  });

  it("count what is optional as no need, and what is current as one", () => {
    const user = token("user").perRequest<string>();
    const easy = provider({ provides: greeting, needs: { store: optional(store) }, create: () => "x" });
    createApp({ name: "types", modules: [defineModule("easy", [easy])] });
    const later = provider({ provides: greeting, needs: { user: current(user) }, create: () => "x" });
    // @ts-expect-error -- nobody provides "user"
    createApp({ name: "types", modules: [defineModule("later", [later])] });
    createApp({ name: "types", modules: [defineModule("later", [later, requestInput(user)])] });
  });

  it("give by a scope what lives for a request, and nothing else", async () => {
    const user = token("user").perRequest<string>();
    const other = token("other").perRequest<string>();
    const module = defineModule("users", [provider({ provides: user, create: () => "me" }), provideStore]);
    await using app = await testApp({ name: "types", modules: [module], expose: [user] });
    await using scope = app.openScope({ values: [scopeValue(user, "you")] });
    const text = await scope.get(user);
    same<typeof text, string>();
    // @ts-expect-error -- no module provides "other"
    await assert.rejects(scope.get(other), { code: "ERR_APP_TOKEN" });
    // @ts-expect-error -- that lives as long as the app
    await assert.rejects(scope.get(store), { code: "ERR_APP_TOKEN" });
    // @ts-expect-error -- and get gives what lives as long as the app
    assert.throws(() => app.get(user), { code: "ERR_APP_TOKEN" });
    // @ts-expect-error -- a user is text
    scopeValue(user, 5);
  });

  it("let any app stand for an app, whatever it provides", () => {
    const apps: readonly App<never>[] = [
      createApp({ name: "types", modules: [storeModule] }),
      createApp({ name: "types", modules: [] }),
    ];
    assert.equal(apps.length, 2);
  });
});

describe("the message of the compiler", () => {
  const head = `import { coreModule, createApp, defineModule, provider, token } from ${JSON.stringify(resolve(import.meta.dirname, "../index.ts"))};`;

  it("names each token that no module provides", async (t) => {
    const output = await refused(
      t,
      `${head}
      const pool = token("billing.pool").of<object>();
      const mailer = token("billing.mailer").of<object>();
      const invoices = token("invoices").of<object>();
      const part = provider({ provides: invoices, needs: { pool, mailer }, create: ({ pool }) => pool });
      createApp({ name: "billing", modules: [coreModule, defineModule("billing", [part])] });`,
    );
    assert.match(output, /no module provides the token/);
    assert.match(output, /"billing\.mailer" \| "billing\.pool"|"billing\.pool" \| "billing\.mailer"/);
  });

  it("names the token of what is gone before its user is, and the way out", async (t) => {
    const output = await refused(
      t,
      `${head}
      const customer = token("billing.customer").perRequest<object>();
      const invoices = token("invoices").of<object>();
      export const part = provider({ provides: invoices, needs: { customer }, create: ({ customer }) => customer });`,
    );
    assert.match(output, /lives for one request, its user for longer; ask for current\(token\) instead/);
    assert.match(output, /"billing\.customer"/);
  });

  it("names the token whose create makes something else", async (t) => {
    const output = await refused(
      t,
      `${head}
      const limit = token("billing.limit").of<number>();
      export const part = provider({ provides: limit, create: () => "ten" });`,
    );
    assert.match(output, /Type 'string' is not assignable to type 'Made<Token<number, "billing.limit">>'/);
  });
});

/** What the compiler says of a program that must have one error. */
async function refused(t: TestContext, program: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "plinth-types-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const root = resolve(import.meta.dirname, "../../../..");
  writeFileSync(join(folder, "main.mts"), program);
  const config = {
    extends: join(root, "tsconfig.json"),
    compilerOptions: { typeRoots: [join(root, "node_modules/@types")], noUnusedLocals: false },
    include: [],
    files: ["main.mts"],
  };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  const { code, output } = await run(join(root, "node_modules/.bin/tsc"), ["-p", folder]);
  assert.notEqual(code, 0);
  assert.equal(output.match(/error TS/g)?.length, 1, output);
  return output;
}

function run(file: string, args: readonly string[]): Promise<{ readonly code: unknown; readonly output: string }> {
  const { promise, resolve } = Promise.withResolvers<{ readonly code: unknown; readonly output: string }>();
  execFile(file, args, (error, stdout) => resolve({ code: error ? error.code : 0, output: stdout }));
  return promise;
}
