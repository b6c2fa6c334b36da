import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, it } from "node:test";
import { cpuSecondsOf, listProcesses, parseStat, preciseCpuMsOf, treeOf } from "./cpu.ts";

const statLine = (name: string) =>
  `4594 (${name}) S 4591 4591 3268 0 -1 4194304 99 0 0 0 250 75 9 9 20 0 1 0 78004 3133440 358 18446744073709551615 1 1\n`;

describe("parseStat", () => {
  for (const name of ["node", "nginx: worker", "a) R 1 2 (b", "", ")", "(("]) {
    it(`reads the fields after the name ${JSON.stringify(name)}`, () => {
      assert.deepEqual(parseStat(statLine(name)), { pid: 4594, name, parentPid: 4591, cpuSeconds: 3.25 });
    });
  }
  for (const text of ["", "4594", "4594 (node", "4594 (node) S", "x (node) S 1 1 1 0 -1 0 0 0 0 0 1 1 0 0"]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseStat(text), { name: "TypeError", message: /^not a line of \/proc\/PID\/stat/ });
    });
  }
});

describe("treeOf", () => {
  const process = (pid: number, parentPid: number) => ({ pid, parentPid, name: "p", cpuSeconds: 0 });

  it("finds descendants of any depth and in any order, and nobody else", () => {
    const processes = [process(40, 30), process(30, 20), process(20, 1), process(21, 1), process(31, 20)];
    assert.deepEqual(treeOf(20, processes), [20, 30, 31, 40]);
  });
  it("is the process alone when it has no children", () => {
    assert.deepEqual(treeOf(20, [process(20, 1)]), [20]);
  });
});

describe("cpuSecondsOf", () => {
  it("sees the time that this process spends", () => {
    const before = cpuSecondsOf([process.pid]);
    const until = process.cpuUsage().user + 60_000;
    while (process.cpuUsage().user < until) Math.sqrt(until);
    assert.ok(cpuSecondsOf([process.pid]) > before);
  });
  it("lists a child under its parent", async () => {
    const child = spawn(process.execPath, ["--eval", "process.stdin.resume()"], {
      stdio: ["pipe", "ignore", "ignore"],
    });
    await once(child, "spawn");
    assert.ok(treeOf(process.pid, listProcesses()).includes(child.pid!));
    child.stdin.end();
    await once(child, "exit");
  });
  it("throws when a process has ended, since its time is lost", async () => {
    const child = spawn(process.execPath, ["--version"], { stdio: "ignore" });
    await once(child, "exit");
    assert.throws(() => cpuSecondsOf([child.pid!]), { message: `process ${child.pid!} ended while it was measured` });
  });
});

describe("preciseCpuMsOf", () => {
  it("agrees with what the process knows of itself", () => {
    const before = process.cpuUsage();
    const precise = preciseCpuMsOf(process.pid);
    const until = before.user + 60_000;
    while (process.cpuUsage().user < until) Math.sqrt(until);
    const { user, system } = process.cpuUsage(before);
    const ratio = (preciseCpuMsOf(process.pid) - precise) / ((user + system) / 1e3);
    assert.ok(ratio > 0.8 && ratio < 1.25, `${ratio}`);
  });
  it("throws when the process has ended", async () => {
    const child = spawn(process.execPath, ["--version"], { stdio: "ignore" });
    await once(child, "exit");
    assert.throws(() => preciseCpuMsOf(child.pid!), { code: "ENOENT" });
  });
});
