import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { batchFiles } from "./batches.ts";

describe("test files that are put together", () => {
  let root: string;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), "plinth-batches-"));
  });
  after(() => rm(root, { recursive: true, force: true }));

  const write = (name: string, text: string): Promise<void> => writeFile(join(root, name), text);

  it("are each in one of the files made, once", async () => {
    const names = ["a.test.ts", "b.test.ts", "c.test.ts"];
    for (const name of names) await write(name, `it("works", () => {});\n`);
    const batches = batchFiles(names, { root, folder: "made", count: 2 });
    assert.deepEqual(batches, [join("made", "together-1.test.ts"), join("made", "together-2.test.ts")]);
    const texts = await Promise.all(batches.map((path) => readFile(join(root, path), "utf8")));
    assert.deepEqual(texts, [`import "../a.test.ts";\nimport "../c.test.ts";\n`, `import "../b.test.ts";\n`]);
  });

  for (const [what, text] of [
    ["have hooks for the whole file", `after(() => undo());`],
    ["look at the process", `it("x", () => process.on("warning", see));`],
    ["start programs", `import { spawn } from "node:child_process";`],
    ["load modules while they run", `it("x", async () => await import("./other.ts"));`],
  ] as const) {
    it(`are none that ${what}`, async () => {
      await write("apart.test.ts", `${text}\n`);
      assert.deepEqual(batchFiles(["apart.test.ts"], { root, folder: "made", count: 0 }), ["apart.test.ts"]);
    });
  }

  it("may open sockets", async () => {
    await write("sockets.test.ts", `import { connect } from "node:net";\n`);
    assert.deepEqual(batchFiles(["sockets.test.ts"], { root, folder: "made", count: 0 }), []);
  });

  it("may have hooks inside of a suite", async () => {
    await write("suite.test.ts", `describe("s", () => {\n  after(() => undo());\n});\n`);
    assert.deepEqual(batchFiles(["suite.test.ts"], { root, folder: "made", count: 0 }), []);
  });
});
