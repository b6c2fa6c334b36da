import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, it } from "node:test";
import { type ConfigData, coreModule, createMetrics, defineModule, provider, token, tracing } from "@plinth/kernel";
import { MemoryLog, testApp } from "@plinth/kernel/testing";
import { exportOptionsOf } from "./export-options.ts";
import { telemetryModule } from "./module.ts";
import { startCollector } from "./testing/index.ts";

const start = (environment: Record<string, string>, telemetry: ConfigData = {}) =>
  testApp({
    name: "sample",
    version: "1.2.3",
    modules: [coreModule, telemetryModule],
    config: { environment, defaults: { telemetry: { exportIntervalMs: 10, exportTimeoutMs: 200, ...telemetry } } },
  });

describe("telemetryModule", () => {
  it("exports spans with their parents, attributes and failures under the name of the service", async () => {
    await using collector = await startCollector();
    await using app = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url });
    const parent = { traceId: "1".repeat(32), spanId: "2".repeat(16), sampled: true };
    const failing = app.get(tracing).withSpan(
      "outer",
      { "a.b": 1 },
      async () => {
        await app.get(tracing).withSpan("inner", {}, () => undefined);
        throw new TypeError("broken");
      },
      { kind: "server", parent },
    );
    await assert.rejects(failing, { message: "broken" });
    const outer = await collector.waitFor(({ name }) => name === "outer");
    const inner = await collector.waitFor(({ name }) => name === "inner");
    assert.deepEqual(
      {
        service: outer.service,
        traceId: outer.traceId,
        parentSpanId: outer.parentSpanId,
        kind: outer.kind,
        failed: outer.failed,
        a: outer.attributes["a.b"],
      },
      { service: "sample", traceId: parent.traceId, parentSpanId: parent.spanId, kind: 2, failed: true, a: 1 },
    );
    assert.deepEqual([inner.traceId, inner.parentSpanId, inner.failed], [parent.traceId, outer.spanId, false]);
  });

  it("exports what is left when the app stops", async () => {
    await using collector = await startCollector();
    const app = await start(
      { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url },
      { exportIntervalMs: 60_000, exportTimeoutMs: 5_000 },
    );
    app.get(tracing).startSpan("last words", { parent: null }).end();
    assert.equal(collector.spans.length, 0);
    await app.stop();
    assert.deepEqual(
      collector.spans.map(({ name }) => name),
      ["last words"],
    );
  });

  for (const [what, at] of [
    ["before", "begin"],
    ["while", "start"],
  ] as const) {
    it(`warns once of another SDK that registers itself ${what} the app starts, with a collector and without one`, async () => {
      const key = Symbol.for("opentelemetry.js.api.1");
      const before: unknown = Reflect.get(globalThis, key);
      const register = (): void =>
        void Reflect.set(globalThis, key, { version: "1.9.0", trace: { getTracer: () => {} } });
      const late = provider({ provides: token("late").of<string>(), create: () => "", start: register });
      for (const environment of [{}, { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9" }]) {
        if (at === "begin") register();
        try {
          await using app = await testApp({
            name: "sample",
            modules: [coreModule, telemetryModule, ...(at === "start" ? [defineModule("late", [late])] : [])],
            config: { environment, defaults: { telemetry: { exportTimeoutMs: 200 } } },
          });
          const told = app.logged.lines.filter(({ message }) => /another OpenTelemetry SDK/.test(String(message)));
          assert.equal(told.length, 1);
        } finally {
          if (before === undefined) Reflect.deleteProperty(globalThis, key);
          else Reflect.set(globalThis, key, before);
        }
      }
    });
  }

  it("makes ids but exports nothing when no collector is named", async () => {
    await using app = await start({});
    const span = app.get(tracing).startSpan("unseen", { parent: null });
    assert.match(span.traceId, /^[0-9a-f]{32}$/);
    assert.equal(span.sampled, false);
  });

  it("lets a setting win over the OpenTelemetry variable", async () => {
    await using collector = await startCollector();
    await using app = await start(
      { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9" },
      { endpoint: `${collector.url}/` },
    );
    app.get(tracing).startSpan("here", { parent: null }).end();
    await collector.waitFor(({ name }) => name === "here");
  });

  it("follows the caller's sampling, or does not where callers are not trusted", async () => {
    await using collector = await startCollector();
    const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
    const parent = { traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: true };
    await using trusting = await start(endpoint, { sampleRatio: 0 });
    await using wary = await start(endpoint, { sampleRatio: 0, trustCallerSampling: "never" });
    assert.equal(trusting.get(tracing).startSpan("a", { parent }).sampled, true);
    assert.equal(trusting.get(tracing).startSpan("b", { parent: { ...parent, sampled: false } }).sampled, false);
    assert.equal(wary.get(tracing).startSpan("c", { parent }).sampled, false);
    assert.equal(wary.get(tracing).startSpan("c", { parent }).traceId, parent.traceId);
  });
});

describe("a collector in trouble", () => {
  it("that refuses connections is warned of once, and what was lost is counted", async () => {
    const app = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9" });
    app.get(tracing).startSpan("lost", { parent: null }).end();
    await app.stop();
    assert.equal(
      app.logged.withMessage("spans cannot be exported; they are dropped until the collector answers").length,
      1,
    );
  });

  it("that never answers holds a stop no longer than the limit of an export", async () => {
    await using silent = await listen(createServer(() => {}));
    const app = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: silent.url }, { exportIntervalMs: 60_000 });
    app.get(tracing).startSpan("stuck", { parent: null }).end();
    const tookMs: number[] = [];
    app.events.subscribe((event) => {
      if (event.type !== "hook" || event.step === "begun") return;
      if (event.hook === "stop" && event.provider === "telemetry") tookMs.push(event.tookMs);
    });
    await app.stop(); // its own limit of 10 s a hook would turn a hang into a failure
    assert.equal(tookMs.length, 1);
  });

  it("that is slow makes the bounded queue drop and count spans, not grow", async () => {
    await using silent = await listen(createServer(() => {}));
    const { createTelemetry } = await import("./provider.ts");
    const metrics = createMetrics();
    const { createLogger, createTracing } = await import("@plinth/kernel");
    const settings = { endpoint: silent.url, maxQueuedSpans: 5, exportIntervalMs: 60_000, exportTimeoutMs: 50 };
    const options = await exportOptionsOf(settings, {});
    assert.ok(options);
    const telemetry = await createTelemetry({
      settings: options,
      service: { name: "s", version: "1", instanceId: "i" },
      log: await createLogger({ destination: new MemoryLog() }),
      metrics,
    });
    const own = createTracing({ sink: telemetry });
    for (let count = 0; count < 100; count++) own.startSpan("many", { parent: null }).end();
    const valueIn = (body: string, series: string): number =>
      Number(
        body
          .split("\n")
          .find((line) => line.startsWith(`${series} `))
          ?.slice(series.length),
      );
    const { body } = await metrics.expose();
    const dropped = valueIn(body, 'telemetry_spans_total{outcome="dropped"}');
    assert.ok(dropped >= 90 && dropped < 100, `${dropped} of 100 dropped`);
    assert.deepEqual([valueIn(body, "telemetry_queued_spans"), valueIn(body, "telemetry_max_queued_spans")], [5, 5]);
    await telemetry.close();
    const { body: after } = await metrics.expose();
    const failed = valueIn(after, 'telemetry_spans_total{outcome="failed"}');
    assert.equal(failed + dropped, 100, "each span is counted once");
    assert.ok(valueIn(after, 'telemetry_export_duration_seconds_count{outcome="failed"}') > 0);
    assert.equal(valueIn(after, "telemetry_queued_spans"), 0);
  });
});

async function listen(server: Server): Promise<AsyncDisposable & { readonly url: string }> {
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
