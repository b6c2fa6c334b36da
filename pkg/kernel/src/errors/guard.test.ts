import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { Readable } from "node:stream";
import { describe, it } from "node:test";
import { currentContext, runInContext } from "../context.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import type { Span, StartSpanOptions, Tracing } from "../tracing/span.ts";
import { createTracing } from "../tracing/tracing.ts";
import { AppError } from "./app-error.ts";
import { createErrorBus, type ErrorBus, type ErrorReport } from "./error-bus.ts";

interface Bench {
  readonly errors: ErrorBus;
  readonly reports: ErrorReport[];
  /** What became of each span: `nightly started`, `nightly failed`, `nightly ended`. */
  readonly spans: string[];
  readonly started: Span[];
}

function benchOf(): Bench {
  const reports: ErrorReport[] = [];
  const spans: string[] = [];
  const started: Span[] = [];
  const plain = createTracing();
  const tracing: Tracing = {
    ...plain,
    startSpan(name: string, options?: StartSpanOptions): Span {
      const span = plain.startSpan(name, options);
      started.push(span);
      spans.push(`${name} started`);
      return Object.assign(span, {
        fail: () => void spans.push(`${name} failed`),
        end: () => void spans.push(`${name} ended`),
      });
    },
  };
  const errors = createErrorBus({ clock: new FakeClock(), foldIntervalMs: 0, tracing });
  errors.subscribe({ name: "kept", report: (batch) => void reports.push(...batch) });
  return { errors, reports, spans, started };
}

/** Compiles only where both types are the same. */
function same<A, B>(..._proof: [A] extends [B] ? ([B] extends [A] ? [] : [never]) : [never]): void {}

const boom = new Error("boom");
const throws = (...given: unknown[]): never => {
  throw new Error("boom", { cause: given });
};

describe("a guarded function", () => {
  const failing: Readonly<Record<string, () => unknown>> = {
    throws,
    rejects: () => Promise.reject(boom),
    "throws after a while": async () => {
      await new Promise(setImmediate);
      throw boom;
    },
    // oxlint-disable-next-line unicorn/no-thenable -- the point of it
    "returns a thenable that throws": () => ({ then: throws }),
    // oxlint-disable-next-line unicorn/no-thenable -- the point of it
    "returns an object whose then cannot be read": () => Object.defineProperty({}, "then", { get: throws }),
  };
  for (const [name, fn] of Object.entries(failing)) {
    it(`that ${name} reports that, with a trace of its own, and neither throws nor rejects`, async () => {
      const { errors, reports, spans, started } = benchOf();
      assert.equal(await errors.guard("nightly", fn, { origin: "timer" })(), undefined);
      await errors.flush();
      assert.equal(reports.length, 1);
      assert.partialDeepStrictEqual(reports[0], {
        origin: "timer",
        handled: true,
        severity: "error",
        traceId: started[0]?.traceId,
        spanId: started[0]?.spanId,
        requestId: undefined,
        attributes: { task: "nightly" },
      });
      assert.equal(reports[0]?.error.message, "boom");
      assert.deepEqual(spans, ["nightly started", "nightly failed", "nightly ended"]);
    });
  }

  it("gives what the function gives, with its arguments and `this`, and ends its span when that is done", async () => {
    const { errors, reports, spans } = benchOf();
    const thing = {
      base: 10,
      add: errors.guard("add", function (this: { base: number }, by: number) {
        return this.base + by;
      }),
      later: errors.guard("later", async (by: number) => {
        await new Promise(setImmediate);
        return by;
      }),
    };
    assert.equal(thing.add(5), 15);
    assert.deepEqual(spans, ["add started", "add ended"]);
    const later = thing.later(7);
    assert.deepEqual(spans.slice(2), ["later started"]);
    assert.equal(await later, 7);
    assert.deepEqual(spans.slice(2), ["later started", "later ended"]);
    await errors.flush();
    assert.deepEqual(reports, []);
  });

  it("runs in the trace of its request where there is one, and has its ids", async () => {
    const { errors, reports, spans } = benchOf();
    const span = { traceId: "1".repeat(32), spanId: "2".repeat(16), sampled: false };
    const context = { requestId: "r1", span };
    runInContext(context, () =>
      errors.guard("inside", () => {
        assert.equal(currentContext(), context);
        return throws();
      })(),
    );
    await errors.flush();
    assert.partialDeepStrictEqual(reports[0], { traceId: span.traceId, requestId: "r1", origin: "job" });
    assert.deepEqual(spans, []);
  });

  it("has another trace each time outside of requests, for all that it awaits", async () => {
    const { errors } = benchOf();
    const seen: (string | undefined)[] = [];
    const task = errors.guard("task", async () => {
      seen.push(currentContext()?.span?.traceId);
      await new Promise(setImmediate);
      seen.push(currentContext()?.span?.traceId);
    });
    await Promise.all([task(), task()]);
    const [one, two, oneLater, twoLater] = seen;
    assert.match(one ?? "", /^[0-9a-f]{32}$/);
    assert.notEqual(one, two);
    assert.deepEqual([oneLater, twoLater], [one, two]);
    assert.equal(currentContext(), undefined);
  });

  it("that has only heeded its signal warns", async () => {
    const { errors, reports } = benchOf();
    errors.guard("stopped", () => AbortSignal.abort().throwIfAborted())();
    errors.guard("stopped", () => {
      throw AppError.cancelled("ERR_TEST_STOPPED", "the app stops");
    })();
    await errors.flush();
    assert.deepEqual(
      reports.map(({ severity }) => severity),
      ["warning", "warning"],
    );
  });

  it("keeps an emitter, a stream and a timer going that would die of it", async () => {
    const { errors, reports } = benchOf();
    const emitter = new EventEmitter<{ note: [id: number, text: string] }>();
    const heard: number[] = [];
    emitter.on("note", errors.guard("heard", throws));
    emitter.on(
      "note",
      errors.guard("heard too", (id, text) => {
        same<typeof id, number>();
        same<typeof text, string>();
        heard.push(id);
      }),
    );
    emitter.emit("note", 1, "a");
    emitter.emit("note", 2, "b");
    assert.deepEqual(heard, [1, 2]);
    const stream = Readable.from(["a", "b"]);
    const chunks: unknown[] = [];
    stream.on(
      "data",
      errors.guard("chunk", (chunk) => throws(chunks.push(chunk)), { origin: "stream" }),
    );
    await new Promise((resolve) => stream.on("end", resolve));
    assert.deepEqual(chunks, ["a", "b"]);
    const fired = Promise.withResolvers<void>();
    let runs = 0;
    const timer = setInterval(
      // oxlint-disable-next-line typescript/no-misused-promises -- this one cannot reject
      errors.guard("sweep", async () => {
        if (++runs === 2) fired.resolve();
        throw new Error("not swept");
      }),
      1,
    );
    await fired.promise;
    clearInterval(timer);
    await new Promise(setImmediate);
    await errors.flush();
    assert.equal(reports.filter(({ attributes }) => attributes.task === "heard").length, 2);
    assert.equal(reports.filter(({ origin }) => origin === "stream").length, 2);
    assert.equal(reports.filter(({ attributes }) => attributes.task === "sweep").length, 2);
  });

  it("has the parameters of the function, and what it gives or undefined", () => {
    const { errors } = benchOf();
    const sync = errors.guard("a", (id: number, text?: string) => `${id}${text ?? ""}`);
    same<Parameters<typeof sync>, [id: number, text?: string | undefined]>();
    same<ReturnType<typeof sync>, string | undefined>();
    const late = errors.guard("b", async (...ids: number[]) => ids.length);
    same<Parameters<typeof late>, number[]>();
    same<ReturnType<typeof late>, Promise<number | undefined>>();
    const either = errors.guard("c", (isLate: boolean) => (isLate ? Promise.resolve("x") : 5));
    same<ReturnType<typeof either>, Promise<string | undefined> | 5 | undefined>();
    const nothing = errors.guard("d", () => {});
    same<Parameters<typeof nothing>, []>();
    // @ts-expect-error -- no text
    sync("1");
    // @ts-expect-error -- no such origin
    errors.guard("e", () => {}, { origin: "nowhere" });
  });
});
