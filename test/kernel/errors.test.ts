// Wherever something throws: the operators hear of it once, with the trace and the stack, the caller nothing of the inside,
// and the process goes on or stops as its config says.
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { ask, seriesOf } from "../support/http.ts";
import { asRecord } from "../support/json.ts";
import type { Program } from "../support/program.ts";
import { until } from "../support/until.ts";
import { limitMs, loggedBy, saidBy, start } from "./program.ts";

const main = join(import.meta.dirname, "../programs/failing-service.ts");
const keeping = {
  PLINTH_PROCESS_UNCAUGHT_EXCEPTION: "keep",
  PLINTH_PROCESS_UNHANDLED_REJECTION: "keep",
};

async function startService(environment: Readonly<Record<string, string>>) {
  const program = await start(main, [], environment);
  const said = (key: string): Record<string, unknown>[] =>
    saidBy(program.stdout())
      .map((line) => asRecord(JSON.parse(line)))
      .filter((line) => key in line);
  await program.untilPrinted('"port"', limitMs);
  return {
    program,
    url: `http://127.0.0.1:${String(said("port")[0]?.["port"])}`,
    /** What a reporter was told. */
    reports: () => said("reported"),
    [Symbol.asyncDispose]: () => Promise.resolve(program[Symbol.asyncDispose]()),
  };
}

/** A trace that the caller has begun. */
function newTrace() {
  const traceId = crypto.randomUUID().replaceAll("-", "");
  return { traceId, headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01`, "x-request-id": `of-${traceId}` } };
}

const linesAbout = (program: Program, traceId: string): Record<string, unknown>[] =>
  loggedBy(program.stdout()).filter((line) => line["trace_id"] === traceId && line["logger"] === "errors");

describe("an error of a service that keeps going", { concurrency: 1 }, () => {
  for (const { where, status, origin, handled } of [
    { where: "handler", status: 500, origin: "request", handled: true },
    { where: "cached", status: 500, origin: "request", handled: true },
    { where: "timer", status: 200, origin: "process", handled: false },
    { where: "listener", status: 200, origin: "process", handled: false },
    { where: "event", status: 200, origin: "process", handled: false },
    { where: "rejection", status: 200, origin: "process", handled: false },
    { where: "guarded", status: 200, origin: "job", handled: true },
    { where: "headers", status: undefined, origin: "request", handled: true },
    { where: "stream", status: undefined, origin: "stream", handled: true },
  ]) {
    it(`in ${where} is one report and one line of the log, with the trace and the stack; its caller learns nothing of it`, async () => {
      await using service = await startService(keeping);
      const { traceId, headers } = newTrace();
      const asked = ask(`${service.url}/${where}`, { headers });
      if (status === undefined) await assert.rejects(asked, "part of a reply must not look like the whole");
      else {
        const { status: answered, text, headers: told } = await asked;
        assert.equal(answered, status);
        assert.doesNotMatch(text + JSON.stringify([...told]), /hunter2|TypeError|failing-service/);
      }
      await until(() => service.reports().length > 0, "a report", limitMs);
      service.program.signal("SIGTERM"); // which flushes: what else there is would come now
      assert.deepEqual(await service.program.exit, { code: 0, signal: null }, service.program.stderr());
      assert.equal(service.program.stderr(), "");

      const [{ stack, ...report } = {}, ...others] = service.reports();
      assert.deepEqual(others, []);
      assert.deepEqual(report, {
        reported: `${where} password=hunter2`,
        origin,
        handled,
        traceId,
        requestId: `of-${traceId}`,
        count: 1,
      });
      assert.match(String(stack), /^TypeError: .*\n +at .*failing-service\.ts:\d+/);
      const lines = linesAbout(service.program, traceId);
      assert.deepEqual(
        lines.map(({ message, request_id }) => [message, request_id]),
        [[`${where} password=hunter2`, `of-${traceId}`]],
      );
      assert.match(JSON.stringify(lines[0]?.["error"]), /failing-service\.ts:\d+/);
    });
  }

  it("counts for each request, though it is one error object for all of them, as the reason of a kept promise is", async () => {
    await using service = await startService(keeping);
    const requests = 20;
    const answers = await Promise.all(Array.from({ length: requests }, () => ask(`${service.url}/cached`)));
    assert.ok(answers.every(({ status }) => status === 500));
    const metrics = (await ask(`${service.url}/metrics`)).text;
    assert.equal(seriesOf(metrics, "errors_total", { origin: "request", code: "ERR_INTERNAL" }), requests);
    service.program.signal("SIGTERM");
    assert.equal((await service.program.exit).code, 0);
    const counts = service.reports().map(({ count }) => Number(count));
    assert.deepEqual([counts[0], counts.reduce((sum, count) => sum + count, 0)], [1, requests]);
  });
});

describe("an error that nobody caught", { concurrency: 1 }, () => {
  for (const where of ["timer", "listener", "rejection"]) {
    it(`in a ${where} stops the service in order, reported once as fatal, unless the config keeps it`, async () => {
      await using service = await startService({});
      const { traceId, headers } = newTrace();
      assert.equal((await ask(`${service.url}/${where}`, { headers })).status, 200);
      assert.deepEqual(await service.program.exit, { code: 1, signal: null });
      assert.match(service.program.stderr(), new RegExp(`^fatal error, stopping: TypeError: ${where} `));
      const [{ stack, ...report } = {}, ...others] = service.reports();
      assert.deepEqual(others, []);
      assert.partialDeepStrictEqual(report, { origin: "process", handled: false, traceId, requestId: `of-${traceId}` });
      assert.match(String(stack), /failing-service\.ts:\d+/);
      assert.deepEqual(
        linesAbout(service.program, traceId).map(({ level }) => level),
        ["fatal"],
      );
      const states = loggedBy(service.program.stdout()).map(({ message }) => message);
      assert.ok(states.includes("app stopped"), "in order");
    });
  }

  it("stops it all the same when more come in a minute than the config keeps, after all that were kept", async () => {
    await using service = await startService({ ...keeping, PLINTH_PROCESS_MAX_KEPT: "3" });
    for (const where of ["timer", "listener", "rejection"]) {
      assert.equal((await ask(`${service.url}/${where}`)).status, 200);
      await until(() => service.reports().some(({ reported }) => String(reported).startsWith(where)), where, limitMs);
    }
    assert.equal((await ask(`${service.url}/ready`)).status, 200);
    assert.equal((await ask(`${service.url}/event`)).status, 200);
    assert.deepEqual(await service.program.exit, { code: 1, signal: null });
    assert.match(service.program.stderr(), /^fatal error, stopping: TypeError: event /);
    assert.deepEqual(
      service.reports().map(({ reported }) => String(reported).split(" ")[0]),
      ["timer", "listener", "rejection", "event"],
    );
  });
});
