import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { promisify } from "node:util";

it("runs the example of the README", { timeout: 30_000 }, async () => {
  const folder = join(import.meta.dirname, "..");
  const [, example = ""] = /```ts\n(.*?)```/s.exec(await readFile(join(folder, "README.md"), "utf8")) ?? [];
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--conditions=plinth-source", "--input-type=module-typescript", "--eval", example],
    { cwd: folder },
  );
  const promised = [...example.matchAll(/^\/\/ (.*)$/gm)].map(([, line]) => `${line}\n`).join("");
  assert.equal(stdout, promised);
});
