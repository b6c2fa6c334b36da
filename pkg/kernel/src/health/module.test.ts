import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { defineModule } from "../app/module.ts";
import { provider } from "../app/provider.ts";
import { coreModule } from "../core-module.ts";
import { checkLeaks } from "../testing/leaks.ts";
import { testApp } from "../testing/test-app.ts";
import { health, healthChecks } from "./module.ts";

describe("the health of an app that has stopped", () => {
  it("leaves no timer, also of checks that hang, wait or were asked by a probe that still waits; and runs nothing", async () => {
    await using leaks = checkLeaks();
    let runs = 0;
    const check = (name: string, run: () => void | Promise<void>) =>
      provider({ provides: healthChecks, create: () => ({ name, intervalMs: 10, run: () => (runs++, run()) }) });
    const checks = defineModule("checks", [
      check("hanging", () => new Promise<void>(() => {})),
      check("failing", () => Promise.reject(new Error("down"))),
      check("fine", () => {}),
    ]);
    const app = await testApp({ name: "notes", modules: [coreModule, checks] });
    const own = app.get(health);
    assert.equal(own.details().checks.length, 5);
    const probe = own.readiness();
    await app.stop();
    assert.equal((await probe).state, "draining");
    const before = runs;
    await leaks.assertNone();
    assert.equal(own.state, "stopped");
    await own.readiness();
    assert.equal(runs, before);
  });
});
