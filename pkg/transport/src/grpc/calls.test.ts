import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, it } from "node:test";
import { setTimeout as later } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import { AppError, currentContext } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import { RequestError, TransportError } from "../errors.ts";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { RecordingTracing } from "../testing/recording-tracing.ts";
import { failureOf } from "../testing/grpc-client.ts";
import { startGrpc, type TestGrpc } from "../testing/grpc.ts";

const never = new Promise<never>(() => {});
const secret = "postgres://root:hunter2@db";

describe("a gRPC server", () => {
  it("serves a unary call", async () => {
    await using grpc = await startGrpc();
    const reply = await grpc.client.say({ text: "hé", big: 2n ** 62n, data: Uint8Array.of(0, 255) });
    assert.deepEqual([reply.text, reply.big, [...reply.data]], ["hé", 2n ** 62n, [0, 255]]);
  });

  it("serves an empty message", async () => {
    await using grpc = await startGrpc();
    assert.equal((await grpc.client.say({})).text, "");
  });

  it("serves a stream of replies, in order", async () => {
    await using grpc = await startGrpc();
    const numbers: number[] = [];
    for await (const { number } of grpc.client.count({ to: 1_000 })) numbers.push(number);
    assert.deepEqual(
      numbers,
      Array.from({ length: 1_000 }, (_, index) => index + 1),
    );
  });

  it("serves a stream of requests", async () => {
    await using grpc = await startGrpc();
    const { call, reply } = grpc.client.collect();
    for (const text of ["a", "b", "c"]) call.write({ text });
    call.end();
    assert.equal((await reply).text, "a b c");
  });

  it("serves streams both ways at once", async () => {
    await using grpc = await startGrpc();
    const chat = grpc.client.chat();
    for (const text of ["a", "b"]) {
      chat.write({ text });
      const [reply] = await once(chat, "data");
      assert.equal(reply.text, `you said ${text}`);
    }
    chat.end();
    await once(chat, "end");
  });

  it("lets a handler answer without reading all it is sent", async () => {
    await using grpc = await startGrpc({
      handlers: {
        async collect(requests) {
          for await (const { text } of requests) return { text };
          return {};
        },
        async *chat(requests) {
          for await (const { text } of requests) {
            yield { text };
            break;
          }
          yield { text: "bye" };
        },
      },
    });
    const { call, reply } = grpc.client.collect();
    call.write({ text: "first" });
    call.write({ text: "second" });
    assert.equal((await reply).text, "first");
    const chat = grpc.client.chat();
    chat.write({ text: "first" });
    chat.write({ text: "second" });
    const texts: string[] = [];
    for await (const { text } of chat) texts.push(text);
    assert.deepEqual(texts, ["first", "bye"]);
  });

  it("writes no faster than the caller reads", async () => {
    let written = 0;
    await using grpc = await startGrpc({
      handlers: {
        async *count({ to, padding }) {
          for (let number = 1; number <= to; number++) {
            written = number;
            yield { number, padding: new Uint8Array(padding) };
          }
        },
      },
    });
    const replies = grpc.client.count({ to: 2_000, padding: 50_000 }).iterator({ destroyOnReturn: false });
    await replies.next();
    for (let before = -1; written !== before;) {
      before = written;
      for (let turn = 0; turn < 500; turn++) await new Promise(setImmediate);
    }
    assert.ok(written < 100, `${written} messages of 50 kB written, one read`);
    let read = 1;
    while (!(await replies.next()).done) read++;
    assert.equal(read, 2_000);
  });

  it("answers unknown methods with UNIMPLEMENTED, and counts all of them as one", async () => {
    await using grpc = await startGrpc();
    for (const path of ["/nowhere.Service/Method", "/x", `/${EchoService.typeName}/Nothing`]) {
      const failure = await failureOf(grpc.client.raw(path, new Uint8Array()));
      assert.deepEqual([failure.code, failure.info?.reason], [status.UNIMPLEMENTED, "ERR_RPC_UNIMPLEMENTED"]);
      assert.match(failure.traceId ?? "", /^[0-9a-f]{32}$/);
    }
    assert.deepEqual(await counts(grpc), { '{method="unmatched",status="unimplemented"}': 3 });
    assert.deepEqual(await grpc.reports(), []);
  });

  it("answers a message that is too large with RESOURCE_EXHAUSTED", async () => {
    await using grpc = await startGrpc({ settings: { maxMessageBytes: 1_000 } });
    const { code } = await failureOf(grpc.client.say({ data: new Uint8Array(1_001) }));
    assert.equal(code, status.RESOURCE_EXHAUSTED);
    assert.equal((await grpc.client.say({ text: "x" })).text, "x");
  });

  it("answers bytes that are no message with INVALID_ARGUMENT, and counts them", async () => {
    await using grpc = await startGrpc();
    const failure = await failureOf(grpc.client.raw(`/${EchoService.typeName}/Say`, Buffer.from("ffff", "hex")));
    assert.deepEqual([failure.code, failure.info?.reason], [status.INVALID_ARGUMENT, "ERR_REQUEST_BODY"]);
    assert.match(failure.message, /^the message is no plinth\.transport\.testing\.v1\.SayRequest: /);
    assert.deepEqual(await counts(grpc), {
      '{method="plinth.transport.testing.v1.EchoService/Say",status="invalid_argument"}': 1,
    });
    assert.deepEqual(await grpc.reports(), []);
  });

  it("lives on when bytes that are no HTTP/2 arrive", async () => {
    const { RawConnection } = await import("../testing/http.ts");
    await using grpc = await startGrpc();
    const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (const bytes of ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\0".repeat(100), `${preface}${"\xff".repeat(100)}`]) {
      const connection = new RawConnection(grpc.server.port);
      connection.write(Buffer.from(bytes, "latin1"));
      await connection.ended;
    }
    assert.equal((await grpc.client.say({ text: "x" })).text, "x");
  });
});

describe("a gRPC handler that fails", () => {
  it("in a way meant for the caller tells code, text, metadata and whether to try again", async () => {
    await using grpc = await startGrpc({
      handlers: {
        say: () =>
          fail(
            new AppError("ERR_NOTES_FULL", "resource_exhausted", "no more nötes", {
              metadata: { limit: "50" },
              retryable: true,
            }),
          ),
      },
    });
    const failure = await failureOf(grpc.client.say({}, { metadata: { "x-request-id": "request-1" } }));
    assert.deepEqual(
      [failure.code, failure.message, failure.info?.reason, failure.info?.domain, failure.info?.metadata],
      [
        status.RESOURCE_EXHAUSTED,
        "no more nötes",
        "ERR_NOTES_FULL",
        "plinth",
        { limit: "50", "plinth.retryable": "true" },
      ],
    );
    assert.match(failure.traceId ?? "", /^[0-9a-f]{32}$/);
    assert.equal(failure.requestId, "request-1");
    assert.deepEqual(await grpc.reports(), []);
  });

  it("for fields of the request tells each of them", async () => {
    const faults = [
      { pointer: "/text", detail: "is empty" },
      { pointer: "/big", detail: "is odd" },
    ];
    await using grpc = await startGrpc({ handlers: { say: () => fail(new RequestError(faults)) } });
    const failure = await failureOf(grpc.client.say({}));
    assert.deepEqual(
      failure.faults.map(({ field, description }) => [field, description]),
      [
        ["/text", "is empty"],
        ["/big", "is odd"],
      ],
    );
  });

  for (const [name, thrown] of [
    ["an Error", new Error(secret)],
    ["an internal AppError", new AppError("ERR_STORE", "internal", secret, { metadata: { secret } })],
    ["a string", secret],
    ["null", null],
    ["undefined", undefined],
    ["an object", { code: 5, details: secret, message: secret }],
    ["an Error with a code of gRPC", Object.assign(new Error(secret), { code: status.NOT_FOUND, details: secret })],
    ["a proxy that throws at every touch", new Proxy({}, new Proxy({}, { get: () => () => fail(new Error(secret)) }))],
  ] as const) {
    for (const kind of ["say", "count", "collect", "chat"] as const) {
      it(`by throwing ${name} in ${kind} becomes INTERNAL without its text, and one report with the ids`, async () => {
        await using grpc = await startGrpc({
          handlers: {
            say: () => fail(thrown),
            async *count() {
              yield { number: 1 };
              fail(thrown);
            },
            collect: async () => fail(thrown),
            chat: () => fail(thrown),
          },
        });
        const failure = await failureOf(callOf(grpc, kind));
        assert.equal(failure.code, status.INTERNAL);
        assert.doesNotMatch(JSON.stringify(failure), /hunter2/);
        assert.deepEqual(
          [failure.info?.reason, failure.info?.metadata],
          ["ERR_INTERNAL", { "plinth.retryable": "false" }],
        );
        const [report, ...others] = await grpc.reports();
        assert.deepEqual(
          [others, report?.traceId, report?.requestId, report?.origin, report?.attributes],
          [[], failure.traceId, failure.requestId, "rpc", { method: `${EchoService.typeName}/${capital(kind)}` }],
        );
        assert.equal((await grpc.client.collect().reply.catch(() => "still there")) !== undefined, true);
      });
    }
  }

  it("by returning no message becomes INTERNAL, counted and reported", async () => {
    const handlers: readonly NonNullable<Parameters<typeof startGrpc>[0]>["handlers"][] = [
      { say: () => undefined as never },
      { say: () => null as never },
      { say: () => ({ big: "x" }) as never },
      { count: () => undefined as never },
      { count: () => ({ number: 1 }) as never },
    ];
    for (const own of handlers) {
      await using grpc = await startGrpc({ handlers: own ?? {} });
      const kind = own && "say" in own ? "say" : "count";
      const { code } = await failureOf(callOf(grpc, kind));
      assert.equal(code, status.INTERNAL, JSON.stringify(Object.keys(own ?? {})));
      assert.equal((await grpc.reports()).length, 1);
      assert.deepEqual(Object.values(await counts(grpc)), [1]);
    }
  });

  it("with half a surrogate pair in its text is answered, and the process lives", async () => {
    await using grpc = await startGrpc({
      handlers: {
        say: () => fail(new AppError("ERR_X", "not_found", "no \ud83d", { metadata: { "\udc00": "\ud83d" } })),
      },
    });
    const failure = await failureOf(grpc.client.say({}));
    assert.deepEqual([failure.code, failure.message], [status.NOT_FOUND, "no \ufffd"]);
  });

  it("with more to tell than fits into trailers tells as much as does", async () => {
    const faults = Array.from({ length: 1_000 }, (_, index) => ({
      pointer: `/items/${index}`,
      detail: "is not valid",
    }));
    const metadata = { long: "x".repeat(10_000) };
    await using grpc = await startGrpc({
      handlers: {
        say: ({ text }) =>
          fail(
            text === "faults"
              ? new RequestError(faults)
              : new AppError("ERR_X", "not_found", "y".repeat(10_000), { metadata }),
          ),
      },
    });
    const many = await failureOf(grpc.client.say({ text: "faults" }));
    assert.deepEqual([many.code, many.info?.reason, many.faults], [status.INVALID_ARGUMENT, "ERR_REQUEST_INVALID", []]);
    const long = await failureOf(grpc.client.say({ text: "metadata" }));
    assert.deepEqual(
      [long.code, long.info?.reason, long.info?.metadata],
      [status.NOT_FOUND, "ERR_X", { "plinth.retryable": "false" }],
    );
    assert.equal(long.message.length, 1_024);
    for (const { bytes } of [many, long]) assert.ok(bytes <= 4_096, `${bytes}`);
  });

  it("after some replies sends those and then the status", async () => {
    await using grpc = await startGrpc({
      handlers: {
        async *count() {
          yield { number: 1 };
          yield { number: 2 };
          fail(new AppError("ERR_X", "not_found", "no more"));
        },
      },
    });
    const stream = grpc.client.count({});
    const numbers: number[] = [];
    stream.on("data", ({ number }) => numbers.push(number));
    const [error] = await once(stream, "error");
    assert.deepEqual([numbers, error.code], [[1, 2], status.NOT_FOUND]);
  });
});

describe("the deadline of a gRPC call", () => {
  it("is the server's when the caller names none: DEADLINE_EXCEEDED, aborted signal, one report", async () => {
    const clock = new FakeClock();
    const reached = Promise.withResolvers<AbortSignal>();
    await using grpc = await startGrpc({
      clock,
      settings: { deadlineMs: 1_000 },
      handlers: {
        say: (_request, { signal, deadlineAtMs }) => {
          assert.equal(deadlineAtMs, 1_000);
          reached.resolve(signal);
          return never;
        },
      },
    });
    const reply = failureOf(grpc.client.say({}));
    const signal = await reached.promise;
    await clock.advance(1_000);
    const failure = await reply;
    assert.deepEqual([failure.code, failure.info?.reason], [status.DEADLINE_EXCEEDED, "ERR_DEADLINE_EXCEEDED"]);
    assert.equal(failure.message, "no answer within the 1000 ms allowed");
    assert.equal(signal.reason.code, "ERR_DEADLINE_EXCEEDED");
    assert.deepEqual(
      (await grpc.reports()).map(({ error }) => error),
      [signal.reason],
    );
    assert.deepEqual(await statuses(grpc), ["deadline_exceeded"]);
  });

  it("is the caller's when that is shorter, and then it is nobody's error", async () => {
    const reached = Promise.withResolvers<AbortSignal>();
    await using grpc = await startGrpc({
      handlers: {
        say: (_request, { signal }) => {
          reached.resolve(signal);
          return never;
        },
      },
    });
    const failure = await failureOf(grpc.client.say({}, { deadlineMs: 50 }));
    assert.equal(failure.code, status.DEADLINE_EXCEEDED);
    const signal = await reached.promise;
    if (!signal.aborted) await once(signal, "abort");
    // The caller's clock runs ahead by the way here, so that its cancel may come before the server's timer.
    assert.match(signal.reason.code, /^ERR_(DEADLINE_EXCEEDED|CANCELLED)$/);
    assert.deepEqual(await statuses(grpc), [signal.reason.status]);
    assert.deepEqual(await grpc.reports(), []);
  });

  it("is capped by the server's when the caller asks for more", async () => {
    const clock = new FakeClock();
    const reached = Promise.withResolvers<number>();
    await using grpc = await startGrpc({
      clock,
      settings: { deadlineMs: 1_000 },
      handlers: {
        say: (_request, { deadlineAtMs }) => {
          reached.resolve(deadlineAtMs);
          return never;
        },
      },
    });
    const reply = failureOf(grpc.client.say({}, { deadlineMs: 100_000 }));
    assert.equal(await reached.promise, 1_000);
    await clock.advance(1_000);
    assert.equal((await reply).code, status.DEADLINE_EXCEEDED);
  });

  it("does not end a stream that its caller leaves open", async () => {
    const clock = new FakeClock();
    await using grpc = await startGrpc({ clock, settings: { deadlineMs: 1_000 } });
    const chat = grpc.client.chat();
    chat.write({ text: "a" });
    await once(chat, "data");
    await clock.advance(100_000);
    chat.write({ text: "b" });
    const [reply] = await once(chat, "data");
    assert.equal(reply.text, "you said b");
    chat.end();
    await once(chat, "end");
  });

  for (const [name, finish] of [
    ["returns", async () => ({ text: "late" })],
    ["throws", async () => fail(new Error("late"))],
  ] as const) {
    it(`drops quietly what a late handler ${name}`, async () => {
      const clock = new FakeClock();
      const [reached, gate, done] = [
        Promise.withResolvers<void>(),
        Promise.withResolvers<void>(),
        Promise.withResolvers<void>(),
      ];
      await using grpc = await startGrpc({
        clock,
        settings: { deadlineMs: 1_000 },
        handlers: {
          say: async () => {
            reached.resolve();
            await gate.promise;
            setImmediate(done.resolve);
            return finish();
          },
        },
      });
      const reply = failureOf(grpc.client.say({}));
      await reached.promise;
      await clock.advance(1_000);
      await reply;
      gate.resolve();
      await done.promise;
      assert.equal((await grpc.reports()).length, 1); // the deadline itself
      assert.deepEqual(await statuses(grpc), ["deadline_exceeded"]);
    });
  }

  it("is over when the handler answers in time", async () => {
    const clock = new FakeClock();
    let signal: AbortSignal | undefined;
    await using grpc = await startGrpc({
      clock,
      handlers: {
        say: (_request, call) => {
          ({ signal } = call);
          return {};
        },
      },
    });
    await grpc.client.say({}); // from then on one timer is there for all
    const idle = clock.pending;
    await grpc.client.say({});
    await until(() => clock.pending === idle);
    await clock.advance(100_000);
    assert.equal(signal?.aborted, false);
  });
});

describe("a caller that cancels", () => {
  for (const kind of ["say", "count", "collect", "chat"] as const) {
    it(`has its handler told at once, which is nobody's error: ${kind}`, async () => {
      const reached = Promise.withResolvers<AbortSignal>();
      const wait = (signal: AbortSignal): Promise<never> => {
        reached.resolve(signal);
        return never;
      };
      let endedEarly = false;
      await using grpc = await startGrpc({
        handlers: {
          say: (_request, { signal }) => wait(signal),
          async *count(_request, { signal }) {
            try {
              yield { number: 1 };
              await wait(signal);
            } finally {
              endedEarly = true;
            }
          },
          async collect(requests, { signal }) {
            reached.resolve(signal);
            for await (const _ of requests);
            return {};
          },
          async *chat(requests, { signal }) {
            reached.resolve(signal);
            for await (const { text } of requests) yield { text };
          },
        },
      });
      const { cancel, reply } = openCall(grpc, kind);
      const signal = await reached.promise;
      cancel();
      assert.equal((await failureOf(reply)).code, status.CANCELLED);
      if (!signal.aborted) await once(signal, "abort");
      assert.deepEqual([signal.reason.code, signal.reason.status], ["ERR_CANCELLED", "cancelled"]);
      assert.deepEqual(await statuses(grpc), ["cancelled"]);
      assert.deepEqual(await grpc.reports(), []);
      assert.equal(endedEarly, false); // it still waits for what never comes; nothing is written for it any more
    });
  }

  it("ends a stream that is being written to it", async () => {
    const ended = Promise.withResolvers<void>();
    await using grpc = await startGrpc({
      handlers: {
        async *count() {
          try {
            for (let number = 1; ; number++) yield { number, padding: new Uint8Array(10_000) };
          } finally {
            ended.resolve();
          }
        },
      },
    });
    const stream = grpc.client.count({});
    stream.on("error", () => {});
    await once(stream, "data");
    stream.cancel();
    await ended.promise;
    assert.deepEqual(await statuses(grpc), ["cancelled"]);
  });
});

describe("the context of a gRPC call", () => {
  const traceId = "0af7651916cd43dd8448eb211c80319c";

  it("continues the caller's trace and keeps its request id", async () => {
    const tracing = new RecordingTracing();
    let seen: unknown;
    await using grpc = await startGrpc({
      tracing,
      handlers: {
        say: (_request, call) => {
          seen = [call.requestId, call.span?.traceId, currentContext() === call];
          return {};
        },
      },
    });
    await grpc.client.say(
      {},
      { metadata: { traceparent: `00-${traceId}-b7ad6b7169203331-01`, "x-request-id": "request-1" } },
    );
    assert.deepEqual(seen, ["request-1", traceId, true]);
    await until(() => tracing.spans[0]?.ends === 1);
    const [span] = tracing.spans;
    assert.deepEqual(
      [span?.name, span?.options.kind, span?.options.parent?.spanId, span?.attributes],
      [
        "plinth.transport.testing.v1.EchoService/Say",
        "server",
        "b7ad6b7169203331",
        {
          "rpc.system.name": "grpc",
          "rpc.method": "plinth.transport.testing.v1.EchoService/Say",
          "rpc.status_code": "OK",
          "client.address": "127.0.0.1",
        },
      ],
    );
  });

  for (const id of ["", "short", "x".repeat(129), "has space"]) {
    it(`mints a request id in place of a hostile one: ${JSON.stringify(id.slice(0, 20))}`, async () => {
      let seen = "";
      await using grpc = await startGrpc({
        handlers: {
          say: (_request, { requestId }) => {
            seen = requestId;
            return {};
          },
        },
      });
      await grpc.client.say({}, { metadata: { "x-request-id": id } });
      assert.match(seen, /^[0-9a-f]{32}$/);
    });
  }

  it("is in every log line of every kind of handler, and in none outside", async () => {
    await using grpc = await startGrpc({
      handlers: {
        say: async () => {
          await later(1);
          grpc.log.info("here", { kind: "say" });
          return {};
        },
        async *count() {
          yield { number: 1 };
          await later(1);
          grpc.log.info("here", { kind: "count" });
        },
        async collect(requests) {
          for await (const _ of requests) grpc.log.info("here", { kind: "collect" });
          return {};
        },
        async *chat(requests) {
          for await (const { text } of requests) {
            grpc.log.info("here", { kind: "chat" });
            yield { text };
          }
        },
      },
    });
    for (const kind of ["say", "count", "collect", "chat"] as const) await callOf(grpc, kind);
    grpc.log.info("outside");
    await until(() => grpc.lines.withMessage("call").length === 4);
    const here = grpc.lines.withMessage("here");
    assert.deepEqual(
      here.map(({ kind }) => kind),
      ["say", "count", "collect", "chat"],
    );
    for (const line of [...here, ...grpc.lines.withMessage("call")])
      assert.match(
        `${String(line.trace_id)} ${String(line.span_id)} ${String(line.request_id)}`,
        /^[0-9a-f]{32} [0-9a-f]{16} [0-9a-f]{32}$/,
      );
    assert.equal(grpc.lines.withMessage("outside")[0]?.trace_id, undefined);
  });

  it("is summed up in one access log line and one metric a call", async () => {
    await using grpc = await startGrpc({
      handlers: { collect: async () => fail(new TransportError("ERR_REQUEST_REFUSED", "aborted", "x")) },
    });
    await grpc.client.say({ text: "hunter2" });
    await failureOf(callOf(grpc, "collect"));
    await until(() => grpc.lines.withMessage("call").length === 2);
    const lines = grpc.lines.withMessage("call").map(({ method, status: name, code }) => [method, name, code]);
    assert.deepEqual(lines, [
      ["plinth.transport.testing.v1.EchoService/Say", "ok", undefined],
      ["plinth.transport.testing.v1.EchoService/Collect", "aborted", "ERR_REQUEST_REFUSED"],
    ]);
    assert.deepEqual(await counts(grpc), {
      '{method="plinth.transport.testing.v1.EchoService/Say",status="ok"}': 1,
      '{method="plinth.transport.testing.v1.EchoService/Collect",status="aborted"}': 1,
    });
    assert.doesNotMatch(JSON.stringify(grpc.lines.lines), /hunter2/);
  });
});

type Kind = "say" | "count" | "collect" | "chat";

function openCall({ client }: TestGrpc, kind: Kind): { readonly cancel: () => void; readonly reply: Promise<unknown> } {
  switch (kind) {
    case "say": {
      const { call, reply } = client.unary(EchoService.method.say, {});
      return { cancel: () => call.cancel(), reply };
    }
    case "collect": {
      const { call, reply } = client.collect();
      call.write({ text: "a" });
      return { cancel: () => call.cancel(), reply };
    }
    case "count":
    case "chat": {
      const stream = kind === "count" ? client.count({ to: 1 }) : client.chat();
      if ("write" in stream) stream.write({ text: "a" });
      const reply = new Promise((resolve, reject) => {
        stream.on("data", () => {});
        stream.on("error", reject);
        stream.on("end", resolve);
      });
      return { cancel: () => stream.cancel(), reply };
    }
  }
}

/** A whole call of that kind: what is to be sent is sent. */
function callOf(grpc: TestGrpc, kind: Kind): Promise<unknown> {
  switch (kind) {
    case "say":
      return grpc.client.say({});
    case "collect": {
      const { call, reply } = grpc.client.collect();
      call.end({ text: "a" });
      return reply;
    }
    case "count":
      return grpc.client.count({ to: 1 }).toArray();
    case "chat": {
      const chat = grpc.client.chat();
      chat.end({ text: "a" });
      return chat.toArray();
    }
  }
}

function capital(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`;
}

function fail(thrown: unknown): never {
  throw thrown;
}

async function statuses(grpc: TestGrpc): Promise<unknown[]> {
  await until(() => grpc.lines.withMessage("call").length > 0);
  return grpc.lines.withMessage("call").map((line) => line.status);
}

/** Calls counted, by labels. */
async function counts(grpc: TestGrpc): Promise<Record<string, number>> {
  const { body } = await grpc.metrics.expose();
  const lines = body.matchAll(/^grpc_server_call_duration_seconds_count(\{.*\}) (\d+)$/gm);
  return Object.fromEntries([...lines].map(([, labels, count]) => [labels, Number(count)]));
}
