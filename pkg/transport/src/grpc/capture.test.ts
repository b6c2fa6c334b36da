import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, it } from "node:test";
import { status } from "@grpc/grpc-js";
import { AppError, currentContext } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { failureOf } from "../testing/grpc-client.ts";
import { startGrpc, type TestGrpc, type TestGrpcOptions } from "../testing/grpc.ts";

const secret = "postgres://root:hunter2@db";
const metadata = { "x-request-id": "request-1" };

interface Place {
  readonly name: string;
  readonly method: "Say" | "Count" | "Collect" | "Chat";
  readonly handlers: NonNullable<TestGrpcOptions["handlers"]>;
  readonly call: (grpc: TestGrpc) => Promise<unknown>;
}

const count = ({ client }: TestGrpc): Promise<unknown> => client.count({ to: 3 }, { metadata }).toArray();

/** Sends two messages, and ends its side. */
function chat({ client }: TestGrpc): Promise<unknown> {
  const stream = client.chat({ metadata });
  stream.write({ text: "a" });
  stream.end({ text: "b" });
  return stream.toArray();
}

function collect({ client }: TestGrpc): Promise<unknown> {
  const { call, reply } = client.collect({ metadata });
  call.write({ text: "a" });
  call.end({ text: "b" });
  return reply;
}

/** An iterable whose parts are given. */
const iterable = (next: () => Promise<IteratorResult<{ number: number }>>) => ({
  [Symbol.asyncIterator]: () => ({ next }),
});

const places: readonly Place[] = [
  {
    name: "a unary handler, later",
    method: "Say",
    handlers: { say: () => new Promise((_resolve, reject) => setImmediate(() => reject(failure()))) },
    call: ({ client }) => client.say({}, { metadata }),
  },
  {
    name: "the reply of a unary handler, when it is written",
    method: "Say",
    handlers: {
      say: () => ({
        get text(): string {
          return raise();
        },
      }),
    },
    call: ({ client }) => client.say({}, { metadata }),
  },
  { name: "a handler that makes no stream", method: "Count", handlers: { count: () => raise() }, call: count },
  {
    name: "the making of an iterator",
    method: "Count",
    handlers: { count: () => ({ [Symbol.asyncIterator]: () => raise() }) },
    call: count,
  },
  {
    name: "an iterator, at once",
    method: "Count",
    handlers: { count: () => iterable(() => raise()) },
    call: count,
  },
  {
    name: "a stream of replies after its first",
    method: "Count",
    handlers: {
      async *count() {
        yield { number: 1 };
        await new Promise(setImmediate);
        raise();
      },
    },
    call: count,
  },
  {
    name: "a reply in a stream that cannot be written, and the cleaning up after it",
    method: "Count",
    handlers: {
      async *count() {
        try {
          yield { number: 1 };
          yield { number: Number.NaN };
        } finally {
          raise();
        }
      },
    },
    call: count,
  },
  {
    name: "a reader of requests, after the first",
    method: "Collect",
    handlers: {
      async collect(requests) {
        for await (const _ of requests) raise();
        return {};
      },
    },
    call: collect,
  },
  {
    name: "a reader of requests, after the last",
    method: "Collect",
    handlers: {
      async collect(requests) {
        for await (const _ of requests);
        return raise();
      },
    },
    call: collect,
  },
  {
    name: "a stream both ways after its first reply",
    method: "Chat",
    handlers: {
      async *chat(requests) {
        for await (const { text } of requests) {
          yield { text };
          raise();
        }
      },
    },
    call: chat,
  },
  {
    name: "a stream both ways when its caller has ended",
    method: "Chat",
    handlers: {
      async *chat(requests) {
        for await (const { text } of requests) yield { text };
        raise();
      },
    },
    call: chat,
  },
];

describe("what is thrown by", () => {
  for (const { name, method, handlers, call } of places) {
    it(`${name} is INTERNAL without its text, and one report with the ids`, async () => {
      await using grpc = await startGrpc({ handlers });
      const failed = await failureOf(call(grpc));
      assert.deepEqual([failed.code, failed.info?.reason], [status.INTERNAL, "ERR_INTERNAL"]);
      assert.doesNotMatch(JSON.stringify(failed), /hunter2|NaN/);
      const [report, ...others] = await grpc.reports();
      assert.deepEqual(
        [report?.origin, report?.handled, report?.requestId, report?.traceId, report?.attributes, others],
        ["rpc", true, "request-1", failed.traceId, { method: `${EchoService.typeName}/${method}` }, []],
      );
      const cause = report?.error.cause;
      assert.match(String(cause instanceof Error && cause.stack), /\n\s+at /);
      await failureOf(grpc.client.raw("/x", new Uint8Array())); // the server serves on
    });
  }

  it("a handler that was told to stop is a line for developers, and no report", async () => {
    const reached = Promise.withResolvers<void>();
    await using grpc = await startGrpc({
      handlers: {
        say: (_request, { signal }) => {
          reached.resolve();
          return new Promise((_resolve, reject) => {
            signal.addEventListener("abort", () => reject(failure()));
          });
        },
      },
    });
    const { call, reply } = grpc.client.unary(EchoService.method.say, {});
    await reached.promise;
    call.cancel();
    await failureOf(reply);
    await until(() => grpc.lines.withMessage("a handler failed after it had been told to stop").length === 1);
    assert.deepEqual(await grpc.reports(), []);
  });

  for (const [name, thrown, code] of [
    ["an AbortError that nobody's leaving caused", new DOMException("x", "AbortError"), status.INTERNAL],
    ["a TimeoutError", new DOMException("x", "TimeoutError"), status.DEADLINE_EXCEEDED],
    [
      "a system error",
      Object.assign(new Error("open EMFILE /secret"), { code: "EMFILE", errno: -24, syscall: "open" }),
      status.UNAVAILABLE,
    ],
  ] as const) {
    it(`${name} was meant for no caller, and is reported whatever status it gets`, async () => {
      await using grpc = await startGrpc({ handlers: { say: () => raise(thrown) } });
      const failed = await failureOf(grpc.client.say({}));
      assert.equal(failed.code, code);
      assert.doesNotMatch(JSON.stringify(failed), /secret/);
      assert.equal((await grpc.reports()).length, 1);
    });
  }

  it("a handler on purpose is reported when it is an incident by its status, and else not", async () => {
    const reported: boolean[] = [];
    for (const kind of ["unavailable", "deadline_exceeded", "data_loss", "not_found", "resource_exhausted"] as const) {
      await using grpc = await startGrpc({ handlers: { say: () => raise(new AppError("ERR_X", kind, "x")) } });
      await failureOf(grpc.client.say({}));
      reported.push((await grpc.reports()).length === 1);
    }
    assert.deepEqual(reported, [true, true, true, false, false]);
  });
});

describe("a listener for the abort of a call", () => {
  it("runs inside of the call, so that what it throws is known to be of it", async () => {
    const reached = Promise.withResolvers<void>();
    const aborted = Promise.withResolvers<string | undefined>();
    await using grpc = await startGrpc({
      handlers: {
        say: (_request, { signal }) => {
          signal.addEventListener("abort", () => aborted.resolve(currentContext()?.requestId));
          reached.resolve();
          return new Promise(() => {});
        },
      },
    });
    const { call, reply } = grpc.client.unary(EchoService.method.say, {}, { metadata });
    await reached.promise;
    call.cancel();
    await failureOf(reply);
    assert.equal(await aborted.promise, "request-1");
  });
});

describe("the metrics of gRPC calls", () => {
  it("count calls under way, and the messages of each method both ways", async () => {
    const release = Promise.withResolvers<void>();
    await using grpc = await startGrpc({
      handlers: {
        async *chat(requests) {
          for await (const { text } of requests) yield { text };
          await release.promise;
        },
      },
    });
    const lines = async (name: string): Promise<string[]> =>
      (await grpc.metrics.expose()).body.split("\n").filter((line) => line.startsWith(name));
    await grpc.client.count({ to: 5 }).toArray();
    const stream = grpc.client.chat();
    stream.write({ text: "a" });
    await once(stream, "data");
    assert.deepEqual(await lines("grpc_server_active_calls"), ["grpc_server_active_calls 1"]);
    stream.end({ text: "b" });
    await once(stream, "data");
    const service = EchoService.typeName;
    assert.deepEqual((await lines("grpc_server_messages_total")).toSorted(), [
      `grpc_server_messages_total{method="${service}/Chat",direction="received"} 2`,
      `grpc_server_messages_total{method="${service}/Chat",direction="sent"} 2`,
      `grpc_server_messages_total{method="${service}/Count",direction="received"} 1`,
      `grpc_server_messages_total{method="${service}/Count",direction="sent"} 5`,
    ]);
    release.resolve();
    await once(stream.resume(), "end");
    assert.deepEqual(await lines("grpc_server_active_calls"), ["grpc_server_active_calls 0"]);
  });
});

function failure(): Error {
  return new Error(secret);
}

function raise(thrown: unknown = failure()): never {
  throw thrown;
}
