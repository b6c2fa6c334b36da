import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { startConsul } from "./consul.ts";

async function register(address: string, name: string): Promise<void> {
  const body = JSON.stringify({ Name: name, Port: 1 });
  const response = await fetch(`${address}/v1/agent/service/register`, { method: "PUT", body });
  assert.equal(response.status, 200);
}

/** How many instances the catalogue has now. */
async function countInstances(address: string, name: string): Promise<number> {
  const response = await fetch(`${address}/v1/health/service/${name}`);
  const instances: unknown = await response.json();
  assert.ok(Array.isArray(instances));
  return instances.length;
}

async function isGone(pid: number): Promise<boolean> {
  for (let tries = 0; tries < 250; tries += 1) {
    try {
      process.kill(pid, 0);
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, "ESRCH");
      return true;
    }
    await delay(20);
  }
  return false;
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await delay(20);
}

describe("startConsul", () => {
  it("starts agents beside each other, each with its own catalogue", async () => {
    await using first = await startConsul();
    await using second = await startConsul();
    assert.notEqual(first.address, second.address);
    await register(first.address, "notes");
    await until(async () => (await countInstances(first.address, "notes")) === 1);
    assert.equal(await countInstances(second.address, "notes"), 0);
  });

  it("keeps its address and the agent's services across a restart, and loses them with a wipe", async () => {
    await using consul = await startConsul();
    const { address, pid } = consul;
    await register(address, "notes");
    await consul.restart();
    assert.equal(consul.address, address);
    assert.notEqual(consul.pid, pid);
    await until(async () => (await countInstances(address, "notes")) === 1);
    await consul.restart({ wipe: true });
    const response = await fetch(`${address}/v1/agent/services`);
    assert.deepEqual(await response.json(), {});
  });

  it("can be killed, found dead, and started again", async () => {
    await using consul = await startConsul();
    await consul.kill("SIGKILL");
    await assert.rejects(fetch(`${consul.address}/v1/status/leader`), TypeError);
    await consul.restart();
    assert.equal((await fetch(`${consul.address}/v1/status/leader`)).status, 200);
  });

  it("stops even when it hangs, and may be stopped twice", async () => {
    const consul = await startConsul();
    await consul.kill("SIGSTOP");
    await Promise.all([consul.stop(), consul.stop()]);
    await consul.stop();
    assert.ok(await isGone(consul.pid));
  });

  it("tells what the agent printed when it does not come up", async () => {
    await assert.rejects(startConsul({ args: ["-no-such-flag"] }), {
      code: "ERR_SERVER_START",
      message: /ended; it printed:\n.*no-such-flag/s,
    });
  });

  it("ends with the process that started it, even one that is killed", async () => {
    const script = `
      import { startConsul } from ${JSON.stringify(join(import.meta.dirname, "consul.ts"))};
      const consul = await startConsul();
      console.log(consul.pid);
      setInterval(() => {}, 1_000);
    `;
    const parent = spawn(process.execPath, ["--input-type=module", "--eval", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = await once(parent.stdout, "data");
    parent.kill("SIGKILL");
    assert.ok(await isGone(Number(line)));
  });

  it("does not keep the process that started it alive", async () => {
    const script = `
      import { startConsul } from ${JSON.stringify(join(import.meta.dirname, "consul.ts"))};
      console.log((await startConsul()).pid);
    `;
    const parent = spawn(process.execPath, ["--input-type=module", "--eval", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [[line], [code]] = await Promise.all([once(parent.stdout, "data"), once(parent, "exit")]);
    assert.equal(code, 0);
    assert.ok(await isGone(Number(line)));
  });
});
