import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, it } from "node:test";
import { promisify } from "node:util";

const folder = join(import.meta.dirname, "..");

/** The TypeScript examples of the README, in their order. */
async function readExamples(): Promise<readonly string[]> {
  const readme = await readFile(join(folder, "README.md"), "utf8");
  return [...readme.matchAll(/```ts\n(.*?)```/gs)].map(([, example = ""]) => example);
}

const flags = ["--conditions=plinth-source", "--input-type=module-typescript", "--eval"];

describe("the README", () => {
  it("has an example that runs as it stands, and stops in order", async () => {
    const [example = ""] = await readExamples();
    const child = spawn(process.execPath, [...flags, example], {
      cwd: folder,
      env: { ...process.env, PLINTH_NOTES_MAX_LENGTH: "5" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exited = once(child, "exit");
    const lines: Record<string, unknown>[] = [];
    for await (const line of createInterface(child.stdout)) {
      const parsed = JSON.parse(line);
      lines.push(parsed);
      if (parsed.message === "app ready") child.kill("SIGTERM");
    }
    assert.deepEqual(await exited, [0, null]);
    assert.deepEqual(
      lines.map(({ message }) => message),
      ["notes loaded", "app ready", "app draining", "app stopping", "notes saved", "app stopped"],
    );
    assert.deepEqual(lines[0]?.notes, ["hello"]);
  });

  it("has an example of request scopes that prints what it says", async () => {
    const [, example = ""] = await readExamples();
    const [, promised] = /\/\/ prints: (.*)$/m.exec(example) ?? [];
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, example], { cwd: folder });
    assert.equal(stdout, `${promised}\n`);
  });

  it("has an example of health checks that tell of themselves", async () => {
    const [, , example = ""] = await readExamples();
    const asked = `
      import { coreModule, health } from "@plinth/kernel";
      import { testApp } from "@plinth/kernel/testing";
      await using app = await testApp({ name: "notes", modules: [coreModule, checksModule] });
      const own = app.get(health);
      while (own.state === "ready") await new Promise((resolve) => own.onState(resolve));
      const { ready, checks } = await own.readiness();
      console.log(JSON.stringify([ready, checks.map(({ name }) => name)]));`;
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, example + asked], { cwd: folder });
    assert.deepEqual(JSON.parse(stdout), [true, ["event-loop", "heap", "disk-space", "mail"]]);
  });

  it("has an example of metrics that prints what it says", async () => {
    const [, , , example = ""] = await readExamples();
    const [, promised] = /\/\/ prints: (.*)$/m.exec(example) ?? [];
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, example], { cwd: folder });
    assert.equal(stdout, `${promised}\n`);
  });

  it("has an example of the error bus that prints what it says", async () => {
    const [, , , , example = ""] = await readExamples();
    const [, promised = ""] = /\/\/ prints: (.*)$/m.exec(example) ?? [];
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, example], { cwd: folder });
    assert.equal(stdout, `${promised.replaceAll("; ", "\n")}\n`);
  });

  it("has an example of spans and baggage that prints what it says", async () => {
    const [, , , , , example = "", ...more] = await readExamples();
    assert.deepEqual(more, [], "each example has a test");
    const [, promised] = /\/\/ prints: (.*)$/m.exec(example) ?? [];
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, example], { cwd: folder });
    assert.equal(stdout, `${promised}\n`);
  });

  it("has examples that compile", async () => {
    const examples = await readExamples();
    const root = join(folder, "../..");
    // below the repository, where the packages are found
    await mkdir(join(root, ".cache"), { recursive: true });
    const own = await mkdtemp(join(root, ".cache/kernel-readme-"));
    try {
      for (const [index, example] of examples.entries()) await writeFile(join(own, `${index}.ts`), example);
      const config = {
        extends: join(root, "tsconfig.json"),
        include: ["*.ts"],
        exclude: [],
      };
      await writeFile(join(own, "tsconfig.json"), JSON.stringify(config));
      const tsc = join(root, "node_modules/.bin/tsc");
      const { stdout } = await promisify(execFile)(tsc, ["-p", own]).catch((error: { stdout: string }) => error);
      assert.equal(stdout, "");
    } finally {
      await rm(own, { recursive: true, force: true });
    }
  });
});
