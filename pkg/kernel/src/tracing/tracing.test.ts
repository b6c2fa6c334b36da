import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as api from "@opentelemetry/api";
import {
  type Context,
  type Exception,
  type Span as OtelSpan,
  type SpanContext as OtelSpanContext,
  SpanKind,
  type SpanOptions,
  type SpanStatus,
  SpanStatusCode,
  trace,
  type Tracer,
} from "@opentelemetry/api";
import { currentContext, runInContext } from "../context.ts";
import { AppError } from "../errors/app-error.ts";
import { createErrorBus } from "../errors/error-bus.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { randomHex } from "./ids.ts";
import type { SpanContext } from "./traceparent.ts";
import { createTracing, type SpanSink, withSpan } from "./tracing.ts";

interface Recorded {
  name: string;
  readonly context: OtelSpanContext;
  readonly parent: OtelSpanContext | undefined;
  readonly options: SpanOptions | undefined;
  readonly attributes: Record<string, unknown>;
  status: SpanStatus | undefined;
  exception: Exception | undefined;
  /** All of them. */
  readonly exceptions: Exception[];
  ends: number;
}

/** An OpenTelemetry provider that keeps what it is told; it samples what begins here, and what its caller sampled. */
function recorder(): { readonly sink: SpanSink; readonly spans: Recorded[]; readonly asked: (SpanContext | null)[] } {
  const asked: (SpanContext | null)[] = [];
  const spans: Recorded[] = [];
  let nextTraceId = "";
  const startSpan = (name: string, options?: SpanOptions, context?: Context): OtelSpan => {
    const parent = options?.root || !context ? undefined : trace.getSpanContext(context);
    const recorded: Recorded = {
      name,
      context: {
        traceId: parent?.traceId ?? nextTraceId,
        spanId: randomHex(8),
        traceFlags: parent?.traceFlags ?? 1,
        ...(parent?.traceState ? { traceState: parent.traceState } : {}),
      },
      parent,
      options,
      attributes: { ...options?.attributes },
      status: undefined,
      exception: undefined,
      exceptions: [],
      ends: 0,
    };
    spans.push(recorded);
    const span = {
      spanContext: () => recorded.context,
      setAttribute: (key: string, value: unknown) => ((recorded.attributes[key] = value), span),
      updateName: (next: string) => ((recorded.name = next), span),
      setStatus: (status: SpanStatus) => ((recorded.status = status), span),
      recordException: (exception: Exception) => void recorded.exceptions.push((recorded.exception = exception)),
      end: () => void recorded.ends++,
    } as OtelSpan;
    return span;
  };
  const isSampled = (caller: SpanContext | null): boolean => {
    asked.push(caller);
    return caller?.sampled ?? true;
  };
  return {
    sink: {
      api,
      getTracer: () => ({ startSpan }) as Tracer,
      isSampled,
      useTraceId: (traceId) => void (nextTraceId = traceId),
    },
    spans,
    asked,
  };
}

const remote = { traceId: "1".repeat(32), spanId: "2".repeat(16), sampled: true };

describe("randomHex", () => {
  it("gives as many lower-case digits as asked for, different ones each time", () => {
    const ids = Array.from({ length: 2_000 }, () => randomHex(16));
    assert.ok(ids.every((id) => /^[0-9a-f]{32}$/.test(id)));
    assert.equal(new Set(ids).size, ids.length);
    assert.match(randomHex(64), /^[0-9a-f]{128}$/);
  });
});

describe("tracing without a sink", () => {
  const tracing = createTracing();

  it("makes ids of a new trace, unsampled", () => {
    const span = tracing.startSpan("work");
    assert.match(span.traceId, /^[0-9a-f]{32}$/);
    assert.match(span.spanId, /^[0-9a-f]{16}$/);
    assert.equal(span.sampled, false);
    span.setAttribute("a", 1);
    span.rename("b");
    span.fail(new Error("x"));
    span.end();
    span.end();
  });

  it("goes on with the caller's trace and its sampling, under a span id of its own", () => {
    for (const sampled of [true, false]) {
      const span = tracing.startSpan("work", { parent: { ...remote, sampled } });
      assert.equal(span.traceId, remote.traceId);
      assert.notEqual(span.spanId, remote.spanId);
      assert.equal(span.sampled, sampled);
    }
  });

  it("begins a trace of its own below a stranger's span", () => {
    const span = tracing.startSpan("work", { parent: { ...remote, traceState: "a=1", isTrusted: false } });
    assert.notEqual(span.traceId, remote.traceId);
    assert.deepEqual([span.sampled, span.traceState], [false, undefined]);
    const trusted = tracing.startSpan("work", { parent: { ...remote, isTrusted: true } });
    assert.deepEqual([trusted.traceId, trusted.sampled], [remote.traceId, true]);
  });

  it("takes the span of the request for parent, unless told to begin anew", () => {
    runInContext({ span: remote }, () => {
      assert.equal(tracing.startSpan("in it").traceId, remote.traceId);
      assert.notEqual(tracing.startSpan("beside it", { parent: null }).traceId, remote.traceId);
    });
  });
});

describe("tracing with a sink", () => {
  it("hands over name, kind, attributes and parent, and shows the ids that the provider made", () => {
    const { sink, spans } = recorder();
    const span = createTracing({ sink }).startSpan("GET /notes/:id", {
      kind: "server",
      parent: remote,
      attributes: { "http.request.method": "GET" },
    });
    const [recorded] = spans;
    assert.ok(recorded);
    assert.equal(recorded.name, "GET /notes/:id");
    assert.equal(recorded.options?.kind, SpanKind.SERVER);
    assert.deepEqual(recorded.attributes, { "http.request.method": "GET" });
    assert.deepEqual(recorded.parent, {
      traceId: remote.traceId,
      spanId: remote.spanId,
      traceFlags: 1,
      isRemote: true,
    });
    assert.deepEqual(
      [span.traceId, span.spanId, span.sampled],
      [recorded.context.traceId, recorded.context.spanId, true],
    );
    span.setAttribute("http.response.status_code", 200);
    span.rename("GET /notes/{id}");
    span.end();
    assert.equal(Reflect.get(recorded.attributes, "http.response.status_code"), 200);
    assert.equal(recorded.name, "GET /notes/{id}");
    assert.equal(recorded.ends, 1);
  });

  it("begins a trace of its own outside of a request, and when told to", () => {
    const { sink, spans } = recorder();
    const tracing = createTracing({ sink });
    tracing.startSpan("job");
    runInContext({ span: remote }, () => tracing.startSpan("job", { parent: null }));
    assert.ok(spans.every(({ parent, options }) => parent === undefined && options?.root === true));
  });

  it("does not sample below a caller that did not", () => {
    const { sink, spans } = recorder();
    const tracing = createTracing({ sink });
    const span = tracing.startSpan("work", { parent: { ...remote, sampled: false } });
    assert.equal(span.sampled, false);
    assert.equal(span.traceId, remote.traceId);
    assert.equal(tracing.startSpan("below", { parent: span }).sampled, false);
    assert.deepEqual(spans, []);
  });

  it("asks the sink once for each trace that begins or enters here, not for what is below", () => {
    const { sink, asked } = recorder();
    const tracing = createTracing({ sink });
    const entered = tracing.startSpan("entered", { parent: remote });
    tracing.startSpan("below", { parent: entered });
    const begun = tracing.startSpan("begun", { parent: null });
    tracing.startSpan("below", { parent: begun });
    assert.deepEqual(asked, [remote, null]);
  });

  it("hands the trace id that it was decided by to the provider", () => {
    const { sink, spans } = recorder();
    const ids: string[] = [];
    const isSampled: SpanSink["isSampled"] = (_caller, traceId) => ids.push(traceId) > 0;
    const span = createTracing({ sink: { ...sink, isSampled } }).startSpan("begun", { parent: null });
    assert.deepEqual(ids, [span.traceId]);
    assert.equal(spans[0]?.context.traceId, span.traceId);
  });

  it("decides on a stranger's request by an id of its own, and has a link to the stranger's span before all others", () => {
    const { sink, spans, asked } = recorder();
    const ids: string[] = [];
    const isSampled: SpanSink["isSampled"] = (caller, traceId) =>
      ids.push(traceId) > 0 && sink.isSampled(caller, traceId);
    const tracing = createTracing({ sink: { ...sink, isSampled } });
    const stranger = { ...remote, isTrusted: false };
    const other = { ...remote, spanId: "3".repeat(16) };
    const span = tracing.startSpan("GET", { parent: stranger, links: [{ span: other }] });
    tracing.startSpan("GET", { parent: { ...stranger, sampled: false } });
    assert.deepEqual(asked, [null, null]);
    assert.equal(ids[0], span.traceId);
    assert.ok(!ids.includes(remote.traceId));
    assert.equal(new Set(ids).size, 2);
    assert.equal(spans[0]?.parent, undefined);
    assert.deepEqual(
      spans[0]?.options?.links?.map(({ context }) => [context.traceId, context.spanId, context.isRemote]),
      [
        [remote.traceId, remote.spanId, true],
        [remote.traceId, other.spanId, true],
      ],
    );
  });

  it("asks the provider for nothing, and looks at no attribute, where a trace is not sampled", async () => {
    const { sink, spans } = recorder();
    const tracing = createTracing({ sink: { ...sink, isSampled: () => false } });
    let looked = 0;
    const attributes = {
      get costly() {
        looked++;
        return "x";
      },
    };
    for (let count = 0; count < 100; count++) {
      const span = tracing.startSpan("GET", { parent: null, kind: "server", attributes });
      span.setAttributes(attributes);
      span.setFailed("500");
      span.fail(new Error("x"));
      await tracing.withSpan("below", attributes, () => {}, { parent: span });
      span.end();
    }
    assert.deepEqual([spans.length, looked], [0, 0]);
  });

  it("links spans that it is not below, with attributes, and keeps what tracing systems put beside them", () => {
    const { sink, spans } = recorder();
    const tracing = createTracing({ sink });
    const own = tracing.startSpan("own", { parent: null });
    const far = { ...remote, traceState: "rojo=1" };
    tracing.startSpan("batch", { parent: null, links: [{ span: far, attributes: { index: 0 } }, { span: own }] });
    const kept = spans[1]?.options?.links?.[0]?.context.traceState;
    assert.equal(kept?.set("new", "1").serialize(), "new=1,rojo=1");
    assert.equal(kept?.set("rojo", "2").get("rojo"), "2");
    assert.equal(kept?.unset("rojo").serialize(), "");
    const links = spans[1]?.options?.links?.map(({ context, attributes }) => ({
      ...context,
      traceState: context.traceState?.serialize(),
      attributes,
    }));
    assert.deepEqual(links, [
      {
        traceId: remote.traceId,
        spanId: remote.spanId,
        traceFlags: 1,
        isRemote: true,
        traceState: "rojo=1",
        attributes: { index: 0 },
      },
      {
        traceId: own.traceId,
        spanId: own.spanId,
        traceFlags: 1,
        isRemote: false,
        traceState: undefined,
        attributes: {},
      },
    ]);
  });

  it("gives what tracing systems keep with the caller's trace to all spans of it, recorded or not", () => {
    for (const sampled of [true, false]) {
      const { sink } = recorder();
      const tracing = createTracing({ sink });
      const parent = { ...remote, sampled, traceState: "rojo=1,congo=2" };
      const span = tracing.startSpan("work", { parent });
      assert.equal(span.traceState, "rojo=1,congo=2");
      assert.equal(tracing.startSpan("below", { parent: span }).traceState, "rojo=1,congo=2");
    }
  });

  it("fails a span without an error by the type that it is told", () => {
    const { sink, spans } = recorder();
    createTracing({ sink }).startSpan("GET", { parent: null }).setFailed("503");
    assert.deepEqual(spans[0]?.status, { code: SpanStatusCode.ERROR });
    assert.equal(spans[0]?.attributes["error.type"], "503");
    assert.deepEqual(spans[0]?.exceptions, []);
  });

  it("goes on, without being given it, by the withSpan of nobody", async () => {
    const { sink, spans } = recorder();
    const tracing = createTracing({ sink });
    await tracing.withSpan("request", {}, async () => {
      await withSpan("price", { "order.items": 3 }, () => withSpan("tax", {}, () => {}, { kind: "client" }));
    });
    assert.deepEqual(
      spans.map(({ name, attributes, ends, parent }) => [
        name,
        attributes,
        ends,
        spans.find(({ context }) => context.spanId === parent?.spanId)?.name,
      ]),
      [
        ["request", {}, 1, undefined],
        ["price", { "order.items": 3 }, 1, "request"],
        ["tax", {}, 1, "price"],
      ],
    );
    const failed = tracing.withSpan("request", {}, () =>
      withSpan("price", {}, () => Promise.reject(new Error("no price"))),
    );
    await assert.rejects(failed, { message: "no price" });
    assert.equal(
      spans.find(({ name, status }) => name === "price" && status !== undefined)?.status?.message,
      "no price",
    );
  });

  it("is exported nowhere by the withSpan of nobody outside of a request, which still runs the work and names a trace", async () => {
    assert.equal(await withSpan("alone", {}, ({ traceId }) => traceId.length), 32);
    await assert.rejects(
      withSpan("alone", {}, () => Promise.reject(new Error("x"))),
      { message: "x" },
    );
  });

  it("nests spans by withSpan: parent, child and grandchild in one trace, siblings beside each other", async () => {
    const { sink, spans } = recorder();
    const tracing = createTracing({ sink });
    await tracing.withSpan(
      "request",
      {},
      async () => {
        await Promise.all([
          tracing.withSpan("left", {}, () => tracing.withSpan("below left", {}, () => {}, { kind: "client" })),
          tracing.withSpan("right", {}, () => {}),
        ]);
      },
      { kind: "server", parent: remote },
    );
    const parents = new Map(
      spans.map(({ name, parent }) => [name, spans.find(({ context }) => context.spanId === parent?.spanId)?.name]),
    );
    assert.deepEqual(Object.fromEntries(parents), {
      request: undefined,
      left: "request",
      "below left": "left",
      right: "request",
    });
    assert.ok(spans.every(({ context }) => context.traceId === remote.traceId));
    assert.deepEqual(
      spans.map(({ ends }) => ends),
      [1, 1, 1, 1],
    );
  });

  it("keeps what else the request has inside a span, and puts the old span back after it", async () => {
    const tracing = createTracing();
    await runInContext({ requestId: "r1", span: remote }, async () => {
      await tracing.withSpan("inner", {}, (span) => {
        assert.equal(currentContext()?.requestId, "r1");
        assert.equal(currentContext()?.span, span);
      });
      assert.equal(currentContext()?.span, remote);
    });
    assert.equal(currentContext(), undefined);
  });

  it("keeps the signal of a request that makes it only when it is asked for", async () => {
    const controller = new AbortController();
    let asked = 0;
    class Request {
      readonly requestId = "r1";
      get signal(): AbortSignal {
        asked++;
        return controller.signal;
      }
    }
    await runInContext(new Request(), () =>
      createTracing().withSpan("outer", {}, async () => {
        await createTracing().withSpan("inner", {}, () => {
          assert.equal(asked, 0);
          assert.equal(currentContext()?.signal, controller.signal);
        });
      }),
    );
    assert.equal(asked, 1);
  });

  it("takes options behind the work alone, where they are no attributes", async () => {
    const { sink, spans } = recorder();
    const tracing = createTracing({ sink });
    // @ts-expect-error -- options of a span in the place of its attributes
    await tracing.withSpan("wrong", { kind: "client" }, () => {});
    // @ts-expect-error -- the same by the function of nobody
    await withSpan("wrong", { kind: "client" }, () => {});
    // @ts-expect-error -- nor is a parent one
    await withSpan("wrong", { parent: null }, () => {});
    // @ts-expect-error -- attributes stand before the work
    await withSpan("wrong", {}, () => {}, { attributes: { a: 1 } });
    const facts: Record<string, string> = { "messaging.system": "kafka" };
    await tracing.withSpan("right", facts, () => {}, { kind: "producer", links: [{ span: remote }] });
    assert.equal(spans.at(-1)?.options?.kind, SpanKind.PRODUCER);
    assert.deepEqual(spans.at(-1)?.attributes, facts);
  });

  it("returns what the work returns", async () => {
    assert.equal(await createTracing().withSpan("work", {}, () => 5), 5);
    assert.equal(await createTracing().withSpan("work", {}, async () => "later"), "later");
  });

  const failures: Readonly<Record<string, () => unknown>> = {
    throws: () => {
      throw new AppError("ERR_STORE_DOWN", "unavailable", "no store");
    },
    rejects: () => Promise.reject(new AppError("ERR_STORE_DOWN", "unavailable", "no store")),
  };
  for (const [name, work] of Object.entries(failures)) {
    it(`marks and ends the span of work that ${name}, and passes the error on`, async () => {
      const { sink, spans } = recorder();
      await assert.rejects(createTracing({ sink }).withSpan("work", {}, work), { code: "ERR_STORE_DOWN" });
      const [span] = spans;
      assert.deepEqual(span?.status, { code: SpanStatusCode.ERROR, message: "no store" });
      assert.equal(span?.attributes["error.type"], "ERR_STORE_DOWN");
      assert.ok(span?.exception instanceof AppError);
      assert.equal(span?.ends, 1);
    });
  }

  it("has an error that is reported inside it as an event, and not twice when it then fails with the same or what wraps it", () => {
    const { sink, spans } = recorder();
    const errors = createErrorBus({ clock: new FakeClock(), tracing: createTracing({ sink }) });
    const span = createTracing({ sink }).startSpan("work", { parent: null });
    const thrown = new Error("no store");
    const other = AppError.notFound("ERR_NOTE_MISSING", "no note 7");
    const reported = runInContext({ span }, () => {
      errors.report(other, { origin: "request" });
      return errors.report(thrown, { origin: "request" });
    });
    assert.deepEqual(spans[0]?.exceptions, [other, thrown]);
    assert.equal(spans[0]?.status, undefined); // the reply may still be a good one
    for (const same of [thrown, reported, AppError.from(thrown)]) span.fail(same);
    assert.deepEqual(spans[0]?.exceptions, [other, thrown]);
    assert.deepEqual(spans[0]?.status, { code: SpanStatusCode.ERROR, message: "no store" });
    span.fail(new Error("no store"));
    assert.equal(spans[0]?.exceptions.length, 3);
  });

  it("has each of many errors as an event, the same fault too, up to a hundred", () => {
    const { sink, spans } = recorder();
    const errors = createErrorBus({ clock: new FakeClock() });
    const span = createTracing({ sink }).startSpan("work", { parent: null });
    runInContext({ span }, () => {
      for (let id = 0; id < 150; id++) errors.report(new Error(`no note ${id}`), { origin: "job" });
    });
    assert.equal(spans[0]?.exceptions.length, 100);
  });

  it("has none where it is not recorded, or outside of it", () => {
    const { sink, spans } = recorder();
    const errors = createErrorBus({ clock: new FakeClock() });
    const tracing = createTracing({ sink });
    const unsampled = tracing.startSpan("work", { parent: { ...remote, sampled: false } });
    tracing.startSpan("other", { parent: null });
    runInContext({ span: unsampled }, () => errors.report(new Error("a"), { origin: "job" }));
    runInContext({ span: remote }, () => errors.report(new Error("b"), { origin: "job" }));
    errors.report(new Error("c"), { origin: "job" });
    assert.deepEqual(
      spans.map(({ exceptions }) => exceptions),
      [[]],
    );
  });

  const odd: Readonly<Record<string, unknown>> = {
    text: "plain",
    undefined,
    "a proxy that throws": new Proxy(
      {},
      { get: () => assert.fail("get"), has: () => assert.fail("has"), getPrototypeOf: () => assert.fail("proto") },
    ),
  };
  for (const [name, thrown] of Object.entries(odd)) {
    it(`marks the span also for ${name}, and passes on exactly that`, async () => {
      const { sink, spans } = recorder();
      const failed = createTracing({ sink }).withSpan("work", {}, () => {
        throw thrown;
      });
      const caught = await failed.then(
        () => assert.fail("it did not fail"),
        (error: unknown) => ({ error }),
      );
      assert.equal(caught.error, thrown);
      assert.equal(spans[0]?.attributes["error.type"], "ERR_INTERNAL");
      assert.equal(spans[0]?.ends, 1);
    });
  }
});
