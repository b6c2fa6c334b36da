import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";

// below the repository, where the packages are found
const cache = join(import.meta.dirname, "../../../.cache");

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

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

/** The command line beside the README's `main.ts`; a secret is always set. */
async function plinth(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(PLINTH_|NODE_TEST_CONTEXT$)/.test(name));
  const options = {
    cwd: folder,
    env: { ...Object.fromEntries(inherited), PLINTH_MAIL_PASSWORD: "hunter2", ...env },
  };
  const command = ["--conditions=plinth-source", join(import.meta.dirname, "main.ts"), ...args];
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, command, options)) };
  } catch (error) {
    return error as Ended;
  }
}

describe("the README", () => {
  it("has commands that print what it shows", async () => {
    const examples = [...readme.matchAll(/```sh\nplinth (.*)\n```\n\n```text\n([^]*?)```/g)];
    assert.equal(examples.length, 2);
    for (const [, line = "", shown = ""] of examples) {
      const { code, stdout, stderr } = await plinth(line.split(" "));
      assert.deepEqual([code, stderr], [0, ""]);
      // of the app's own; each app has some that the README does not show
      assert.ok(stdout.includes(shown), `${line} printed:\n${stdout}`);
    }
  });
});

describe("plinth config", () => {
  it("shows each value with its source, and no secret in any form", async () => {
    const env = { PLINTH_MAIL_PORT: "26" };
    const [table, json] = await Promise.all([
      plinth(["config", "main.ts"], env),
      plinth(["config", "main.ts", "--json"], env),
    ]);
    assert.deepEqual([table.code, table.stderr], [0, ""]);
    assert.match(table.stdout, /^mail\.port +26 +PLINTH_MAIL_PORT$/m);
    assert.match(table.stdout, /^mail\.password +"\*\*\*" +PLINTH_MAIL_PASSWORD$/m);
    const { app, entries } = JSON.parse(json.stdout);
    assert.equal(app, "greeter");
    const password = entries.find(({ key }: { key: string }) => key === "mail.password");
    assert.deepEqual([password.value, password.isSecret], ["***", true]);
    for (const { stdout, stderr } of [table, json]) assert.doesNotMatch(stdout + stderr, /hunter2/);
  });

  it("gives the JSON Schema of the sections", async () => {
    const { code, stdout, stderr } = await plinth(["config", "main.ts", "--schema"]);
    assert.deepEqual([code, stderr], [0, ""]);
    const { properties } = JSON.parse(stdout);
    assert.equal(properties.mail.properties.port.default, 25);
  });

  it("tells every fault, no secret, and ends with 1", async () => {
    const env = { PLINTH_MAIL_PORT: "0", PLINTH_LIFECYCLE_HOOK_MS: "soon", PLINTH_MAIL_PASSWORT: "hunter3" };
    const { code, stdout, stderr } = await plinth(["config", "main.ts"], env);
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, /^greeter: \d faults in the config:\n/);
    assert.match(stderr, /mail\.port: .*PLINTH_MAIL_PORT/);
    assert.match(stderr, /lifecycle\.hookMs: .*PLINTH_LIFECYCLE_HOOK_MS/);
    assert.doesNotMatch(stderr, /hunter/);
  });
});
