import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, it } from "node:test";

const example = import.meta.dirname;
const main = join(example, "main.ts");
const plinth = join(example, "../../cmd/plinth/src/main.ts");
const secret = "not a real one";
let folder: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "plinth-02-config-"));
  for (const file of ["config.yaml", "config.production.yaml", "mail-password"]) {
    await cp(join(example, file), join(folder, file));
  }
});
after(() => rm(folder, { recursive: true, force: true }));

/** Runs a program in a folder that holds the example's files, as the README does in the example's own. */
function start(args: readonly string[]) {
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
  const child = spawn(process.execPath, ["--conditions=plinth-source", ...args], { cwd: folder, env });
  const exited = once(child, "exit");
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (printed += text));
  }
  return { child, exited, printed: () => printed };
}

describe("02-config", () => {
  it("takes server and password from the profile, and neither prints the password", async () => {
    const { exited, printed } = start([
      plinth,
      "config",
      main,
      "--",
      "--config",
      "config.yaml",
      "--profile",
      "production",
    ]);
    assert.deepEqual(await exited, [0, null]);
    const rows = printed()
      .split("\n")
      .filter((row) => row.startsWith("mail."));
    assert.deepEqual(
      rows.map((row) => row.trim().split(/ {2,}/)),
      [
        ["mail.server", '"mx.example.com"', "config.production.yaml:2", "over config.yaml:2"],
        ["mail.password", '"***"', "config.production.yaml:3, file mail-password"],
        ["mail.perMinute", "5", "config.yaml:3", "reloadable"],
      ],
    );
  });

  it("follows its file while it runs, and stays as it is when the file has a fault", { timeout: 30_000 }, async (t) => {
    const { child, exited, printed } = start([main, "--config", "config.yaml", "--profile", "production"]);
    t.after(() => child.kill("SIGKILL"));
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const said = async (message: string): Promise<Record<string, unknown>> => {
      for (let next = await lines.next(); !next.done; next = await lines.next()) {
        const line = JSON.parse(next.value);
        if (line.message === message) return line;
      }
      throw new Error(`it ended before it said "${message}":\n${printed()}`);
    };
    const { server, password, perMinute } = await said("connected");
    assert.deepEqual({ server, password, perMinute }, { server: "mx.example.com", password: "***", perMinute: 5 });
    await said("app ready");

    await writeFile(join(folder, "config.yaml"), "mail:\n  server: localhost\n  perMinute: 50\n");
    assert.equal((await said("limit changed")).perMinute, 50);

    await writeFile(join(folder, "config.yaml"), "mail:\n  server: localhost\n  perMinute: none\n");
    child.kill("SIGHUP");
    const fault = 'mail.perMinute: expected number, received string, got "none" (config.yaml:3)';
    const refused = await said(`1 fault in the config:\n  ${fault}`);
    assert.equal(refused.level, "error");

    child.kill("SIGTERM");
    await said("app stopped");
    assert.deepEqual(await exited, [0, null]);
    assert.ok(!printed().includes(secret), printed());
  });
});
