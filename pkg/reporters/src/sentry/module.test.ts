import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { AppError, type ConfigData, coreModule, errorBus, metrics } from "@plinth/kernel";
import { FakeClock, testApp } from "@plinth/kernel/testing";
import { Receiver } from "../testing/receiver.ts";
import { sentryReporterModule } from "./module.ts";

const start = (sentry: ConfigData, clock?: FakeClock) =>
  testApp({
    name: "notes",
    version: "1.2.3",
    modules: [coreModule, sentryReporterModule],
    config: { defaults: { sentry } },
    ...(clock ? { clock } : {}),
  });

const dsnOf = ({ url }: Receiver): string => `${url.replace("//", "//k3y@")}/42`;
const eventIn = (body: string) => JSON.parse(body.split("\n")[2] ?? "");

describe("sentryReporterModule", () => {
  it("sends errors as those of this release and instance of the app, also what a stop finds waiting", async () => {
    await using server = await Receiver.start();
    const app = await start({ dsn: dsnOf(server), environment: "staging" });
    app
      .get(errorBus)
      .report(new AppError("ERR_JOB", "internal", "of a job"), { origin: "job", attributes: { job: "mail" } });
    await app.stop();
    const { release, environment, server_name: name, tags, extra } = eventIn(server.requests[0]?.body ?? "");
    assert.deepEqual(
      [release, environment, tags.code, tags.origin, extra.job],
      ["notes@1.2.3", "staging", "ERR_JOB", "job", "mail"],
    );
    assert.match(name, /\S/);
    assert.equal(server.requests.length, 1);
  });

  it("holds a stop no longer than the flush may take, when Sentry hangs", async () => {
    await using server = await Receiver.start([null]);
    const clock = new FakeClock();
    const app = await start({ dsn: dsnOf(server), timeoutMs: 60_000 }, clock);
    app.get(errorBus).report(new Error("stuck"), { origin: "job" });
    const { response } = await server.received(1);
    const stopped = app.stop();
    await clock.advance(3_000); // the flush's limit
    await stopped;
    if (!response.destroyed) await new Promise((resolve) => response.once("close", resolve));
  });

  it("counts for the bus what Sentry did not take, and does not report that", async () => {
    await using server = await Receiver.start([500]);
    await using app = await start({ dsn: dsnOf(server) });
    const errors = app.get(errorBus);
    errors.report(new Error("lost"), { origin: "job" });
    await errors.flush();
    const { reported, reporterFailures } = errors.stats();
    assert.deepEqual([reported, reporterFailures], [1, 1]);
    assert.match((await app.get(metrics).expose()).body, /^error_sentry_events_total\{outcome="failed"\} 1$/m);
  });

  it("lets two apps of one process have a project each", async () => {
    await using first = await Receiver.start();
    await using second = await Receiver.start();
    await using one = await start({ dsn: dsnOf(first) });
    await using other = await start({ dsn: dsnOf(second) });
    one.get(errorBus).report(new Error("here"), { origin: "job" });
    other.get(errorBus).report(new Error("there"), { origin: "job" });
    await Promise.all([one.get(errorBus).flush(), other.get(errorBus).flush()]);
    const values = [first, second].map(({ requests }) =>
      requests.map(({ body }) => eventIn(body).exception.values[0].value),
    );
    assert.deepEqual(values, [["here"], ["there"]]);
  });

  it("refuses bad settings at the start, by key and without the secret", async () => {
    await assert.rejects(start({ dsn: "https://s3cr3t@host/x", sampleRatio: 2, timeoutMs: 0 }), (error: Error) => {
      for (const key of ["dsn", "sampleRatio", "timeoutMs"])
        assert.match(error.message, new RegExp(`sentry\\.${key}: `));
      assert.match(error.message, /sentry\.dsn: expected a DSN as Sentry shows it: .*, got \*\*\*/);
      assert.doesNotMatch(error.message, /s3cr3t/);
      return true;
    });
  });

  it("needs no SDK without a DSN, and says which with one", async () => {
    const program = `
      import { registerHooks } from "node:module";
      registerHooks({
        resolve(specifier, context, next) {
          if (specifier.startsWith("@sentry/")) throw new Error("not installed");
          return next(specifier, context);
        },
      });
      const { coreModule } = await import("@plinth/kernel");
      const { testApp } = await import("@plinth/kernel/testing");
      const { sentryReporterModule } = await import("./sentry/index.ts");
      for (const sentry of [{}, { dsn: "https://s3cr3t@host/42" }]) {
        const options = { name: "notes", modules: [coreModule, sentryReporterModule], config: { defaults: { sentry } } };
        await testApp(options).then((app) => app.stop()).then(() => console.log("started"), ({ message }) => console.log(message));
      }
    `;
    const flags = ["--conditions=plinth-source", "--input-type=module-typescript", "--eval", program];
    const { stdout } = await promisify(execFile)(process.execPath, flags, { cwd: join(import.meta.dirname, "..") });
    assert.match(stdout, /^started\n/);
    assert.match(
      stdout,
      /the package @sentry\/core, .* cannot be used: not installed; run: npm install @sentry\/core@11/,
    );
    assert.doesNotMatch(stdout, /s3cr3t/);
  });
});
