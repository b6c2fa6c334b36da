import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";

const script = join(import.meta.dirname, "../test.ts");

describe("a test run", () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "plinth-run-"));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  /** Runs one test file with the body given. */
  async function run(name: string, body: string): Promise<{ code: number; output: string }> {
    const file = join(folder, `${name}.test.ts`);
    await writeFile(file, `import { it } from "node:test";\n${body}`);
    return runArguments([file]);
  }

  function runArguments(args: string[]): Promise<{ code: number; output: string }> {
    const { NODE_TEST_CONTEXT: _inner, ...env } = process.env;
    const options = { env: { ...env, PLINTH_TEST_FILE_LIMIT_MS: "4000", PLINTH_TEST_LINGER_LIMIT_MS: "1000" } };
    return new Promise((done) => {
      const child = execFile(process.execPath, [script, ...args], options, (_error, stdout, stderr) => {
        done({ code: child.exitCode ?? -1, output: stdout + stderr });
      });
    });
  }

  it("passes and closes with the runner's own count, then the stages", async () => {
    const { code, output } = await run("good", `it("works", () => {});`);
    assert.equal(code, 0, output);
    assert.match(output, /^ℹ tests 1$[^]*^ℹ pass 1$[^]*^ℹ fail 0$/m);
    assert.match(output, /ok {5}tests +\d+\.\d s\n$/);
  });

  const failures: readonly (readonly [name: string, body: string, expected: RegExp])[] = [
    [
      "a test that fails",
      `it("breaks", () => { throw new Error("oh"); });`,
      /FAILED tests .* exited with code 1\n {2}.*a-test-that-fails\.test\.ts: breaks: oh\n$/,
    ],
    ["a test that is skipped", `it("later", { skip: true }, () => {});`, /FAILED tests .* 1 skipped and 0 to do/],
    ["a test that is to do", `it.todo("later");`, /FAILED tests .* 0 skipped and 1 to do/],
    ["a file without tests", "void it;", /FAILED tests .* no test in .*\.test\.ts\n$/],
    [
      "a file that leaves something open",
      `it("leaves a timer", () => { setInterval(() => {}, 1_000); });`,
      /leaves-something-open\.test\.ts: its tests have ended but these are still open: Timeout; close them in the test/,
    ],
    [
      "a file that is stuck in a loop",
      `it("spins", () => { for (;;); });`,
      /stuck-in-a-loop\.test\.ts: still running after 4000 ms, ended/,
    ],
  ];
  for (const [name, body, expected] of failures) {
    it(`fails on ${name}`, async () => {
      const { code, output } = await run(name.replaceAll(" ", "-"), body);
      assert.equal(code, 1, output);
      assert.match(output, expected);
    });
  }

  it("names at the end the test that failed, not the suite it is in, and no more than the first 20", async () => {
    const body = `import { describe } from "node:test";
      describe("suite", () => { for (let i = 0; i < 22; i++) it("no. " + i, () => { throw new Error("oh"); }); });`;
    const { output } = await run("many", body);
    assert.match(output, /exited with code 1\n(?: {2}.*many\.test\.ts: no\. \d+: oh\n){20} {2}and 2 more\n$/);
  });

  it("fails where a path has no tests", async () => {
    const { code, output } = await runArguments([join(folder, "nowhere")]);
    assert.equal(code, 1, output);
    assert.match(output, /FAILED tests/);
  });

  it("names the stages when asked for one that is not there", async () => {
    const { code, output } = await runArguments(["lnt"]);
    assert.equal(code, 2);
    assert.match(
      output,
      /no stage lnt; there are format, lint, types, layers, knip, servers, tests, whole, node24, coverage/,
    );
  });
});
