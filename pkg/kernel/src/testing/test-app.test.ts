import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { inspect } from "node:util";
import { LifecycleError } from "../app/errors.ts";
import { defineModule } from "../app/module.ts";
import { provider } from "../app/provider.ts";
import { token } from "../app/token.ts";
import { lifecycleSettings } from "../app/settings.ts";
import { appInfo } from "../app/tokens.ts";
import { ConfigError } from "../config/errors.ts";
import { coreModule } from "../core-module.ts";
import { logger, logSettings } from "../logger/module.ts";
import type { Logger } from "../logger/logger.ts";
import { testApp } from "./test-app.ts";

const seen = token("seen").of<{ readonly announceDelayMs: number; readonly hookMs: number; readonly level: string }>();
const look = defineModule("look", [
  provider({
    provides: seen,
    needs: { lifecycle: lifecycleSettings, log: logSettings },
    create: ({ lifecycle: { announceDelayMs, hookMs }, log: { level } }) => ({ announceDelayMs, hookMs, level }),
  }),
]);

describe("testApp", () => {
  it("sees nothing of the real environment, and waits for nobody when it stops", async (t) => {
    process.env.PLINTH_LOG_LEVEL = "fatal";
    t.after(() => delete process.env.PLINTH_LOG_LEVEL);
    await using app = await testApp({ name: "test", modules: [look], expose: [seen] });
    assert.deepEqual(app.get(seen), { announceDelayMs: 0, hookMs: 10_000, level: "info" });
    assert.deepEqual(app.get(appInfo).environment, {});
  });

  it("takes the settings, and the variables, that the test gives", async () => {
    await using app = await testApp({
      name: "test",
      modules: [look],
      expose: [seen],
      config: {
        defaults: { lifecycle: { announceDelayMs: 5, hookMs: 50 }, log: { level: "warn" } },
        environment: { PLINTH_LIFECYCLE_HOOK_MS: "60" },
      },
    });
    assert.deepEqual(app.get(seen), { announceDelayMs: 5, hookMs: 60, level: "warn" });
  });

  it("keeps the log for the test", async () => {
    await using app = await testApp({ name: "test", modules: [coreModule] });
    app.get(logger).info("hello", { to: "ada" });
    assert.equal(app.logged.withMessage("hello")[0]?.to, "ada");
    assert.deepEqual(app.logged.withMessage("unheard"), []);
  });

  it("stops at the end of its block, and fails the test when that fails", async () => {
    const stuck = provider({
      provides: token("stuck").of<string>(),
      create: () => "stuck",
      start: () => {},
      stop() {
        throw new Error("busy");
      },
    });
    await assert.rejects(
      async () => {
        await using app = await testApp({ name: "test", modules: [defineModule("stuck", [stuck])] });
        assert.equal(app.state, "ready");
      },
      { code: "ERR_LIFECYCLE_STOP" },
    );
  });

  it("hands the lines to the destination of the test as well, and flushes it", async () => {
    const texts: string[] = [];
    let flushes = 0;
    const logDestination = {
      write: (line: string) => void texts.push(line),
      flush(done: () => void) {
        flushes++;
        done();
      },
    };
    const app = await testApp({ name: "test", modules: [coreModule], logDestination });
    app.get(logger).info("hello");
    await app.stop();
    assert.equal(app.logged.withMessage("hello").length, 1);
    assert.deepEqual(
      texts.map((text): unknown => JSON.parse(text)),
      app.logged.lines,
    );
    assert.ok(flushes > 0);
  });

  it("keeps lines that are written for people as their text", async () => {
    const config = { defaults: { log: { format: "pretty" } } };
    await using app = await testApp({ name: "test", modules: [coreModule], config });
    app.get(logger).info("hello", { to: "ada" });
    assert.match(String(app.logged.lines.at(-1)?.message), /^\[.*\] INFO: test: hello {2}to=ada$/);
  });

  for (const given of [true, false]) {
    it(`tells with a failed start what was logged of it, ${given ? "with" : "without"} a destination of its own`, async () => {
      const broken = provider({
        provides: token("broken").of<string>(),
        needs: { log: logger },
        create: () => "broken",
        start(_, { signal }) {
          signal.throwIfAborted();
          throw new Error("no");
        },
      });
      const loud = provider({
        provides: token("loud").of<Logger>(),
        needs: { log: logger },
        create({ log }) {
          const own = log.named("loud");
          own.info("all is well");
          for (let count = 1; count <= 30; count++) own.warn("odd\nthing", { count });
          own.error("cannot reach it", { host: "db", error: new Error("refused") });
          return own;
        },
        start: () => {},
      });
      const failing = testApp({
        name: "test",
        modules: [coreModule, defineModule("broken", [loud, broken])],
        ...(given ? { logDestination: { write: () => {} } } : {}),
      });
      await assert.rejects(failing, (error: unknown) => {
        assert.ok(error instanceof LifecycleError);
        const logged: unknown = Reflect.get(error, "logged");
        assert.ok(Array.isArray(logged));
        assert.equal(logged.length, 20);
        assert.equal(logged.at(-1), 'error loud: cannot reach it host="db" error="refused"');
        assert.equal(logged.at(-2), String.raw`warn loud: odd\nthing count=30`);
        assert.match(inspect(error), /cannot reach it/);
        return true;
      });
    });
  }

  it("adds no line to a failed start that only says the same", async () => {
    const config = { environment: { PLINTH_LOG_LEVEL: "loud" } };
    await assert.rejects(testApp({ name: "test", modules: [coreModule], config }), (error: unknown) => {
      assert.ok(error instanceof ConfigError);
      assert.ok(!("logged" in error));
      return true;
    });
  });

  it("rejects when the app cannot start", async () => {
    const broken = provider({
      provides: token("broken").of<string>(),
      create: () => "broken",
      start() {
        throw new Error("no");
      },
    });
    await assert.rejects(testApp({ name: "test", modules: [defineModule("broken", [broken])] }), {
      code: "ERR_LIFECYCLE_START",
    });
  });
});
