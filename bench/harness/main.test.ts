import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, it, type TestContext } from "node:test";
import { listProcesses, treeOf } from "./cpu.ts";

async function bench(t: TestContext, ...argv: string[]) {
  const directory = await mkdtemp(join(tmpdir(), "plinth-bench-test-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const results = join(directory, "results");
  const args = ["--conditions=plinth-source", join(import.meta.dirname, "smoke-run.ts"), results, ...argv];
  const child = spawn(process.execPath, args, { cwd: directory, stdio: ["ignore", "pipe", "pipe"] });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  return { code: child.exitCode, stdout, stderr, directory, results };
}

describe("npm run bench", () => {
  it("measures, prints, writes its result, and fails a check by the target that is missed", async (t) => {
    const args = ["smoke", "--rounds", "1", "--seconds", "1", "--check", "--json", "out.json"];
    const { code, stdout, stderr, directory, results } = await bench(t, ...args);

    assert.equal(code, 1, stderr);
    assert.match(stderr, /^missed: fastify ≤ 0\.001 × node:http, but it is \d+\.\d\d ×$/m);
    assert.doesNotMatch(stderr, /missed: fastify ≤ 1000 /);
    assert.match(stdout, /^\| node:http +\| floor +\| +\d+\.\d \|/m);
    assert.match(stdout, /^\| fastify +\| peer +\| +\d+\.\d \|/m);

    const json = await readFile(join(directory, "out.json"), "utf8");
    const result = JSON.parse(json);
    assert.deepEqual([result.shape.rounds, result.shape.seconds, result.shape.connections], [1, 1, 8]);
    assert.deepEqual(
      result.rows.map(({ name, role }: { name: string; role: string }) => [name, role]),
      [
        ["node:http", "floor"],
        ["fastify", "peer"],
      ],
    );
    for (const row of result.rows) {
      assert.ok(row.cpuMicrosPerRequest.median > 1 && row.cpuMicrosPerRequest.median < 10_000, JSON.stringify(row));
      assert.ok(row.requestsPerSecond.median > 100, JSON.stringify(row));
      assert.ok(row.p50Ms.median > 0 && row.p99Ms.median >= row.p50Ms.median, JSON.stringify(row));
      assert.ok(row.busyRatio.median > 0 && row.busyRatio.median < 1.2, JSON.stringify(row));
    }
    assert.deepEqual(
      result.targets.map(({ met }: { met: boolean }) => met),
      [true, false],
    );
    assert.equal(result.ratios.length, 1);
    assert.equal(await readFile(join(results, "smoke.json"), "utf8"), json);
    assert.equal(`${await readFile(join(results, "smoke.md"), "utf8")}\n`, stdout);
  });

  it("starts each program from cold until it is ready, by the question's own number of rounds", async (t) => {
    const { code, stderr, results } = await bench(t, "smoke-cold");
    assert.equal(code, 0, stderr);
    const { rows, ratios, shape } = JSON.parse(await readFile(join(results, "smoke-cold.json"), "utf8"));
    assert.deepEqual(shape, { readyPath: "/ready", rounds: 2 });
    for (const { wallMs, cpuMs } of rows) {
      assert.equal(wallMs.rounds.length, 2);
      assert.ok(cpuMs.min > 1 && wallMs.min > cpuMs.min / 2, JSON.stringify({ wallMs, cpuMs }));
    }
    assert.deepEqual(
      ratios.map(({ figure }: { figure: string }) => figure),
      ["wallMs", "cpuMs"],
    );
  });

  it("refuses the length of a window where there is none", async (t) => {
    const { code, stderr } = await bench(t, "smoke-cold", "--seconds", "1");
    assert.equal(code, 2);
    assert.match(stderr, /^ERR_BENCH_ARGUMENT: smoke-cold counts no window/);
  });

  it("lets a program time itself in the window that it is told", async (t) => {
    const { code, stdout, stderr } = await bench(t, "smoke-program", "--seconds", "7", "--check");
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^\| double +\| peer +\| +14 \| +14–14 \|$/m);
    assert.match(stdout, /^\| double \/ single \| +2\.00 \| +2\.00–2\.00 \| ≤ 2 met \|$/m);
  });

  it("fails on a wrong reply, and writes no result", async (t) => {
    const { code, stderr, directory } = await bench(t, "wrong-length", "--rounds", "1", "--seconds", "1");
    assert.equal(code, 1);
    assert.match(stderr, /ERR_BENCH_LOAD: node:http: \d+ errors .*: reply 200 with 79 bytes, expected 200 with 80/);
    assert.deepEqual(await readdir(directory), []);
  });

  it("fails when a peer is missing, and says what to do", async (t) => {
    const { code, stderr } = await bench(t, "missing-peer");
    assert.equal(code, 1);
    assert.equal(stderr, "ERR_BENCH_PEER_MISSING: this bench needs a peer: install it\n");
  });

  it("ends everything on Ctrl-C", async () => {
    const args = [
      "--conditions=plinth-source",
      join(import.meta.dirname, "smoke-run.ts"),
      "unused",
      "smoke",
      "--seconds",
      "1",
    ];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] });
    const exit = once(child, "exit");
    // The first round is told when its window is over: from then on the second server is being started or measured.
    await once(child.stderr, "data");
    const tree = treeOf(child.pid!, listProcesses());
    child.kill("SIGINT");
    assert.deepEqual(await exit, [130, null]);
    const alive = new Set(listProcesses().map(({ pid }) => pid));
    assert.deepEqual(
      tree.filter((pid) => alive.has(pid)),
      [],
    );
  });

  it("lists each question with its sentence", async (t) => {
    const { code, stdout } = await bench(t, "--list");
    assert.equal(code, 0);
    assert.match(stdout, /^smoke\n {2}Does the harness work\?\nwrong-length\n/);
  });

  it("names the nearest of an unknown question", async (t) => {
    const { code, stderr } = await bench(t, "smoek");
    assert.equal(code, 2);
    assert.equal(stderr, 'ERR_BENCH_UNKNOWN_QUESTION: there is no question "smoek"; nearest: smoke\n');
  });

  it("shows how it is used when the command is wrong", async (t) => {
    const { code, stderr } = await bench(t, "smoke", "--rounds", "many");
    assert.equal(code, 2);
    assert.match(stderr, /^ERR_BENCH_ARGUMENT: --rounds is a whole number .*\n\nusage: npm run bench -- NAME/);
  });
});
