// docs/how-to/registry.md as a reader takes it: its files written into one folder, its test run there.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { runProgram, userEnvironment } from "../support/program.ts";

const root = join(import.meta.dirname, "../..");

describe("docs/how-to/registry.md", { timeout: 120_000 }, () => {
  it("has two services whose test passes", async () => {
    const page = await readFile(join(root, "docs/how-to/registry.md"), "utf8");
    await mkdir(join(root, ".cache"), { recursive: true });
    const folder = await mkdtemp(join(root, ".cache/how-to-registry-")); // below the repository, where the packages are found
    try {
      await writeFile(join(folder, "package.json"), '{ "type": "module" }\n');
      for (const [, name = "", text = ""] of page.matchAll(/^```ts\n\/\/ (\S+\.ts)\n(.*?)^```$/gms))
        await writeFile(join(folder, name), text);
      const { code, stdout } = await runProgram(
        process.execPath,
        ["--conditions=plinth-source", "--test", join(folder, "registry.test.ts")],
        {
          folder,
          environment: { ...userEnvironment(), PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "0" },
          limitMs: 60_000,
        },
      );
      assert.equal(code, 0, stdout);
      assert.match(stdout, /^ℹ pass 1$/m);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
