// The disk is full, or nobody reads the pipe: a service that cannot log goes on serving, and tells what was lost.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, stat, truncate } from "node:fs/promises";
import { createReadStream } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { ask } from "../support/http.ts";
import { asRecord } from "../support/json.ts";
import { startLoad } from "../support/load.ts";
import { type Service, startService } from "../support/service.ts";
import { until } from "../support/until.ts";

const perSecond = 200;
const requests = 400;
const limitMs = 30_000;

let folder: string;
before(async () => void (folder = await mkdtemp(join(tmpdir(), "plinth-log-"))));
after(() => rm(folder, { recursive: true, force: true }));

/** Asks `requests` times and fails where one of them does. */
async function work({ url }: Service): Promise<{ readonly medianMs: number; readonly slowestMs: number }> {
  const load = startLoad({ url: `${url}/work`, connections: 16, perSecond });
  await load.untilMore(requests);
  const { statuses, broken, refused } = await load.stop();
  assert.deepEqual([Object.keys(statuses), broken, refused], [["200"], [], 0]);
  return load.durations();
}

function makePipe(name: string): string {
  const pipe = join(folder, name);
  execFileSync("/bin/sh", ["-c", 'mkfifo "$0"', pipe]);
  return pipe;
}

const complaints = ({ program }: Service): string[] => program.stderr().split("\n").filter(Boolean);
const cannot = /^log lines cannot be written to standard output: /;

describe("a service whose standard output is a full disk", { timeout: 120_000 }, () => {
  it("serves as ever, counts the lines, says so once, and stops with exit code 0", async (t) => {
    await using healthy = await startService("logging-service");
    const usual = await work(healthy);
    assert.equal(await healthy.metric("log_lines_dropped_total"), 0);

    await using service = await startService("logging-service", { shell: 'exec "$0" "$@" > /dev/full' });
    const full = await work(service);
    t.diagnostic(`median ${usual.medianMs.toFixed(2)} ms, ${full.medianMs.toFixed(2)} ms with the disk full`);
    // The same work on the same machine, give or take what else runs on it.
    assert.ok(full.medianMs < 5 * usual.medianMs + 5, `${full.medianMs} ms instead of ${usual.medianMs} ms`);
    await until(
      async () => (await service.metric("log_lines_dropped_total")) >= requests,
      "every line is counted",
      limitMs,
    );
    assert.equal((await ask(`${service.url}/ready`)).status, 200);
    await until(() => complaints(service).length > 0, "it says so", limitMs);
    assert.equal(complaints(service).length, 1);
    assert.match(complaints(service)[0] ?? "", /ENOSPC: no space left on device/);
    service.program.signal("SIGTERM");
    assert.deepEqual(await service.program.exit, { code: 0, signal: null });
    const [first, ...last] = complaints(service);
    assert.match(first ?? "", cannot);
    assert.match(last.at(-1) ?? "", /^standard output could not be written to the end; log lines lost: \d+$/);
    assert.ok(last.length <= 2, `it says no more than what the end means: ${last.join("; ")}`);
  });

  it("lives though standard error is full as well", async () => {
    await using service = await startService("logging-service", { shell: 'exec "$0" "$@" > /dev/full 2>&1' });
    await work(service);
    service.program.signal("SIGTERM");
    assert.deepEqual(await service.program.exit, { code: 0, signal: null });
  });

  it("writes whole lines again as soon as there is room, and says once how many were lost", async () => {
    const file = join(folder, "small.log");
    // A file that may not grow beyond 64 blocks of 512 bytes is as good as a disk of that size.
    const shell = `ulimit -f 64; exec "$0" "$@" >> ${file}`;
    await using service = await startService("logging-service", { shell });
    await work(service);
    await until(async () => (await stat(file)).size === 64 * 512, "the file is full", limitMs);
    await until(async () => (await service.metric("log_lines_dropped_total")) > 0, "lines are lost", limitMs);
    const lost = await service.metric("log_lines_dropped_total");
    await until(() => complaints(service).length > 0, "it says so", limitMs);
    assert.equal(complaints(service).length, 1);
    assert.match(complaints(service)[0] ?? "", cannot);

    const tail = (await readFile(file, "utf8")).split("\n").at(-1);
    await truncate(file);
    await ask(`${service.url}/work`);
    await until(() => complaints(service).length > 1, "it says that it writes again", limitMs);
    const told = /^log lines can be written to standard output again; log lines lost: (\d+)$/.exec(
      complaints(service)[1] ?? "",
    );
    const toldLost = Number(told?.[1]);
    assert.ok(toldLost >= lost, `${toldLost} of ${lost}`);
    assert.equal(await service.metric("log_lines_dropped_total"), toldLost);
    service.program.signal("SIGTERM");
    assert.deepEqual(await service.program.exit, { code: 0, signal: null });
    assert.deepEqual(complaints(service).slice(2), []);
    const lines = (await readFile(file, "utf8")).split("\n").filter(Boolean);
    assert.ok(lines.length > 0, `after ${tail}`);
    for (const line of lines) assert.equal(asRecord(JSON.parse(line))["service"], "logging");
  });
});

describe("a service whose log nobody reads", { timeout: 120_000 }, () => {
  it("serves as ever within bounds of memory, counts what is lost, and tells it when somebody reads", async (t) => {
    const pipe = makePipe("pipe");
    // The service holds the other end of its own output open, and never reads it.
    await using service = await startService("logging-service", {
      shell: `exec 3<> ${pipe}; exec "$0" "$@" > ${pipe}`,
    });
    const memory = () => service.metric("process_resident_memory_bytes");
    await work(service);
    const before = await memory();
    // 300 MB in lines, of which 64 MiB may wait.
    const flood = startLoad({ url: `${service.url}/flood`, connections: 2 });
    await flood.untilMore(190);
    const { statuses, broken } = await flood.stop();
    assert.deepEqual([Object.keys(statuses), broken], [["200"], []]);
    const during = await work(service);
    const grown = (await memory()) - before;
    const lost = await service.metric("log_lines_dropped_total");
    t.diagnostic(
      `${(grown / 1e6).toFixed(0)} MB more memory, ${lost} lines lost, median ${during.medianMs.toFixed(2)} ms`,
    );
    assert.ok(grown < 200e6, `${grown} bytes more`);
    assert.ok(lost > 10_000, `${lost} lines lost`);
    assert.deepEqual(complaints(service), [], "it may still catch up");

    const reader = createReadStream(pipe).resume();
    await until(() => complaints(service).length > 0, "it tells what was lost", limitMs);
    assert.match(complaints(service)[0] ?? "", /^standard output was too slow; log lines lost: \d+$/);
    service.program.signal("SIGTERM");
    assert.deepEqual(await service.program.exit, { code: 0, signal: null });
    reader.destroy();
  });

  it("stops in bounded time with exit code 0", async () => {
    const pipe = makePipe("stuck");
    await using service = await startService("logging-service", {
      shell: `exec 3<> ${pipe}; exec "$0" "$@" > ${pipe}`,
    });
    await ask(`${service.url}/flood`);
    const startedAtMs = performance.now();
    service.program.signal("SIGTERM");
    assert.deepEqual(await service.program.exit, { code: 0, signal: null });
    // 1 s for the last lines, 2 s for an output that takes nothing, 2 s for what holds the process open; then three times that.
    assert.ok(performance.now() - startedAtMs < 15_000);
    assert.match(complaints(service).join("\n"), /standard output was too slow; log lines lost: \d+/);
  });
});
