import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";

const folder = join(import.meta.dirname, "..");

describe("the README", () => {
  it("has examples that run as they stand, all in one process, and print what they say", async () => {
    const readme = await readFile(join(folder, "README.md"), "utf8");
    const examples = [...readme.matchAll(/```ts\n(.*?)```/gs)].map(([, example = ""]) => example);
    assert.ok(examples.length >= 5);
    const promised = examples.map((example) => /\/\/ prints: (.*)$/m.exec(example)?.[1] ?? "nothing");
    const imports = [...new Set(examples.flatMap((example) => example.match(/^import .*$/gm) ?? []))];
    const names = new Set(imports.flatMap((line) => (/\{ (.*) \}/.exec(line)?.[1] ?? "").split(", ")));
    const bodies = examples.map((example) => `{\n${example.replaceAll(/^import .*$/gm, "")}}\n`);
    const program = `import { ${[...names].join(", ")} } from "@plinth/resilience";\n${bodies.join("")}`;
    const flags = ["--conditions=plinth-source", "--input-type=module-typescript", "--eval"];
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, program], { cwd: folder });
    assert.deepEqual(stdout.trimEnd().split("\n"), promised);
  });
});
