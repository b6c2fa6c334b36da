import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { withLock } from "./lock.mjs";

const lockModule = join(import.meta.dirname, "lock.mjs");
// A process id that no system hands out.
const deadPid = 2 ** 30;

describe("withLock", () => {
  let folder: string;
  let path: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "plinth-lock-"));
    path = join(folder, "deep/a.lock");
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const leavesNothing = () => assert.deepEqual(readdirSync(join(folder, "deep")), []);

  it("lets one in at a time and tells the others who holds it", async () => {
    const held = Promise.withResolvers<void>();
    const waiting = Promise.withResolvers<string>();
    const order: string[] = [];
    const first = withLock(path, async () => {
      order.push("first in");
      await held.promise;
      order.push("first out");
    });
    const second = withLock(path, async () => void order.push("second in"), { onWait: waiting.resolve });
    assert.equal(await waiting.promise, `process ${process.pid} on ${hostname()}`);
    held.resolve();
    await Promise.all([first, second]);
    assert.deepEqual(order, ["first in", "first out", "second in"]);
    leavesNothing();
  });

  it("returns what the work returns and lets go when the work fails", async () => {
    assert.equal(await withLock(path, async () => 7), 7);
    await assert.rejects(
      withLock(path, async () => {
        throw new Error("oh");
      }),
      /^Error: oh$/,
    );
    leavesNothing();
  });

  it("takes over from a holder that has died", async () => {
    await withLock(path, async () => {});
    await writeFile(path, JSON.stringify({ pid: deadPid, host: hostname() }));
    assert.equal(await withLock(path, async () => 7), 7);
    leavesNothing();
  });

  it("takes over from a holder elsewhere that has not been heard of for a minute", async () => {
    await withLock(path, async () => {});
    writeFileSync(path, JSON.stringify({ pid: 1, host: "another" }));
    const longAgo = new Date(Date.now() - 61_000);
    utimesSync(path, longAgo, longAgo);
    assert.equal(await withLock(path, async () => 7), 7);
    leavesNothing();
  });

  it("is taken by one only, when many find a dead holder at once", async () => {
    await withLock(path, async () => {});
    await writeFile(path, JSON.stringify({ pid: deadPid, host: hostname() }));
    const log = join(folder, "log");
    // Each process notes when it comes in and goes out; two inside at once would interleave.
    const script = `
      import { appendFileSync } from "node:fs";
      import { setTimeout as delay } from "node:timers/promises";
      import { withLock } from ${JSON.stringify(lockModule)};
      await withLock(${JSON.stringify(path)}, async () => {
        appendFileSync(${JSON.stringify(log)}, "in\\n");
        await delay(20);
        appendFileSync(${JSON.stringify(log)}, "out\\n");
      });`;
    const processes = Array.from({ length: 6 }, () =>
      spawn(process.execPath, ["--input-type=module", "--eval", script], { stdio: "inherit" }),
    );
    const codes = await Promise.all(processes.map(async (child) => (await once(child, "exit"))[0]));
    assert.deepEqual(codes, [0, 0, 0, 0, 0, 0]);
    assert.equal(await readFile(log, "utf8"), "in\nout\n".repeat(6));
    leavesNothing();
  });

  it("refuses a file that is no lock rather than deleting it", async () => {
    await writeFile(join(folder, "notes"), "mine");
    await assert.rejects(
      withLock(join(folder, "notes"), async () => {}),
      /notes is no lock file of ours/,
    );
    assert.ok(existsSync(join(folder, "notes")));
  });
});
