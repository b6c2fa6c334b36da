import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { describeMachine, findOnPath, parseCpuList } from "./machine.ts";

describe("parseCpuList", () => {
  for (const [list, cpus] of [
    ["0-1", [0, 1]],
    ["0-2,5,8-9", [0, 1, 2, 5, 8, 9]],
    ["3", [3]],
    ["", []],
  ] as const) {
    it(`reads ${JSON.stringify(list)}`, () => assert.deepEqual(parseCpuList(list), cpus));
  }
});

describe("describeMachine", () => {
  it("names Node, CPU and the commit of the repository", async () => {
    const machine = await describeMachine(join(import.meta.dirname, "../.."));
    assert.equal(machine.node, process.version);
    assert.ok(machine.cores > 0 && machine.cpu !== "");
    assert.match(machine.commit, /^([0-9a-f]{40}|unknown)$/);
  });
  it("says that a directory outside a checkout belongs to no known commit", async () => {
    const { commit, dirty } = await describeMachine(tmpdir());
    assert.deepEqual({ commit, dirty }, { commit: "unknown", dirty: true });
  });
});

describe("findOnPath", () => {
  it("finds what a shell would", async () => assert.match((await findOnPath("sh")) ?? "", /\/sh$/));
  it("finds nothing for an unknown name", async () =>
    assert.equal(await findOnPath("no-such-program-here"), undefined));
});
