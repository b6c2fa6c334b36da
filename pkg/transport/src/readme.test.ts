import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, it } from "node:test";
import { layerDefaults, testSettings as httpDefaults } from "./testing/http.ts";

const folder = join(import.meta.dirname, "..");

describe("the README", () => {
  it("has an example that serves as it says, and stops in order", async () => {
    const [, example = ""] = /```ts\n(.*?)```/s.exec(await readFile(join(folder, "README.md"), "utf8")) ?? [];
    const child = spawn(
      process.execPath,
      ["--conditions=plinth-source", "--input-type=module-typescript", "--eval", example],
      { cwd: folder, env: { ...process.env, PLINTH_HTTP_PORT: "0" }, stdio: ["ignore", "pipe", "inherit"] },
    );
    const exited = once(child, "exit");
    const lines: Record<string, unknown>[] = [];
    const replies: unknown[] = [];
    for await (const line of createInterface(child.stdout)) {
      const parsed = JSON.parse(line);
      lines.push(parsed);
      if (parsed.message !== "app ready") continue;
      const { port } = lines.find(({ message }) => message === "http server listens") ?? {};
      for (const id of ["1", "2", "x"]) {
        const response = await fetch(`http://127.0.0.1:${String(port)}/notes/${id}`);
        const body = JSON.parse(await response.text());
        replies.push([response.status, body.text ?? body.code, body.errors]);
      }
      child.kill("SIGTERM");
    }
    assert.deepEqual(await exited, [0, null]);
    assert.deepEqual(replies, [
      [200, "hello", undefined],
      [404, "ERR_NOTE_NOT_FOUND", undefined],
      [400, "ERR_REQUEST_INVALID", [{ pointer: "/params/id", detail: "expected number, received NaN" }]],
    ]);
    const read = lines.find(({ message }) => message === "note read");
    assert.match(
      `${String(read?.trace_id)} ${String(read?.span_id)} ${String(read?.request_id)}`,
      /^[0-9a-f]{32} [0-9a-f]{16} [0-9a-f]{32}$/,
    );
  });

  it("names each setting of a layer", async () => {
    const [, section = ""] = (await readFile(join(folder, "README.md"), "utf8")).split("## Layers with settings");
    for (const name of Object.keys(layerDefaults)) assert.match(section, new RegExp(`^\\|.*\`${name}[\`.]`, "m"), name);
  });

  it("tells the defaults that the settings have", async () => {
    const text = (await readFile(join(folder, "README.md"), "utf8")).replaceAll("_", "");
    for (const [name, value] of Object.entries(httpDefaults)) {
      if (name === "port" || name in layerDefaults) continue;
      const row = text.split("\n").find((line) => line.startsWith("| `http.") && line.includes(name));
      const shown = typeof value === "string" ? value : JSON.stringify(value);
      assert.ok(row?.includes(`\`${shown}\``), `${name}: ${shown} in ${String(row)}`);
    }
  });
});
