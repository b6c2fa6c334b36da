import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { Worker } from "node:worker_threads";
import { coreModule } from "@plinth/kernel";
import { FakeClock, testApp, until } from "@plinth/kernel/testing";
import { createMemoryRegistry, registryModuleOf } from "@plinth/registry";
import { ScriptedAgent } from "@plinth/registry/testing";
import { opsModule } from "@plinth/transport";
import { gateway, gatewayModule } from "./module.ts";

const route = (name: string): string =>
  `routes: [{ name: ${name}, match: { path: /${name} }, service: s, anonymous: true }]\n`;

describe("the document of a running gateway", { timeout: 60_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), "plinth-gateway-"));
  after(() => rmSync(folder, { recursive: true }));
  let files = 0;

  async function startFrom(text: string, clock = new FakeClock()) {
    const file = join(folder, `gateway-${++files}.yaml`);
    writeFileSync(file, text);
    const app = await testApp({
      name: "gateway",
      clock,
      modules: [coreModule, opsModule, registryModuleOf((context) => createMemoryRegistry(context)), gatewayModule],
      config: { overrides: { gateway: { port: 0, routes: file }, ops: { port: 0 } } },
    });
    const { port } = app.get(gateway);
    const status = async (path: string): Promise<number> => (await fetch(`http://127.0.0.1:${port}${path}`)).status;
    const write = (next: string): void => {
      writeFileSync(`${file}.next`, next);
      renameSync(`${file}.next`, file);
    };
    return { app, clock, status, write, file };
  }

  it("is taken over when its file changes", async () => {
    const { app, clock, status, write } = await startFrom(route("one"));
    assert.deepEqual([await status("/one"), await status("/two")], [503, 404]);
    write(route("two"));
    await until(async () => {
      await clock.advance(1_000);
      return (await status("/two")) === 503;
    });
    assert.equal(await status("/one"), 404);
    const [line] = app.logged.withMessage("document applied");
    assert.partialDeepStrictEqual(line, { added: ["two"], removed: ["one"] });
    await app.stop();
  });

  it("is read anew when the app reloads its config, as at SIGHUP", async () => {
    const { app, status, write } = await startFrom(route("one"));
    write(route("two"));
    await app.config.reload();
    await until(async () => (await status("/two")) === 503);
    await app.stop();
  });

  it("is kept when what comes after it is faulty: told once with its line, counted, and mended by the next", async () => {
    const { app, status, write, file } = await startFrom(route("one"));
    write(`${route("two")}surprise: 1\n`);
    await app.config.reload();
    const faults = (): string[] =>
      app.logged.lines.map((line) => JSON.stringify(line)).filter((line) => line.includes("ERR_"));
    const [told = ""] = await until(() => (faults().length > 0 ? faults() : undefined));
    assert.match(told, new RegExp(`surprise: unknown key.*${file}:2`));
    assert.equal(await status("/one"), 503);
    rmSync(file);
    await app.config.reload();
    await until(() => faults().length >= 2);
    assert.equal(await status("/one"), 503);
    write(route("three"));
    await app.config.reload();
    await until(async () => (await status("/three")) === 503);
    await app.stop();
  });

  it("is checked in a thread when it is large, which ends with the gateway", async () => {
    const threads: Worker[] = [];
    const onThread = (message: unknown): void => {
      assert.ok(typeof message === "object" && message !== null && "worker" in message);
      assert.ok(message.worker instanceof Worker);
      threads.push(message.worker);
    };
    subscribe("worker_threads", onThread);
    try {
      const { app, status, write } = await startFrom(route("one"));
      const large = (name: string): string => `${route(name)}# ${"-".repeat(70_000)}`;
      write(large("two"));
      await app.config.reload();
      await once(await until(() => threads[0]), "exit");
      await until(async () => (await status("/two")) === 503);
      write(large("three"));
      await app.config.reload();
      const last = await until(() => threads[1]);
      const ended = once(last, "exit");
      await app.stop();
      await ended;
      assert.deepEqual(
        app.logged.withMessage("document applied").map(({ added }) => added),
        [["two"]],
      );
      assert.doesNotMatch(JSON.stringify(app.logged.lines), /ERR_/);
    } finally {
      unsubscribe("worker_threads", onThread);
    }
  });

  it("is followed in Consul's store", async () => {
    let text = route("one");
    let changed = Promise.withResolvers<void>();
    let index = 1;
    await using agent = await ScriptedAgent.start(async ({ path, query }) => {
      if (path !== "/v1/kv/config/gateway") return { status: 404, index };
      if (Number(query.get("index")) >= index) await changed.promise;
      const Value = Buffer.from(text).toString("base64");
      return {
        index,
        body: [{ Key: "config/gateway", Value, Flags: 0, CreateIndex: 1, ModifyIndex: index, LockIndex: 0 }],
      };
    });
    const app = await testApp({
      name: "gateway",
      modules: [coreModule, opsModule, registryModuleOf((context) => createMemoryRegistry(context)), gatewayModule],
      config: {
        overrides: {
          gateway: { port: 0, routes: "consul:config/gateway" },
          consul: { addr: `127.0.0.1:${agent.port}` },
          ops: { port: 0 },
        },
      },
    });
    const { port } = app.get(gateway);
    const status = async (path: string): Promise<number> => (await fetch(`http://127.0.0.1:${port}${path}`)).status;
    assert.deepEqual([await status("/one"), await status("/two")], [503, 404]);
    text = route("two");
    index++;
    changed.resolve();
    changed = Promise.withResolvers();
    await until(async () => (await status("/two")) === 503);
    changed.resolve();
    await app.stop();
  });

  it("must have a place", async () => {
    const started = testApp({
      name: "gateway",
      modules: [coreModule, opsModule, registryModuleOf((context) => createMemoryRegistry(context)), gatewayModule],
      config: { overrides: { gateway: { port: 0 }, ops: { port: 0 } } },
    });
    await assert.rejects(started, /gateway\.routes: expected the path .*PLINTH_GATEWAY_ROUTES/s);
  });
});
