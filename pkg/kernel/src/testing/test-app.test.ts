import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { lifecycleSettings } from "../app/settings.ts";
import { defineModule } from "../app/module.ts";
import { provider } from "../app/provider.ts";
import { token } from "../app/token.ts";
import { appInfo } from "../app/tokens.ts";
import { coreModule, logger, logSettings } from "../core-module.ts";
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
