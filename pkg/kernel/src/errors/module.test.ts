import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { defineModule } from "../app/module.ts";
import { provider } from "../app/provider.ts";
import { token } from "../app/token.ts";
import { coreModule } from "../core-module.ts";
import { metrics } from "../metrics/module.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { testApp } from "../testing/test-app.ts";
import { serializeError } from "../logger/serialize-error.ts";
import { AppError } from "./app-error.ts";
import type { ErrorReport } from "./error-bus.ts";
import { errorBus, errorReporters } from "./module.ts";

async function benchOf(overrides: Record<string, unknown> = {}, report?: () => Promise<void>) {
  const reports: ErrorReport[] = [];
  const keeper = provider({
    provides: errorReporters,
    create: () => ({
      name: "kept",
      report: report ?? ((batch: readonly ErrorReport[]) => void reports.push(...batch)),
    }),
  });
  const absent = provider({ provides: errorReporters, create: () => undefined });
  const clock = new FakeClock();
  const app = await testApp({
    name: "notes",
    clock,
    modules: [coreModule, defineModule("kept", [keeper, absent])],
    config: { overrides },
  });
  return { app, bus: app.get(errorBus), reports, clock };
}

const job = { origin: "job" } as const;

async function metricsOf({ app }: Pick<Awaited<ReturnType<typeof benchOf>>, "app">): Promise<string> {
  const { body } = await app.get(metrics).expose();
  return body;
}

describe("the error bus of an app", () => {
  it("takes its limits from the section errors, and the app's name for its reports", async () => {
    const { app, bus, reports, clock } = await benchOf({ errors: { foldIntervalMs: 500 } });
    await using _ = app;
    for (let id = 0; id < 4; id++) bus.report(new Error(`no note ${id}`), job);
    await clock.advance(500);
    assert.deepEqual(
      reports.map(({ count, service }) => [count, service]),
      [
        [1, "notes"],
        [3, "notes"],
      ],
    );
    const [first, second] = ["no note 0", "no note 3"].flatMap((message) => app.logged.withMessage(message));
    assert.deepEqual([first?.count, second?.count], [undefined, 3]);
    assert.equal(first?.fingerprint, reports[0]?.fingerprint);
    assert.equal(second?.fingerprint, reports[0]?.fingerprint);
  });

  it("hides of attributes and metadata what the log hides, by name and path, for every reporter", async () => {
    const { app, bus, reports } = await benchOf({ log: { redactNames: ["iban"], redact: ["email"] } });
    await using _ = app;
    const metadata = { IBAN: "DE02", token: "hunter2", note: "7", url: "postgres://a:hunter2@db/x" };
    const thrown = AppError.notFound("ERR_NOTE_MISSING", "no note 7", { metadata, cause: "why" });
    const attributes = { iban: "DE02", Password: "hunter2", email: "a@b", route: "/notes", size: 7, ok: true };
    assert.equal(bus.report(thrown, { ...job, attributes }), thrown);
    await bus.flush();
    const [report] = reports;
    assert.deepEqual(report?.attributes, {
      iban: "***",
      Password: "***",
      email: "***",
      route: "/notes",
      size: 7,
      ok: true,
    });
    assert.ok(AppError.is(report?.error));
    assert.deepEqual(report.error.metadata, { IBAN: "***", token: "***", note: "7", url: "postgres://a:***@db/x" });
    const rest = ({ code, status, message, cause, stack, name, retryable }: AppError): readonly unknown[] => [
      code,
      status,
      message,
      cause,
      stack,
      name,
      retryable,
    ];
    assert.deepEqual(rest(report.error), rest(thrown));
    assert.equal(thrown.metadata.token, "hunter2");
    assert.doesNotMatch(JSON.stringify(app.logged.lines), /hunter2|DE02|a@b/);
  });

  it("hides the same of whatever led to an error, through errors of others, and leaves the rest as it is", async () => {
    const { app, bus, reports } = await benchOf({ log: { redactNames: ["iban"] } });
    await using _ = app;
    const metadata = { IBAN: "DE02", token: "hunter2", note: "7" };
    const inner = (): AppError => AppError.notFound("ERR_NOTE_MISSING", "no note 7", { metadata });
    const other = new TypeError("of somebody else", { cause: inner() });
    Object.assign(other, { code: "E_OTHER" });
    bus.report(AppError.unavailable("ERR_SAMPLE_AWAY", "away", { cause: inner() }), job);
    bus.report(AppError.unavailable("ERR_SAMPLE_GONE", "gone", { cause: other }), job);
    bus.report(new AggregateError([new Error("clean"), inner()], "several"), job);
    const circle = AppError.aborted("ERR_SAMPLE_CIRCLE", "circle", { metadata, cause: new Error("between") });
    Object.assign(Object(circle.cause), { cause: circle });
    bus.report(circle, job);
    const clean = AppError.unavailable("ERR_SAMPLE_CLEAN", "clean", {
      cause: new Error("x", { cause: new Error("y") }),
    });
    bus.report(clean, job);
    const broken = AppError.internal("ERR_SAMPLE_BROKEN", "broken");
    Object.defineProperty(broken, "metadata", { get: () => JSON.parse("{") });
    bus.report(new Error("before a broken one", { cause: broken }), job);
    await bus.flush();
    assert.equal(reports.length, 6);
    for (const { error } of reports) assert.doesNotMatch(JSON.stringify(serializeError(error)), /hunter2|DE02/);
    assert.doesNotMatch(JSON.stringify(app.logged.lines), /hunter2|DE02/);
    const { cause } = serializeError(reports[1]?.error);
    assert.partialDeepStrictEqual(cause, { type: "TypeError", code: "E_OTHER", message: "of somebody else" });
    assert.equal(cause?.stack, other.stack);
    assert.deepEqual(cause?.cause?.metadata, { IBAN: "***", token: "***", note: "7" });
    assert.equal(cause?.cause?.code, "ERR_NOTE_MISSING");
    assert.equal(reports.find(({ error }) => error.code === "ERR_SAMPLE_CLEAN")?.error, clean);
    assert.equal(inner().metadata.token, "hunter2");
  });

  it("shows in its metrics each error, and what became of the reports by reporter", async (t) => {
    t.mock.method(process.stderr, "write", () => true);
    const { app, bus, clock } = await benchOf({ errors: { breakerFailures: 2, maxQueued: 3 } }, () =>
      Promise.reject(new Error("no network")),
    );
    await using _ = app;
    for (const text of ["a", "b", "c", "d", "d", "d", "d", "e", "f"])
      bus.report(new AppError(`ERR_${text.toUpperCase()}`, "internal", text), job);
    assert.match(await metricsOf({ app }), /errors_total\{origin="job",code="ERR_D"\} 4/); // at once
    await clock.advance(0);
    const shown = await metricsOf({ app });
    for (const line of [
      "errors_folded_total 3",
      'errors_delivered_total{reporter="log"} 3',
      'errors_delivered_total{reporter="kept"} 0',
      'errors_dropped_total{reporter="kept"} 5',
      'errors_reporter_failures_total{reporter="kept"} 2',
      'errors_reporter_open{reporter="kept"} 1',
      'errors_reporter_open{reporter="log"} 0',
      'errors_queued{reporter="kept"} 1',
      'errors_reporter_duration_seconds_count{reporter="kept",outcome="failed"} 2',
      'errors_reporter_duration_seconds_count{reporter="log",outcome="ok"} 1',
    ]) {
      assert.ok(shown.includes(`${line}\n`), `${line} is not in\n${shown.match(/^errors_.*$/gm)?.join("\n")}`);
    }
  });

  it("refuses limits that are none, and names them", async () => {
    await assert.rejects(benchOf({ errors: { maxQueued: 0 }, process: { uncaughtException: "ignore" } }), (error) => {
      assert.match(String(error), /errors\.maxQueued/);
      assert.match(String(error), /process\.uncaughtException/);
      return true;
    });
  });

  it("is told of what fails after it was closed too, in the log", async () => {
    const late = provider({
      provides: token("late").of<string>(),
      ground: true,
      create: () => "late",
      stop() {
        throw new Error("too late");
      },
    });
    const app = await testApp({ name: "notes", modules: [coreModule, defineModule("late", [late])] });
    await assert.rejects(app.stop());
    assert.ok(app.logged.lines.some(({ error }) => JSON.stringify(error ?? "").includes("too late")));
  });
});
