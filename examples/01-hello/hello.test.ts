import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, it } from "node:test";

const main = join(import.meta.dirname, "main.ts");

/** Runs the example as the README does, sends `signal` when the app is ready, and gives the lines that it logged. */
async function run(args: readonly string[], signal: NodeJS.Signals): Promise<Record<string, unknown>[]> {
  const child = spawn(process.execPath, ["--conditions=plinth-source", main, ...args], {
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const lines: Record<string, unknown>[] = [];
  for await (const text of createInterface(child.stdout)) {
    const line = JSON.parse(text);
    lines.push(line);
    if (line.message === "app ready") child.kill(signal);
  }
  assert.deepEqual(await exited, [0, null]);
  return lines;
}

describe("01-hello", () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    it(`greets, is ready, and after ${signal} says goodbye and exits with 0`, async () => {
      const lines = await run([], signal);
      assert.deepEqual(
        lines.map(({ message }) => message),
        ["hello", "app ready", "app draining", "app stopping", "goodbye", "app stopped"],
      );
      assert.equal(lines[0]?.to, "world");
      assert.ok(lines.every(({ service }) => service === "hello"));
    });
  }

  it("greets whom the command line names", async () => {
    const [first] = await run(["--hello.to=Ada"], "SIGTERM");
    assert.deepEqual([first?.message, first?.to], ["hello", "Ada"]);
  });

  it("does not start with a setting that is none, and says which", async () => {
    const child = spawn(process.execPath, ["--conditions=plinth-source", main, "--hello.too=Ada"], {
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const exited = once(child, "exit");
    const told = (await child.stderr.setEncoding("utf8").toArray()).join("");
    assert.deepEqual(await exited, [1, null]);
    assert.match(told, /hello\.too: unknown key; did you mean "hello\.to"\?/);
  });
});
