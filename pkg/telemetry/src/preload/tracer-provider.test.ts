import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as api from "@opentelemetry/api";
import { ROOT_CONTEXT, type Span, SpanKind, type SpanOptions, trace, type Tracer } from "@opentelemetry/api";
import { createTracing, runInContext, type SpanContext, type SpanSink } from "@plinth/kernel";
import { PreloadLink } from "../preload-link.ts";
import { AppTracerProvider } from "./tracer-provider.ts";

interface Seen {
  readonly scope: string;
  readonly name: string;
}

/** Keeps what it is asked to decide, and what it then has to record. */
class FakeSink implements SpanSink {
  readonly api = api;
  readonly asked: (SpanContext | null)[] = [];
  readonly ids: string[] = [];
  readonly recorded: Seen[] = [];

  isSampled(caller: SpanContext | null, traceId: string): boolean {
    this.asked.push(caller);
    this.ids.push(traceId);
    return caller?.sampled ?? true;
  }

  useTraceId(): void {}

  getTracer(scope: string): Tracer {
    const startSpan = (name: string, _options?: SpanOptions): Span => {
      this.recorded.push({ scope, name });
      return trace.wrapSpanContext({ traceId: "1".repeat(32), spanId: "2".repeat(16), traceFlags: 1 });
    };
    return { startSpan, startActiveSpan: () => assert.fail("the preload runs what is active") };
  }
}

function setUp(): { readonly sink: FakeSink; readonly provider: AppTracerProvider } {
  const sink = new FakeSink();
  const link = new PreloadLink();
  link.sinks.add(sink);
  return { sink, provider: new AppTracerProvider(link) };
}

const remote = (traceFlags: number) =>
  trace.setSpanContext(ROOT_CONTEXT, {
    traceId: "a".repeat(32),
    spanId: "b".repeat(16),
    traceFlags,
    isRemote: true,
  });

describe("the tracer of other libraries", () => {
  for (const scope of ["@opentelemetry/instrumentation-http", "@opentelemetry/instrumentation-grpc"]) {
    it(`makes no second span of what a server gets by ${scope}, and hands the caller's context on`, () => {
      const { sink, provider } = setUp();
      const tracer = provider.getTracer(scope);
      const span = tracer.startSpan("GET", { kind: SpanKind.SERVER }, remote(1));
      assert.equal(span.isRecording(), false);
      assert.equal(span.spanContext().traceId, "a".repeat(32));
      const alone = tracer.startSpan("GET", { kind: SpanKind.SERVER }, ROOT_CONTEXT);
      assert.equal(api.isSpanContextValid(alone.spanContext()), false);
      tracer.startSpan("GET", { kind: SpanKind.CLIENT }, ROOT_CONTEXT);
      assert.deepEqual(sink.recorded, [{ scope, name: "GET" }]);
    });
  }

  it("lets nobody who asks another library's server decide what is recorded, neither by a flag nor by an id", () => {
    const { sink, provider } = setUp();
    for (const flags of [0, 1])
      provider.getTracer("some-server").startSpan("GET", { kind: SpanKind.SERVER }, remote(flags));
    assert.deepEqual(sink.asked, [null, null]);
    assert.ok(!sink.ids.includes("a".repeat(32)));
    assert.equal(new Set(sink.ids).size, 2);
    assert.equal(sink.recorded.length, 2);
  });

  it("follows who put a message into a queue", () => {
    const { sink, provider } = setUp();
    for (const flags of [0, 1])
      provider.getTracer("some-queue").startSpan("take", { kind: SpanKind.CONSUMER }, remote(flags));
    assert.deepEqual(
      sink.asked.map((caller) => [caller?.traceId, caller?.sampled]),
      [
        ["a".repeat(32), false],
        ["a".repeat(32), true],
      ],
    );
    assert.equal(sink.recorded.length, 1);
  });

  it("asks nobody below a span of this process: what is recorded is decided with that", () => {
    const { sink, provider } = setUp();
    for (const sampled of [true, false]) {
      const parent = trace.setSpanContext(ROOT_CONTEXT, {
        traceId: "a".repeat(32),
        spanId: "b".repeat(16),
        traceFlags: sampled ? 1 : 0,
      });
      provider.getTracer("some-client").startSpan("query", {}, parent);
    }
    assert.deepEqual([sink.asked.length, sink.recorded.length], [0, 1]);
  });

  it("records with the app that is at work, and with none where there is no app", () => {
    const [first, second] = [setUp(), new FakeSink()];
    const tracing = createTracing({ sink: second });
    const span = createTracing().startSpan("request", { parent: null });
    runInContext({ span }, () => first.provider.getTracer("x").startSpan("of nobody", {}, ROOT_CONTEXT));
    runInContext({ span: tracing.startSpan("request", { parent: null }) }, () =>
      first.provider.getTracer("x").startSpan("of the second", {}, ROOT_CONTEXT),
    );
    assert.deepEqual(
      first.sink.recorded.map(({ name }) => name),
      ["of nobody"],
    );
    assert.deepEqual(
      second.recorded.map(({ name }) => name),
      ["request", "of the second"],
    );
    const none = new AppTracerProvider(new PreloadLink()).getTracer("x").startSpan("lost", {}, ROOT_CONTEXT);
    assert.equal(none.isRecording(), false);
  });
});
