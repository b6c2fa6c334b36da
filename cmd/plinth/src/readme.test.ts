import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";

// below the repository, where the packages are found
const cache = join(import.meta.dirname, "../../../.cache");

describe("the README", () => {
  let folder: string;
  let readme: string;

  before(async () => {
    readme = await readFile(join(import.meta.dirname, "../README.md"), "utf8");
    await mkdir(cache, { recursive: true });
    folder = await mkdtemp(join(cache, "plinth-readme-"));
    const [, main = ""] = /```ts\n(.*?)```/s.exec(readme) ?? [];
    await writeFile(join(folder, "main.ts"), main);
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it("has commands that print what it shows", async () => {
    const examples = [...readme.matchAll(/```sh\nplinth (.*)\n```\n\n```text\n([^]*?)```/g)];
    assert.equal(examples.length, 2);
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined, PLINTH_MAIL_PASSWORD: "hunter2" };
    for (const [, line = "", shown = ""] of examples) {
      const args = ["--conditions=plinth-source", join(import.meta.dirname, "main.ts"), ...line.split(" ")];
      const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { cwd: folder, env });
      assert.equal(stderr, "");
      // of the app's own; each app has some that the README does not show
      assert.ok(stdout.includes(shown), `${line} printed:\n${stdout}`);
      assert.doesNotMatch(stdout, /hunter2/);
    }
  });
});
