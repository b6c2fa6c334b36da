import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, it } from "node:test";
import { freePort } from "@plinth/kernel/testing";

/** The example with two workers. */
async function startPrimes() {
  const port = await freePort();
  const child = spawn(process.execPath, ["--conditions=plinth-source", join(import.meta.dirname, "main.ts")], {
    env: {
      ...process.env,
      NODE_TEST_CONTEXT: undefined,
      WORKERS: "2",
      PLINTH_HTTP_PORT: String(port),
      PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "0",
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  // a connection for each request: those of one connection go to one worker
  const read = async (path: string): Promise<string> => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: "close" } });
    assert.equal(response.status, 200);
    return response.text();
  };
  return {
    child,
    exited,
    /** Waits for that line of the log. */
    async logged(message: string): Promise<void> {
      for (let line = await lines.next(); !line.done; line = await lines.next()) {
        if (JSON.parse(line.value).message === message) return;
      }
      assert.fail(`it ended before it said "${message}"`);
    },
    count: async (below: number): Promise<{ readonly count: number; readonly worker: number }> =>
      JSON.parse(await read(`/primes/${below}`)),
    metric: async (series: string): Promise<number> => {
      const line = (await read("/metrics")).split("\n").find((each) => each.startsWith(`${series} `));
      return Number(line?.split(" ")[1]);
    },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL"); // its workers notice
      await exited;
    },
  };
}

describe("04-workers", () => {
  it("answers from several processes, with one total of them all that no death lessens", async () => {
    await using primes = await startPrimes();
    await primes.logged("all workers ready");
    const answers = [
      await primes.count(100),
      await primes.count(100),
      await primes.count(100),
      await primes.count(100),
    ];
    assert.deepEqual(
      answers.map(({ count }) => count),
      [25, 25, 25, 25],
    );
    const workers = new Set(answers.map(({ worker }) => worker));
    assert.equal(workers.size, 2);
    assert.deepEqual(
      [await primes.metric("primes_found_total"), await primes.metric("primes_found_total")],
      [100, 100],
    );

    const [victim = 0] = workers;
    process.kill(victim, "SIGKILL");
    await primes.logged("worker ready");
    assert.equal(await primes.metric("primes_found_total"), 100);
    assert.equal(await primes.metric('workers_restarts_total{reason="signal"}'), 1);
    assert.equal((await primes.count(10)).count, 4);
    assert.equal(await primes.metric("primes_found_total"), 104);

    primes.child.kill("SIGTERM");
    assert.deepEqual(await primes.exited, [0, null]);
  });
});
