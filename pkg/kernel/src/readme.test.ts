import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, it } from "node:test";

const folder = join(import.meta.dirname, "..");

describe("the README", () => {
  it("has an example that runs as it stands, and stops in order", async () => {
    const [, example = ""] = /```ts\n(.*?)```/s.exec(await readFile(join(folder, "README.md"), "utf8")) ?? [];
    const child = spawn(
      process.execPath,
      ["--conditions=plinth-source", "--input-type=module-typescript", "--eval", example],
      {
        cwd: folder,
        env: { ...process.env, PLINTH_NOTES_MAX_LENGTH: "5" },
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    const exited = once(child, "exit");
    const lines: Record<string, unknown>[] = [];
    for await (const line of createInterface(child.stdout)) {
      const parsed = JSON.parse(line);
      lines.push(parsed);
      if (parsed.message === "app ready") child.kill("SIGTERM");
    }
    assert.deepEqual(await exited, [0, null]);
    assert.deepEqual(
      lines.map(({ message }) => message),
      ["notes loaded", "app ready", "app draining", "app stopping", "notes saved", "app stopped"],
    );
    assert.deepEqual(lines[0]?.notes, ["hello"]);
  });
});
