// Handlers panic under load while a reporter of the error bus hangs or throws: each caller gets its answer, others are not
// slowed, what is dropped is counted, and the service stops in time.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ask, seriesOf } from "../support/http.ts";
import { type Load, type LoadReport, startLoad } from "../support/load.ts";
import { type Service, startService } from "../support/service.ts";
import { until } from "../support/until.ts";

/** All requests together come at 200 a second, each when it is due: there are many more connections than wait at a time. */
const worksPerSecond = 160;
const panicsPerSecond = 40;
const loadMs = 4_000;
const connections = 60;

const flushTimeoutMs = 1_000;
const environment = {
  PLINTH_ERRORS_MAX_QUEUED: "50",
  PLINTH_ERRORS_FLUSH_TIMEOUT_MS: String(flushTimeoutMs),
  PLINTH_ERRORS_REPORT_TIMEOUT_MS: "500",
  PLINTH_LOG_LEVEL: "fatal",
};

interface Run {
  readonly works: LoadReport;
  readonly panics: LoadReport;
  /** Of requests whose handlers do not fail. */
  readonly medianMs: number;
  readonly stopMs: number;
  readonly exitCode: number | null;
  /** The last scrape, when all that was reported has been taken or dropped. */
  readonly metrics: string;
  /** Lines. */
  readonly stderr: readonly string[];
}

async function underLoad(reporter: "none" | "throw" | "hang"): Promise<Run> {
  await using service = await startService("panicking-service", {
    environment: { ...environment, FAILING_REPORTER: reporter },
  });
  await warmUp(service);
  const works = startLoad({ url: `${service.url}/works`, connections, perSecond: worksPerSecond });
  const panics = startLoad({ url: `${service.url}/panics`, connections, perSecond: panicsPerSecond });
  await panics.untilMore((panicsPerSecond * loadMs) / 1_000);
  const { medianMs } = works.durations();
  await assertProblem(service);
  const reports = await Promise.all([works, panics].map((load: Load) => load.stop()));
  await until(
    async () =>
      (await service.metric("errors_delivered_total", { reporter: "test" })) >= count(reports[1], "500 ERR_INTERNAL"),
    "reports at the reporter that works",
    30_000,
  );
  const { text: metrics } = await ask(`${service.url}/metrics`);
  const askedAtMs = performance.now();
  service.program.signal("SIGTERM");
  const { code } = await service.program.exit;
  const stopMs = performance.now() - askedAtMs;
  const lines = service.program.stderr().split("\n").filter(Boolean);
  return { works: reports[0]!, panics: reports[1]!, medianMs, stopMs, exitCode: code, metrics, stderr: lines };
}

/** What is compiled and loaded with the first requests is not measured. */
async function warmUp({ url }: Service): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await Promise.all(["/works", "/panics"].map((path) => ask(`${url}${path}`)));
}

async function assertProblem({ url }: Service): Promise<void> {
  const answer = await ask(`${url}/panics`);
  const problem = answer.json() as Record<string, unknown>;
  assert.deepEqual(
    [answer.status, answer.headers.get("content-type"), problem["code"]],
    [500, "application/problem+json", "ERR_INTERNAL"],
  );
  assert.match(String(problem["traceId"]), /^[0-9a-f]{32}$/);
  assert.doesNotMatch(answer.text, /hunter2|TypeError/);
}

function count(report: LoadReport | undefined, status: string): number {
  return report?.statuses[status] ?? 0;
}

describe("panics under load while a reporter fails", () => {
  let sound: Run;

  it("are each a 500 without its text when no reporter fails, and the others are served", async () => {
    sound = await underLoad("none");
    assertAnswered(sound);
    assert.equal(seriesOf(sound.metrics, "errors_dropped_total"), 0);
    assert.deepEqual(sound.stderr, []);
  });

  for (const reporter of ["throw", "hang"] as const) {
    it(`are the same when it ${reporter}s: nobody is slowed, the lost reports are counted, and the stop is in time`, async () => {
      const run = await underLoad(reporter);
      assertAnswered(run);
      // Milliseconds of a machine that does other things as well; a reporter in the way would cost 500 for each report.
      assert.ok(
        run.medianMs < 5 * sound.medianMs + 20,
        `${run.medianMs} ms, without the reporter ${sound.medianMs} ms`,
      );
      const failing = { reporter: "failing" };
      assert.ok(seriesOf(run.metrics, "errors_dropped_total", failing) > 0, "dropped reports are counted");
      assert.ok(seriesOf(run.metrics, "errors_reporter_failures_total", failing) > 0, "its failures are counted");
      assert.equal(seriesOf(run.metrics, "errors_delivered_total", failing), 0);
      assert.equal(seriesOf(run.metrics, "errors_dropped_total", { reporter: "test" }), 0);
      assert.ok(seriesOf(run.metrics, "errors_queued", failing) <= 50, "its queue is bounded");
      assert.ok(
        run.stopMs < sound.stopMs + flushTimeoutMs + 2_000,
        `stopped in ${run.stopMs} ms, without the reporter ${sound.stopMs} ms`,
      );
      // Its own failures are no errors of the service: they are told where the bus cannot reach, and not each of them.
      assert.ok(run.stderr.length > 0 && run.stderr.length < 20, run.stderr.join("\n"));
      for (const line of run.stderr) assert.match(line, /^error reporter failing failed: /);
      const panics = count(run.panics, "500 ERR_INTERNAL");
      assert.ok(seriesOf(run.metrics, "errors_total") <= panics + 51, "50 of the warm-up and one more");
    });
  }

  function assertAnswered({ works, panics, exitCode }: Run): void {
    assert.deepEqual([Object.keys(works.statuses), works.broken, works.refused], [["200"], [], 0]);
    assert.deepEqual([Object.keys(panics.statuses), panics.broken, panics.refused], [["500 ERR_INTERNAL"], [], 0]);
    assert.equal(exitCode, 0);
  }
});
