import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { promisify } from "node:util";
import { startConsul } from "../../../scripts/servers/index.ts";

it("runs the example of the README", { timeout: 30_000 }, async () => {
  await using agent = await startConsul();
  const folder = join(import.meta.dirname, "..");
  const [, example = ""] = /```ts\n(.*?)```/s.exec(await readFile(join(folder, "README.md"), "utf8")) ?? [];
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--conditions=plinth-source", "--input-type=module-typescript", "--eval", example],
    { cwd: folder, env: { ...process.env, PLINTH_CONSUL_ADDR: agent.address } },
  );
  assert.equal(stdout, "[ 'notes-1 at 127.0.0.1:3000' ]\n");
  const left = await fetch(`${agent.address}/v1/agent/services`);
  assert.deepEqual(await left.json(), {});
});
