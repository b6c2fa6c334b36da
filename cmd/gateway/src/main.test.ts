import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, it } from "node:test";

const main = join(import.meta.dirname, "main.ts");
const free = { PLINTH_GATEWAY_PORT: "0", PLINTH_OPS_PORT: "0", PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "0" };

function start(args: readonly string[], environment: Record<string, string> = free): ChildProcess {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !name.startsWith("PLINTH_") && !name.startsWith("NODE_"),
  );
  return spawn(process.execPath, ["--conditions=plinth-source", main, ...args], {
    env: { ...Object.fromEntries(inherited), ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Exit code and what it wrote. */
async function ended(child: ChildProcess): Promise<{ readonly code: number; readonly output: string }> {
  const { stdout, stderr } = child;
  assert.ok(stdout && stderr);
  const [out, errors, [code]] = await Promise.all([
    text(stdout),
    text(stderr),
    once(child, "exit") as Promise<[number]>,
  ]);
  return { code, output: out + errors };
}

async function outputUntil({ stdout }: ChildProcess, last: string): Promise<string> {
  assert.ok(stdout);
  const seen = Promise.withResolvers<string>();
  let output = "";
  stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
    if (output.includes(last)) seen.resolve(output);
  });
  stdout.on("end", () => seen.reject(new Error(`it ended before "${last}": ${output}`)));
  return seen.promise;
}

/** The port of a log line such as `gateway listens`. */
function portOf(output: string, message: string): number {
  const line = output.split("\n").find((one) => one.includes(message));
  assert.ok(line, output);
  return (JSON.parse(line) as { port: number }).port;
}

describe("plinth-gateway", { timeout: 30_000 }, () => {
  it("listens with its own document, has ops endpoints, and ends in order at SIGTERM", async () => {
    const child = start([]);
    const exit = once(child, "exit") as Promise<[number]>;
    try {
      const output = await outputUntil(child, "app ready");
      const hello = await fetch(`http://127.0.0.1:${portOf(output, "gateway listens")}/hello/ada`);
      assert.equal(hello.status, 503);
      assert.equal(((await hello.json()) as { reason: string }).reason, "no_instance");
      const ready = await fetch(`http://127.0.0.1:${portOf(output, "ops endpoints listen")}/ready`);
      assert.equal(ready.status, 200);
    } finally {
      child.kill("SIGTERM");
    }
    const [code] = await exit;
    assert.equal(code, 0);
  });

  it("ends with 1, naming port and variable, when its port is busy", async () => {
    const busy = createServer().listen(0, "127.0.0.1");
    await once(busy, "listening");
    const { port } = busy.address() as { port: number };
    const { code, output } = await ended(start([], { ...free, PLINTH_GATEWAY_PORT: String(port) }));
    busy.close();
    assert.equal(code, 1);
    assert.match(output, new RegExp(`port ${port} .*PLINTH_GATEWAY_PORT`));
  });

  it("ends with 1 and the faults when the document is faulty, and with 2 when the command line is", async () => {
    const faulty = await ended(start(["--config", join(import.meta.dirname, "../package.json")]));
    assert.equal(faulty.code, 1);
    assert.match(faulty.output, /package\.json:2/);
    const odd = await ended(start(["--confg", "x"]));
    assert.equal(odd.code, 2);
    assert.match(odd.output, /usage: plinth-gateway/);
  });

  it("takes where its errors go from the environment, and refuses what is none without printing it", async () => {
    const wrong = { ...free, PLINTH_WEBHOOK_URL: "hooks/t0ken", PLINTH_SENTRY_DSN: "sentry/t0ken" };
    const { code, output } = await ended(start([], wrong));
    assert.equal(code, 1);
    assert.match(output, /webhook\.url/);
    assert.match(output, /sentry\.dsn/);
    assert.doesNotMatch(output, /t0ken/);
  });
});
