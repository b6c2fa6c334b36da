import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { AppError, createMetrics, type ErrorReport, Secret } from "@plinth/kernel";
import { FakeClock, freePort } from "@plinth/kernel/testing";
import { selfSigned } from "../testing/certificate.ts";
import { aReport } from "../testing/report.ts";
import { type Answer, Receiver } from "../testing/receiver.ts";
import { openSentryReporter } from "./client-reporter.ts";
import { checkSentryLimits, sentryDefaults, type SentryOptions, type SentryReporter } from "./options.ts";
import { createSentryReporter } from "./reporter.ts";
import { loadSentrySdk } from "./sdk.ts";

const tenth = "../../../../node_modules/@sentry/node/node_modules/@sentry/core/build/esm/index.js";
const sdks = {
  "11.x": () => loadSentrySdk(),
  "10.x": () => loadSentrySdk({ core: () => import(tenth), server: () => Promise.reject(new Error("not in 10.0")) }),
};

const limit = () => ({ signal: new AbortController().signal });
const dsnOf = ({ url }: { readonly url: string }): Secret => new Secret(`${url.replace("//", "//k3y@")}/42`);
const reset: Answer = ({ response }) => response.socket?.resetAndDestroy();
const answer =
  (status: number, headers: Record<string, string>): Answer =>
  ({ response }) =>
    response.writeHead(status, headers).end("{}");

/** An exception and a frame of an event, as far as they are looked at here. */
interface Shown {
  readonly type: string;
  readonly value: string;
  readonly mechanism: Readonly<Record<string, unknown>>;
}
interface Frame {
  readonly filename: string;
  readonly in_app: boolean;
}

/** The headers of an envelope, and of its only item, and its event. */
function readEnvelope(body: string) {
  const [head, item, event, ...more] = body.split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(more, []);
  return { head, item, event };
}
const eventsIn = ({ requests }: Receiver) => requests.map(({ body }) => readEnvelope(body).event);

for (const [version, load] of Object.entries(sdks)) {
  describe(`Sentry's SDK ${version}`, () => {
    const open = async (
      server: { readonly url: string },
      options: Partial<SentryOptions> = {},
    ): Promise<SentryReporter> =>
      openSentryReporter(await load(), {
        ...checkSentryLimits(sentryDefaults),
        ...options,
        dsn: dsnOf(server),
      });

    it("is of that version", async () => {
      assert.equal((await load()).SDK_VERSION.split(".")[0], version.split(".")[0]);
    });

    it("sends an event for each report, to the endpoint of the project", async () => {
      await using server = await Receiver.start();
      const reporter = await open(server, { environment: "staging", release: "notes@1.2.3", serverName: "notes-1" });
      const metadata = { shelf: "3" };
      const error = new AppError("ERR_NOTES_FULL", "resource_exhausted", "no room", { metadata });
      await reporter.report([aReport({ error, count: 3, severity: "fatal", handled: false })], limit());
      const { url, headers, body } = server.requests[0]!;
      assert.match(
        url,
        /^\/api\/42\/envelope\/\?sentry_version=7&sentry_key=k3y&sentry_client=sentry\.javascript\.core%2F1[01]\./,
      );
      assert.equal(headers["content-type"], "application/x-sentry-envelope");
      assert.match(headers["user-agent"] ?? "", /^sentry\.javascript\.core\/1[01]\./);
      const { head, item, event } = readEnvelope(body);
      assert.equal(item.type, "event");
      assert.match(head.event_id, /^[0-9a-f]{32}$/);
      assert.equal(head.trace.trace_id, "1".repeat(32));
      const { exception, contexts, sdk, ...facts } = event;
      assert.deepEqual(facts, {
        event_id: head.event_id,
        timestamp: Date.UTC(2026, 0, 2, 3, 4, 5, 678) / 1_000,
        level: "fatal",
        platform: "node",
        environment: "staging",
        release: "notes@1.2.3",
        server_name: "notes-1",
        fingerprint: ["f1"],
        tags: {
          service: "notes",
          code: "ERR_NOTES_FULL",
          status: "resource_exhausted",
          origin: "request",
          handled: "false",
          request_id: "r-1",
        },
        extra: { route: "/notes/:id", attempt: 2, cold: false },
      });
      assert.deepEqual(contexts.trace, { trace_id: "1".repeat(32), span_id: "2".repeat(16) });
      assert.deepEqual(contexts.report, { count: 3, shelf: "3" });
      assert.equal(contexts.runtime.name, "node");
      assert.deepEqual(sdk.integrations ?? [], []);
      const [{ type, value, mechanism, stacktrace }] = exception.values;
      assert.deepEqual([exception.values.length, type, value], [1, "AppError", "no room"]);
      assert.deepEqual(mechanism, { type: "plinth", handled: false, exception_id: 0 });
      assert.match(stacktrace.frames.at(-1).filename, /reporter\.test\.ts$/);
      await reporter.close();
    });

    it("shows causes and aggregates as a tree, with the frames of each and which are the app's own", async () => {
      await using server = await Receiver.start();
      const reporter = await open(server);
      const root = new TypeError("root\n    at a lie (file:///lie.ts:1:1)");
      const parts = new AggregateError([new Error("one"), new RangeError("two")], "several", { cause: root });
      const error = new AppError("ERR_X", "internal", "top", { cause: parts });
      await reporter.report([aReport({ error })], limit());
      const values = eventsIn(server)[0].exception.values.toReversed();
      assert.deepEqual(
        values.map(({ type, value, mechanism: { source, parent_id, is_exception_group } }: Shown) => [
          type,
          value.split("\n")[0],
          source,
          parent_id,
          is_exception_group,
        ]),
        [
          ["AppError", "top", undefined, undefined, undefined],
          ["AggregateError", "several", "cause", 0, true],
          ["TypeError", "root", "cause", 1, undefined],
          ["Error", "one", "errors[0]", 1, undefined],
          ["RangeError", "two", "errors[1]", 1, undefined],
        ],
      );
      const frames = values[2].stacktrace.frames;
      assert.ok(!frames.some(({ filename }: Frame) => filename.includes("lie.ts")), "the message is no frame");
      const { filename, function: name, lineno, in_app: own } = frames.at(-1);
      assert.ok(
        filename.endsWith("reporter.test.ts") && lineno > 0 && own === true,
        JSON.stringify({ filename, name }),
      );
      assert.ok(frames.some(({ filename, in_app: own }: Frame) => filename.startsWith("node:") && !own));
      await reporter.close();
    });

    it("shows a foreign error itself, not what was put around it; what is no error stays as it was wrapped", async () => {
      await using server = await Receiver.start();
      const reporter = await open(server);
      const wrapped = (thrown: unknown): ErrorReport => aReport({ error: AppError.from(thrown) });
      await reporter.report([wrapped(new TypeError("x is undefined"))], limit());
      await reporter.report([wrapped("just text")], limit());
      const [first, second] = eventsIn(server).map(({ exception }) =>
        exception.values.map(({ type, value }: Shown) => `${type}: ${value}`),
      );
      assert.deepEqual(first, ["TypeError: x is undefined"]);
      assert.equal(second.at(-1), "AppError: just text");
      await reporter.close();
    });

    it("gives what has no trace one of its own, not that of another event", async () => {
      await using server = await Receiver.start();
      const reporter = await open(server);
      const report = aReport({ traceId: undefined, spanId: undefined, requestId: undefined });
      await reporter.report([report, report], limit());
      const ids = eventsIn(server).map(({ contexts }) => contexts.trace.trace_id);
      assert.equal(new Set(ids).size, 2);
      for (const id of ids) assert.match(id, /^[0-9a-f]{32}$/);
      await reporter.close();
    });

    it("has nothing to do with what else in the process speaks to Sentry", async () => {
      await using server = await Receiver.start();
      await using elsewhere = await Receiver.start();
      const core = await (version === "11.x" ? import("@sentry/core") : import(tenth));
      core.getIsolationScope().setTag("whose", "somebody else's");
      core.getCurrentScope().setTag("whose", "somebody else's");
      const [reporter, other] = [await open(server), await open(elsewhere)];
      assert.equal(core.getClient(), undefined, "no client of the process");
      await reporter.report([aReport()], limit());
      assert.equal(eventsIn(server)[0].tags.whose, undefined);
      assert.equal(elsewhere.requests.length, 0);
      await Promise.all([reporter.close(), other.close()]);
      core.getIsolationScope().setTag("whose", undefined);
      core.getCurrentScope().setTag("whose", undefined);
    });

    it("keeps the trace of the report, whatever trace others have in the process", async () => {
      await using server = await Receiver.start();
      const core = await (version === "11.x" ? import("@sentry/core") : import(tenth));
      core.registerExternalPropagationContext(() => ({ traceId: "e".repeat(32), spanId: "e".repeat(16) }));
      const reporter = await open(server);
      await reporter.report([aReport()], limit());
      core.registerExternalPropagationContext(() => undefined);
      assert.deepEqual(eventsIn(server)[0].contexts.trace, { trace_id: "1".repeat(32), span_id: "2".repeat(16) });
      await reporter.close();
    });

    it("does not take the same error twice for one that it has seen", async () => {
      await using server = await Receiver.start();
      const reporter = await open(server);
      const report = aReport();
      await reporter.report([report], limit());
      await reporter.report([report], limit());
      assert.equal(server.requests.length, 2);
      await reporter.close();
    });

    it("is sent the share that was asked for, and everything fatal", async () => {
      await using server = await Receiver.start();
      const metrics = createMetrics();
      const draws = [0.24, 0.25, 0.9, 0];
      const reporter = await open(server, { sampleRatio: 0.25, random: () => draws.shift() ?? 1, metrics });
      for (let count = 0; count < 4; count++) await reporter.report([aReport()], limit());
      await reporter.report([aReport({ severity: "fatal" })], limit());
      assert.equal(server.requests.length, 3);
      const { body } = await metrics.expose();
      assert.match(body, /^error_sentry_events_total\{outcome="sampled_out"\} 2$/m);
      assert.match(body, /^error_sentry_events_total\{outcome="sent"\} 3$/m);
      await reporter.close();
    });

    for (const [what, failing, code] of [
      ["500", 500, "ERR_REPORTER_UNAVAILABLE"],
      ["401", 401, "ERR_REPORTER_REFUSED"],
      ["413", 413, "ERR_REPORTER_REFUSED"],
      ["302", answer(302, { location: "http://127.0.0.1:1/" }), "ERR_REPORTER_REFUSED"],
      ["a reset connection", reset, "ERR_REPORTER_UNAVAILABLE"],
    ] as const) {
      it(`that ends in ${what} is a failure, which the SDK alone would keep for itself`, async () => {
        await using server = await Receiver.start([failing]);
        const metrics = createMetrics();
        const reporter = await open(server, { metrics });
        await assert.rejects(reporter.report([aReport()], limit()), (error: AppError) => {
          assert.equal(error.code, code);
          assert.doesNotMatch(error.message, /k3y/);
          return true;
        });
        assert.equal(server.requests.length, 1);
        assert.match((await metrics.expose()).body, /^error_sentry_events_total\{outcome="failed"\} 1$/m);
        await reporter.close();
      });
    }

    it("says that one of several failed, after the others have been sent", async () => {
      await using server = await Receiver.start([200, 500, 200]);
      const reporter = await open(server);
      await assert.rejects(reporter.report([aReport(), aReport(), aReport()], limit()), {
        code: "ERR_REPORTER_UNAVAILABLE",
      });
      assert.equal(server.requests.length, 3);
      await reporter.close();
    });

    for (const [what, headers] of [
      ["Retry-After", { "retry-after": "30" }],
      ["X-Sentry-Rate-Limits for errors", { "x-sentry-rate-limits": "30:error:project" }],
      ["X-Sentry-Rate-Limits for all", { "x-sentry-rate-limits": "30::organization" }],
    ] as const) {
      it(`keeps the pause that 429 asks for by ${what}, and tells of what is lost meanwhile`, async () => {
        await using server = await Receiver.start([answer(429, headers), 200]);
        const clock = new FakeClock();
        const metrics = createMetrics();
        const reporter = await open(server, { clock, metrics });
        const until = new Date(clock.now() + 30_000).toISOString();
        await assert.rejects(reporter.report([aReport()], limit()), { code: "ERR_REPORTER_UNAVAILABLE" });
        await clock.advance(29_999);
        await assert.rejects(reporter.report([aReport()], limit()), {
          code: "ERR_REPORTER_PAUSED",
          message: `${server.url} asked for no more requests before ${until}; nothing is sent until then`,
        });
        assert.equal(server.requests.length, 1);
        await clock.advance(1);
        await reporter.report([aReport()], limit());
        assert.equal(server.requests.length, 2);
        assert.match((await metrics.expose()).body, /^error_sentry_events_total\{outcome="paused"\} 1$/m);
        await reporter.close();
      });
    }

    it("sends errors while other kinds are limited", async () => {
      await using server = await Receiver.start([
        answer(200, { "x-sentry-rate-limits": "60:transaction;session:key" }),
        200,
      ]);
      const reporter = await open(server, { clock: new FakeClock() });
      await reporter.report([aReport()], limit());
      await reporter.report([aReport()], limit());
      assert.equal(server.requests.length, 2);
      await reporter.close();
    });

    it("that hangs is given up after the limit of a request, or by the caller's", async () => {
      await using server = await Receiver.start([null]);
      const clock = new FakeClock();
      const reporter = await open(server, { clock, timeoutMs: 3_000 });
      const late = assert.rejects(reporter.report([aReport()], limit()), { code: "ERR_REPORTER_TIMEOUT" });
      await server.received(1);
      await clock.advance(3_000);
      await late;
      const controller = new AbortController();
      const cut = assert.rejects(reporter.report([aReport()], { signal: controller.signal }), {
        message: "flush is over",
      });
      const { response } = await server.received(2);
      const closed = once(response, "close");
      controller.abort(new Error("flush is over"));
      await Promise.all([cut, closed]);
      await reporter.close();
    });

    it("that refuses connections, or answers garbage, cannot be reached", async () => {
      const refused = await open({ url: `http://127.0.0.1:${await freePort()}` });
      await assert.rejects(refused.report([aReport()], limit()), {
        code: "ERR_REPORTER_UNAVAILABLE",
        message: /cannot be reached: connect ECONNREFUSED/,
      });
      const garbage = createServer((socket) => socket.end("\u0001\u0002")).listen(0, "127.0.0.1");
      await once(garbage, "listening");
      const { port } = garbage.address() as { port: number };
      const confused = await open({ url: `http://127.0.0.1:${port}` });
      await assert.rejects(confused.report([aReport()], limit()), { code: "ERR_REPORTER_UNAVAILABLE" });
      await Promise.all([refused.close(), confused.close()]);
      garbage.close();
    });

    it("is closed after what is under way, or cutting it; twice is the same, and nothing is taken later", async () => {
      await using server = await Receiver.start([null]);
      const reporter = await open(server);
      const reported = assert.rejects(reporter.report([aReport()], limit()), { code: "ERR_REPORTER_CLOSED" });
      await server.received(1);
      const controller = new AbortController();
      const closed = reporter.close({ signal: controller.signal });
      controller.abort();
      await Promise.all([closed, reported, reporter.close()]);
      await assert.rejects(reporter.report([aReport()], limit()), {
        code: "ERR_REPORTER_CLOSED",
        message: /"sentry" is closed/,
      });
      const idle = await open(server);
      await idle.close();
      await assert.rejects(idle.report([aReport()], limit()), { code: "ERR_REPORTER_CLOSED" });
      assert.equal(server.requests.length, 1);
    });

    it("is spoken to over TLS that is verified", async () => {
      const own = selfSigned();
      await using server = await Receiver.start([200], own);
      const [trusting, wary] = [await open(server, { ca: own.cert }), await open(server)];
      await trusting.report([aReport()], limit());
      await assert.rejects(wary.report([aReport()], limit()), {
        message: /cannot be reached: self-signed certificate/,
      });
      assert.equal(server.requests.length, 1);
      await Promise.all([trusting.close(), wary.close()]);
    });
  });
}

describe("createSentryReporter", () => {
  for (const dsn of ["s3cr3t", "https://s3cr3t@host/notanumber", "https://host/42"]) {
    it(`refuses ${dsn} without repeating it, also to the console`, async (context) => {
      const printed = context.mock.method(console, "error", () => {});
      await assert.rejects(createSentryReporter({ dsn: new Secret(dsn) }), {
        code: "ERR_REPORTER_URL",
        message: "dsn: expected a DSN as Sentry shows it: https://KEY@HOST/PROJECT, the project a number",
      });
      assert.equal(printed.mock.callCount(), 0);
    });
  }

  it("refuses limits out of range", async () => {
    const dsn = new Secret("https://key@host/42");
    await assert.rejects(createSentryReporter({ dsn, sampleRatio: 2 }), {
      code: "ERR_OPTION_RANGE",
      message: /^sampleRatio/,
    });
    await assert.rejects(createSentryReporter({ dsn, timeoutMs: 0 }), {
      code: "ERR_OPTION_RANGE",
      message: /^timeoutMs/,
    });
  });

  it("names the package and the command where it is not installed", async () => {
    const program = `
      import { registerHooks } from "node:module";
      registerHooks({
        resolve(specifier, context, next) {
          if (!specifier.startsWith("@sentry/")) return next(specifier, context);
          throw Object.assign(new Error("Cannot find package '@sentry/core'"), { code: "ERR_MODULE_NOT_FOUND" });
        },
      });
      const { Secret } = await import("@plinth/kernel");
      const { createSentryReporter } = await import("./sentry/index.ts");
      await createSentryReporter({ dsn: new Secret("https://key@host/42") }).catch(({ code, message }) => console.log(code, message));
    `;
    const flags = ["--conditions=plinth-source", "--input-type=module-typescript", "--eval", program];
    const { stdout } = await promisify(execFile)(process.execPath, flags, { cwd: join(import.meta.dirname, "..") });
    assert.equal(
      stdout,
      "ERR_REPORTER_PEER the package @sentry/core, which reports to Sentry need, cannot be used: Cannot find package '@sentry/core'; run: npm install @sentry/core@11\n",
    );
  });

  it("says what it misses in an SDK of another time", async () => {
    const old = { core: () => Promise.resolve({ Scope: Error }), server: () => Promise.resolve({}) };
    await assert.rejects(loadSentrySdk(old), {
      code: "ERR_REPORTER_PEER",
      message: /it has no SDK_VERSION, no ServerRuntimeClient, no /,
    });
  });
});
