import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { promisify } from "node:util";

const folder = join(import.meta.dirname, "..");
const text = await readFile(join(folder, "README.md"), "utf8");
const examples = [...text.matchAll(/```ts\n(.*?)```/gs)].map(([, example = ""]) => example);

/** Runs examples of the README together, and gives what they have printed. */
async function run(...at: readonly number[]): Promise<string> {
  // each in a scope of its own, after the imports of all
  const parts = at.map((index) => examples[index] ?? "");
  const imports = new Set(parts.flatMap((part) => part.split("\n").filter((line) => line.startsWith("import "))));
  const bodies = parts.map((part) => part.replaceAll(/^import .*\n/gm, ""));
  const program = [...imports, ...bodies.map((body) => `{\n${body}\n}`)].join("\n");
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--conditions=plinth-source", "--input-type=module-typescript", "--eval", program],
    // as by hand: not as a part of these tests
    { cwd: folder, env: { ...process.env, NODE_TEST_CONTEXT: undefined } },
  );
  return stdout;
}

it("runs the examples of the README", { timeout: 30_000 }, async () => {
  assert.equal(examples.length, 5);
  assert.equal(await run(0, 2, 4), "true\ntrue\nfalse\n1 1\n");
});

it("runs the example of calls as the README has it", { timeout: 30_000 }, async () => {
  assert.equal(await run(1), "0n 1\n");
});

it("runs the contract suite as the README does", { timeout: 30_000 }, async () => {
  assert.match(await run(3), /^# fail 0$|^ℹ fail 0$/m);
});
