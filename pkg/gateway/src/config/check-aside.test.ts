import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, it } from "node:test";
import { Worker } from "node:worker_threads";
import { GatewayConfigError } from "../errors.ts";
import { definePlugin } from "../plugins/define.ts";
import { checkAside } from "./check-aside.ts";
import { accepted, checkText } from "./document.ts";

const { signal } = new AbortController();
const large = (text: string) => ({ text: `${text}\n# ${"-".repeat(70_000)}`, name: "gateway.yaml" });
const good = large("routes: [{ name: a, match: { path: /a }, service: s, anonymous: true }]");

describe("checkAside", { timeout: 60_000 }, () => {
  it("says in its thread what is said here, with the same lines, also of plugins that only this thread has", async () => {
    const plugins = [definePlugin({ name: "known", stage: "forward", order: 0, create: () => ({}) })];
    const given = large(`plugins:
  known: true
  knwon: true
routes:
  - { name: a, match: { path: /a }, service: s }
  - { name: b, match: { path: /b }, service: s, anonymous: true, plugins: { known: { any: 1 } }, compres: true }`);
    const faultsOf = (checked: Awaited<ReturnType<typeof checkAside>>): string[] => {
      try {
        accepted(checked, plugins);
      } catch (error) {
        assert.ok(error instanceof GatewayConfigError);
        return error.faults.map(({ key, source }) => `${source} ${key}`);
      }
      return [];
    };
    const faults = faultsOf(await checkAside(given, signal));
    assert.deepEqual(faults, faultsOf(checkText(given)));
    assert.deepEqual(faults, [
      "gateway.yaml:6 routes.1.compres",
      "gateway.yaml:5 routes.0",
      "gateway.yaml:3 plugins.knwon",
    ]);
  });

  const thread = (code: string) => (): Worker => new Worker(code, { eval: true });

  for (const [what, code, why] of [
    ["fails", "throw new Error('no memory')", /one before stays.*no memory/],
    ["ends", "process.exit(3)", /it ended with code 3/],
  ] as const) {
    it(`refuses the document when its thread ${what}`, async () => {
      await assert.rejects(checkAside(good, signal, thread(code)), { code: "ERR_GATEWAY_THREAD", message: why });
    });
  }

  it("refuses the document when there can be no thread", async () => {
    const none = (): Worker => {
      throw new Error("no more threads");
    };
    await assert.rejects(checkAside(good, signal, none), { code: "ERR_GATEWAY_THREAD", message: /no more threads/ });
  });

  it("ends its thread when it is no longer wanted", async () => {
    const closing = new AbortController();
    let own: Worker | undefined;
    const start = (): Worker => (own = thread("setInterval(() => {}, 60000)")());
    const checked = checkAside(good, closing.signal, start);
    assert.ok(own);
    const ended = once(own, "exit");
    closing.abort(new Error("closed"));
    await assert.rejects(checked, { message: "closed" });
    await ended;
    await assert.rejects(checkAside(good, closing.signal, start), { message: "closed" });
  });
});
