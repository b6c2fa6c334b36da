import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { freePort } from "@plinth/kernel/testing";
import { runProgram, userEnvironment } from "../support/program.ts";

const root = join(import.meta.dirname, "../..");

describe("docs/tracing.md", () => {
  it("has an example whose spans are those that it shows", { timeout: 60_000 }, async () => {
    const page = await readFile(join(root, "docs/tracing.md"), "utf8");
    const [, example = "", shown = ""] = /```ts\n(.*?)```\n\n```\n(.*?)```/s.exec(page) ?? [];
    const folder = join(root, ".cache");
    await mkdir(folder, { recursive: true });
    const own = await mkdtemp(join(folder, "tracing-")); // below the repository, where the packages are found
    try {
      await writeFile(join(own, "package.json"), '{ "type": "module" }\n');
      await writeFile(join(own, "traced.ts"), example);
      const { stdout } = await runProgram(process.execPath, ["--conditions=plinth-source", "traced.ts"], {
        folder: own,
        environment: { ...userEnvironment(), PLINTH_HTTP_PORT: String(await freePort()) },
        limitMs: 50_000,
      });
      const printed = stdout.split("\n").filter((line) => !line.startsWith("{"));
      assert.equal(printed.join("\n"), shown);
    } finally {
      await rm(own, { recursive: true, force: true });
    }
  });
});
