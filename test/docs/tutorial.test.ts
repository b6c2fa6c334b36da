import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { freePort } from "@plinth/kernel/testing";
import { runProgram, userEnvironment } from "../support/program.ts";
import { type ConsoleStep, type FileStep, parsePage } from "./tutorial/page.ts";
import { isShown } from "./tutorial/shown.ts";
import { Terminal } from "./tutorial/terminal.ts";

const root = join(import.meta.dirname, "../..");
const pages = join(root, "docs/tutorial");
/** The folder and the port of the pages. */
const shownFolder = "/home/ada/notes";
const shownPort = "3000";

const reader = { root: "", folder: "", environment: {}, port: "" };

before(async () => {
  // below the repository, where the packages are found
  await mkdir(join(root, ".cache"), { recursive: true });
  reader.root = await mkdtemp(join(root, ".cache/tutorial-"));
  reader.folder = join(reader.root, "notes");
  reader.port = String(await freePort());
  const bin = join(reader.root, "bin");
  for (const folder of [reader.folder, bin]) await mkdir(folder);
  await writeFile(join(reader.folder, "package.json"), '{ "type": "module" }\n');
  const tsc = `${join(root, "node_modules/.bin/tsc")} --customConditions plinth-source --incremental --tsBuildInfoFile ${join(reader.root, "tsbuildinfo")}`;
  const programs = {
    npx: 'exec "$@"',
    // of the reader's own files: the packages' sources, which he has not, are checked with the repository
    tsc: `${tsc} "$@" | awk '/^[^ ]/ { ours = !/^\\.\\.\\// } ours { print; code = 2 } END { exit code }'`,
    // of the reader's settings it would show those that this test needs
    plinth: `exec env -u PLINTH_LOG_FORMAT -u PLINTH_HTTP_PORT node ${join(root, "cmd/plinth/src/main.ts")} "$@"`,
  };
  for (const [name, command] of Object.entries(programs)) {
    await writeFile(join(bin, name), `#!/bin/sh\n${command}\n`);
    await chmod(join(bin, name), 0o755);
  }
  reader.environment = {
    PATH: [bin, dirname(process.execPath), userEnvironment().PATH].join(":"),
    NODE_OPTIONS: "--conditions=plinth-source",
    PLINTH_LOG_FORMAT: "pretty", // as in a terminal
    PLINTH_HTTP_PORT: reader.port,
  };
});
after(() => rm(reader.root, { recursive: true, force: true }));

/** From the packages' sources, which run here, to what a reader has installed: a few files for each package. */
function toInstalled(text: string): string {
  const sources = new RegExp(`${join(root, "pkg/").replaceAll(".", "\\.")}(\\w+)/src/\\S+?\\.ts`, "g");
  return text.replaceAll(sources, (_, name: string) => `${shownFolder}/node_modules/@plinth/${name}/dist/index.js`);
}

/** What the compiler says of the files as they are now, a line for each fault. */
async function compile(): Promise<readonly string[]> {
  const { stdout } = await runProgram("bash", ["-c", "npx tsc"], {
    folder: reader.folder,
    environment: { ...userEnvironment(), ...reader.environment },
    limitMs: 60_000,
  });
  return stdout.split("\n").filter((line) => /^\S/.test(line));
}

async function write(files: readonly FileStep[], faulty: Set<string>): Promise<void> {
  for (const { name, text, isFaulty } of files) {
    await mkdir(dirname(join(reader.folder, name)), { recursive: true });
    await writeFile(join(reader.folder, name), text);
    if (isFaulty) faulty.add(name);
    else faulty.delete(name);
  }
  if (!files.some(({ name }) => /\.ts$|^tsconfig/.test(name))) return;
  for (const name of faulty) if (!existsSync(join(reader.folder, name))) faulty.delete(name);
  const faults = await compile();
  const isIn = (line: string, name: string): boolean => line.startsWith(`${name}(`);
  const others = faults.filter((line) => ![...faulty].some((name) => isIn(line, name)));
  assert.deepEqual(others, []);
  for (const name of faulty)
    assert.ok(
      faults.some((line) => isIn(line, name)),
      `${name} compiles`,
    );
}

async function play(step: ConsoleStep, terminal: Terminal): Promise<void> {
  if (step.back) await terminal.back(step.back);
  for (const command of step.commands) {
    await terminal.type(command, step.isRunning && command === step.commands.at(-1));
  }
}

// One reader goes through all pages: each stands on what those before it have built.
describe("the tutorial", async () => {
  const names = (await readdir(pages)).filter((name) => /^\d.*\.md$/.test(name)).toSorted();
  assert.notEqual(names.length, 0);
  for (const name of names) {
    it(`${name} compiles, and prints what it shows`, { timeout: 300_000 }, async () => {
      const { folder, environment, port } = reader;
      await using terminal = new Terminal({
        folder,
        environment,
        toHere: (text) => text.replaceAll(`localhost:${shownPort}`, `127.0.0.1:${port}`),
        toPage: (text) => toInstalled(text).replaceAll(folder, shownFolder).replaceAll(port, shownPort),
      });
      const faulty = new Set<string>();
      let files: FileStep[] = [];
      for (const step of parsePage(await readFile(join(pages, name), "utf8"))) {
        if (step.kind === "file") {
          files.push(step);
          continue;
        }
        await write(files, faulty);
        files = [];
        try {
          await play(step, terminal);
        } catch (error) {
          throw new Error(`docs/tutorial/${name}:${step.line}: ${String(error)}`, { cause: error });
        }
      }
      terminal.close();
      await write(files, faulty);
      const left = [...faulty].filter((name) => existsSync(join(folder, name)));
      assert.deepEqual(left, [], "the page ends with a program that does not compile");
    });
  }
});

describe("isShown", () => {
  it("takes any time, id and duration, and no other text", () => {
    const line = (time: string, id: string, ms: string): string =>
      `[${time}] INFO: notes: request duration_ms=${ms} trace_id=${id}`;
    const shown = [line("09:00:00.000", "0".repeat(32), "1")];
    assert.ok(isShown(shown, `${line("23:59:59.999", "af".repeat(16), "2.718")}\n`));
    assert.ok(!isShown(shown, `${line("09:00:00.000", "0".repeat(32), "1")} \nmore\n`));
    assert.ok(!isShown(["limit of 200 ms"], "limit of 300 ms"));
    assert.ok(!isShown(["a.b"], "axb"));
  });

  it("takes any lines where the page leaves some out, and those around them as they are", () => {
    assert.ok(isShown(["first", "…", "last"], "first\nsecond\nthird\nlast\n"));
    assert.ok(isShown(["first", "…", "last"], "first\nlast\n"));
    assert.ok(!isShown(["first", "…", "last"], "first\nsecond\n"));
    assert.ok(!isShown(["…", "last"], "first\nlast\nafter\n"));
  });
});

describe("parsePage", () => {
  it("refuses a block that would not be run, and says where", () => {
    assert.throws(() => parsePage("# Title\n\n```ts\nconst a = 1;\n```\n"), /^Error: line 3: a block is/);
    assert.throws(() => parsePage("```console back\n$ ls\n```\n"), /line 1/);
    assert.throws(() => parsePage("```console\nls\n```\n"), /line 1/);
    assert.throws(() => parsePage("```sh\nls\n```\n"), /line 1/);
  });
});
