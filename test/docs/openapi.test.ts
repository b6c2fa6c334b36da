import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { runProgram, userEnvironment } from "../support/program.ts";

const root = join(import.meta.dirname, "../..");
const file = "examples/platform/notes/openapi.json";
const command = "plinth openapi examples/platform/main.ts --app notes";

describe(file, () => {
  it("is what the routes of the example say, told without a database", async () => {
    const environment = {
      ...userEnvironment(),
      NODE_OPTIONS: "--conditions=plinth-source",
      PLINTH_DATABASE_URL: "postgres://127.0.0.1:1/nowhere", // whoever asked it would fail
    };
    const args = [join(root, "cmd/plinth/src/main.ts"), ...command.split(" ").slice(1)];
    const { code, stdout, stderr } = await runProgram(process.execPath, args, {
      folder: root,
      environment,
      limitMs: 60_000,
    });
    assert.deepEqual([code, stderr], [0, ""]);
    const written = readFileSync(join(root, file), "utf8");
    assert.ok(written === stdout, `${file} and the code differ; run: ${command} > ${file}`);
  });
});
