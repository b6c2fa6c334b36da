import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { parseArguments } from "./arguments.ts";
import { askGateway } from "./gateway.ts";

let folder = "";

/** What a document of this text is answered with, in its folder; a line as it is printed. */
function ask(...args: readonly string[]): { readonly code: number; readonly stdout: string } {
  const question = parseArguments(["gateway", ...args]);
  assert.ok(question.kind === "gateway");
  const lines: string[] = [];
  const code = askGateway({ ...question, file: join(folder, question.file) }, (line) => void lines.push(`${line}\n`));
  return { code, stdout: lines.join("").replaceAll(`${folder}/`, "") };
}

const jwt = "jwt: { main: { issuer: i, audiences: [a], jwks: https://issuer.example/keys } }\n";

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "plinth-gateway-"));
});
after(() => rm(folder, { recursive: true }));

describe("plinth gateway check", () => {
  it("says that a document has no fault, how far that was looked into, and what to look at", async () => {
    await writeFile(
      join(folder, "good.yaml"),
      `${jwt}routes:
  - { name: web, match: { path: /** }, service: web, anonymous: true }
  - { name: admin, match: { path: /admin/** }, service: web, auth: {} }
`,
    );
    const { code, stdout } = ask("check", "good.yaml");
    assert.equal(code, 0);
    assert.match(
      stdout,
      /^good\.yaml:4: warning: routes\.1\.match\.path: by route web, .* gets \/ADMIN \/admin; .* and \d+ more, and must/m,
    );
    assert.match(stdout, /^good\.yaml: 2 routes, \d{3} request targets put through every stage: no faults\n$/m);
  });

  it("tells every fault with its line and ends with 1, for programs too", async () => {
    const bad = `routes:
  - { name: web, match: { path: /a }, service: web, anonymous: true, tymeoutMs: 1 }
  - { name: other, match: { path: /a }, service: web }
`;
    await writeFile(join(folder, "bad.yaml"), bad);
    const text = ask("check", "bad.yaml");
    assert.equal(text.code, 1);
    assert.match(text.stdout, /^bad\.yaml:2: routes\.0\.tymeoutMs: unknown key; did you mean "timeoutMs"\?$/m);
    assert.match(text.stdout, /^bad\.yaml:3: routes\.1: needs `auth`/m);
    assert.match(text.stdout, /^bad\.yaml: \d faults\n$/m);
    const json = ask("check", "bad.yaml", "--json");
    assert.equal(json.code, 1);
    const { ok, faults, inputs } = JSON.parse(json.stdout);
    assert.deepEqual([ok, inputs, faults[0].source], [false, 0, "bad.yaml:2"]);
  });

  it("tells what is guarded and can be had all the same", async () => {
    await writeFile(
      join(folder, "open.yaml"),
      `${jwt}routes:
  - { name: admin, match: { path: /admin/** }, service: s, auth: {} }
  - { name: assets, match: { path: /assets/** }, service: s, anonymous: true, rewrite: { prefix: / } }
`,
    );
    const { code, stdout } = ask("check", "open.yaml");
    assert.equal(code, 1);
    assert.match(
      stdout,
      /^open\.yaml:3: routes\.0\.match\.path: GET \/assets\/admin goes by route assets, which is for everybody, to \/admin of service s$/m,
    );
  });

  it("ends with 1 for a file that is not there or no YAML, and with 2 for a command line that is none", async () => {
    await writeFile(join(folder, "none.yaml"), "routes: [\n");
    const [missing, none] = [ask("check", "missing.yaml"), ask("check", "none.yaml")];
    assert.deepEqual([missing.code, none.code], [1, 1]);
    assert.match(missing.stdout, /missing\.yaml: cannot be read/);
    for (const args of [[], ["chekc", "a"], ["check"], ["check", "a", "b"], ["check", "a", "--from", "1.1.1.1"]])
      assert.throws(() => ask(...args), { name: "UsageError" }, args.join(" "));
  });

  it("is a command whose answer goes to standard output", async () => {
    await writeFile(join(folder, "none.yaml"), "routes: []\n");
    const main = join(import.meta.dirname, "main.ts");
    const args = ["--conditions=plinth-source", main, "gateway", "check", "none.yaml"];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: folder });
    assert.equal(stdout, "none.yaml: 0 routes: no faults\n");
  });
});
