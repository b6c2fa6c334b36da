import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AppError, currentContext } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import { ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { CountRequestSchema, EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { framed } from "../grpc/messages.ts";
import { callStream, callStream2, envelope, type StreamedError } from "../testing/connect-streams.ts";
import { echoHandlers } from "../testing/grpc.ts";
import { metric, type RawConnection, startHttp, type TestHttp, type TestHttpOptions } from "../testing/http.ts";
import { connectRoutes } from "./connect.ts";
import { type RpcHandlers, rpcService, type RpcServiceOptions } from "./service.ts";

const count = `/${EchoService.typeName}/Count`;
type Count = RpcHandlers<typeof EchoService>["count"];

interface StartOptions extends TestHttpOptions {
  readonly service?: RpcServiceOptions<typeof EchoService>;
}

function start(handler: Count = echoHandlers.count, { service, ...options }: StartOptions = {}): Promise<TestHttp> {
  const services = [rpcService(EchoService, { ...echoHandlers, count: handler }, service)];
  return startHttp({ ...options, routes: connectRoutes(services) });
}

/** The head and body of a call, as bytes. */
function rawCall(message: unknown, headers = ""): Buffer {
  const body = envelope(message);
  const head = `POST ${count} HTTP/1.1\r\nHost: a\r\nContent-Type: application/connect+json\r\n${headers}Content-Length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

const ways = [
  { name: "HTTP/1.1", call: callStream, settings: {} },
  { name: "HTTP/2", call: callStream2, settings: { http2: true } },
] as const;

for (const { name, call, settings } of ways) {
  describe(`a stream of replies over ${name}`, () => {
    it("comes in envelopes, with an end that says all went well, and metadata ahead and after", async () => {
      await using http = await start(
        async function* ({ to }, rpc) {
          rpc.setReplyHeader("x-leading", `${rpc.protocol} ${rpc.header("x-given")}`);
          for (let number = 1; number <= to; number++) yield { number };
          rpc.setReplyTrailer("x-trailing", "after");
        },
        { settings },
      );
      const reply = await call(http, count, { body: envelope({ to: 3 }), headers: { "x-given": "yes" } });
      assert.deepEqual([reply.status, reply.headers["content-type"]], [200, "application/connect+json"]);
      assert.deepEqual(
        reply.messages.map(({ text }) => text),
        ['{"number":1}', '{"number":2}', '{"number":3}'],
      );
      assert.deepEqual(reply.end, { metadata: { "x-trailing": ["after"] } });
      assert.deepEqual([reply.headers["x-leading"], reply.headers["trailer-x-trailing"]], ["http yes", undefined]);
      const line = await accessLine(http);
      assert.deepEqual([line.status, line.route, line.messages_sent], [200, count, 3]);
    });

    it("ends with what the handler throws, before a message or after some, and is counted as that", async () => {
      await using http = await start(
        async function* ({ to }, rpc) {
          for (let number = 1; number <= to; number++) yield { number };
          rpc.setReplyTrailer("x-trailing", "after");
          throw AppError.notFound("ERR_NOTE_GONE", "no such note", { metadata: { id: "5" } });
        },
        { settings },
      );
      for (const to of [0, 2]) {
        const reply = await call(http, count, { body: envelope({ to }) });
        assert.deepEqual([reply.status, reply.messages.length], [200, to]);
        assert.deepEqual(reply.end?.metadata, { "x-trailing": ["after"] });
        assert.deepEqual(told(reply.end?.error), ["not_found", "no such note", "ERR_NOTE_GONE", "5"]);
      }
      await until(() => http.lines.withMessage("request").length === 2);
      for (const line of http.lines.withMessage("request"))
        assert.deepEqual([line.status, line.code], [404, "ERR_NOTE_GONE"]);
      assert.equal(
        await metric(http, `http_server_request_duration_seconds_count{method="POST",route="${count}",status="404"}`),
        2,
      );
      assert.deepEqual(await http.reports(), []);
    });

    it("tells nothing of a fault of the server but a fixed text, and reports it once", async () => {
      await using http = await start(
        async function* () {
          yield { number: 1 };
          throw new Error("hunter2");
        },
        { settings },
      );
      const reply = await call(http, count, { body: envelope({}) });
      assert.equal(reply.end?.error?.code, "internal");
      assert.doesNotMatch(JSON.stringify(reply), /hunter2/);
      const reports = await http.reports();
      assert.deepEqual(
        reports.map(({ error, origin }) => [error.message, origin]),
        [["hunter2", "rpc"]],
      );
      assert.equal((await accessLine(http)).status, 500);
    });

    for (const method of ["Collect", "Chat"]) {
      it(`is no stream of requests: ${method} is refused`, async () => {
        await using http = await start(undefined, { settings });
        const path = `/${EchoService.typeName}/${method}`;
        const streaming = await call(http, path, { body: envelope({ text: "a" }) });
        assert.deepEqual([streaming.status, streaming.end?.error?.code], [200, "unimplemented"]);
        assert.match(streaming.end?.error?.message ?? "", /over gRPC alone/);
        for (const [type, status] of [
          ["application/json", 501],
          ["text/plain", 415],
        ] as const) {
          const other = await call(http, path, { body: Buffer.from("{}"), headers: { "content-type": type } });
          assert.equal(other.status, status, type);
        }
        assert.deepEqual(await http.reports(), []);
      });
    }

    it("is told to stop at once when its caller leaves, and so is the iterable", async () => {
      const seen: string[] = [];
      const endless: ReturnType<Count> = {
        [Symbol.asyncIterator]: () => ({
          next: () => (seen.push("next"), seen.length === 1 ? later({ number: 1 }) : new Promise<never>(() => {})),
          return: async () => (seen.push("return"), { done: true as const, value: undefined }),
        }),
      };
      const stopped = Promise.withResolvers<unknown>();
      await using http = await start(
        (_request, { signal }) => {
          signal.addEventListener("abort", () => stopped.resolve(signal.reason));
          return endless;
        },
        { settings },
      );
      const caller = new AbortController();
      const leaving = leave(http, name, caller.signal);
      await until(() => seen.length === 2);
      caller.abort();
      assert.equal(AppError.from(await stopped.promise).status, "cancelled");
      await until(() => seen.at(-1) === "return");
      await leaving;
      assert.deepEqual(seen, ["next", "next", "return"]);
      const line = await accessLine(http);
      assert.deepEqual([line.status, line.code, line.messages_sent], [499, "ERR_CANCELLED", 1]);
      assert.deepEqual(await http.reports(), []);
    });

    it("goes on while the server drains, and at the limit ends as unavailable before its connection does", async () => {
      const stopped = Promise.withResolvers<unknown>();
      const go = Promise.withResolvers<void>();
      let isTaken = false;
      await using http = await start(
        async function* (_request, { signal }) {
          yield { number: 1 };
          await go.promise;
          yield { number: 2 };
          isTaken = true;
          await once(signal, "abort");
          stopped.resolve(signal.reason);
        },
        { settings },
      );
      const reply = call(http, count, { body: envelope({}) });
      await until(async () => (await metric(http, "http_server_active_requests")) === 1);
      const limit = new AbortController();
      const drained = http.server.drain({ signal: limit.signal });
      go.resolve();
      await until(() => isTaken);
      limit.abort();
      await drained;
      const { messages, end } = await reply;
      assert.deepEqual([messages.length, end?.error?.code], [2, "unavailable"]);
      assert.equal(told(end?.error)[2], "ERR_SERVER_STOPPING");
      assert.equal(AppError.from(await stopped.promise).code, "ERR_SERVER_STOPPING");
      const line = await accessLine(http);
      assert.deepEqual([line.status, line.code], [503, "ERR_SERVER_STOPPING"]);
      assert.deepEqual(await http.reports(), []);
    });
  });
}

describe("a stream of replies", () => {
  it("is binary for who sends binary, its end in JSON", async () => {
    await using http = await start();
    const body = framed(toBinary(CountRequestSchema, create(CountRequestSchema, { to: 2 })));
    const headers = { "content-type": "application/connect+proto" };
    const { messages, end, headers: head } = await callStream(http, count, { body, headers });
    assert.equal(head["content-type"], "application/connect+proto");
    assert.deepEqual(
      [messages.map(({ text }) => [...Buffer.from(text)]), end],
      [
        [
          [8, 1],
          [8, 2],
        ],
        {},
      ],
    );
  });

  it("sends each message as it comes", async () => {
    const go = Promise.withResolvers<void>();
    await using http = await start(async function* () {
      yield { number: 1 };
      await go.promise;
      yield { number: 2 };
    });
    const connection = http.connect();
    connection.write(rawCall({}));
    await connection.until('{"number":1}');
    assert.doesNotMatch(connection.received, /"number":2/);
    go.resolve();
    await connection.until('{"number":2}');
    connection.destroy();
  });

  it("that is silent sends its head after a second", async () => {
    const clock = new FakeClock();
    const reached = Promise.withResolvers<void>();
    await using http = await start(
      async function* (_request, call) {
        call.setReplyHeader("x-leading", "early");
        reached.resolve();
        await once(call.signal, "abort");
        yield {};
      },
      { clock },
    );
    const connection = http.connect();
    connection.write(rawCall({}));
    await reached.promise;
    await clock.advance(999);
    assert.equal(connection.received, "");
    await clock.advance(1);
    await connection.until("x-leading: early");
    await connection.until("\r\n\r\n");
    connection.destroy();
    await until(() => http.lines.withMessage("request").length === 1);
  });

  it("takes no more from its handler than its caller reads", async () => {
    let taken = 0;
    await using http = await start(async function* () {
      for (; taken < 400; taken++) yield { padding: new Uint8Array(65_536) };
    });
    const asked = request(`${http.origin}${count}`, {
      method: "POST",
      headers: { "content-type": "application/connect+json" },
    });
    asked.end(envelope({}));
    const response = await new Promise<IncomingMessage>((resolve) => void asked.once("response", resolve));
    for (let still = 0, before = taken; still < 200; still++, before = taken) {
      await new Promise(setImmediate);
      if (taken !== before) still = 0;
    }
    assert.ok(taken < 200, `${taken} of 64 KiB each`);
    for await (const chunk of response) void chunk;
    assert.equal(taken, 400);
  });

  it("runs in the context of its request, to the last message", async () => {
    const ids = new Set<string | undefined>();
    await using http = await start(async function* ({ to }) {
      for (let number = 1; number <= to; number++) {
        ids.add(currentContext()?.requestId);
        yield { number, padding: new Uint8Array(40_000) };
      }
    });
    const reply = await callStream(http, count, { body: envelope({ to: 20 }) });
    assert.deepEqual([...ids], [reply.headers["x-request-id"]]);
  });

  for (const header of ["connect-timeout-ms", "plinth-timeout-ms"]) {
    it(`has the time of its caller by ${header}, more than the server gives to others, and none by itself`, async () => {
      const clock = new FakeClock();
      const signals: AbortSignal[] = [];
      await using http = await start(
        async function* (_request, call) {
          yield { number: 1 };
          signals.push(call.signal);
          await once(call.signal, "abort");
        },
        { clock, settings: { deadlineMs: 100 } },
      );
      const untimed = http.connect();
      untimed.write(rawCall({}));
      await until(() => signals.length === 1);
      const reply = callStream(http, count, { body: envelope({}), headers: { [header]: "5000" } });
      await until(() => signals.length === 2);
      await clock.advance(4_999);
      assert.equal(signals[1]?.aborted, false);
      await clock.advance(1);
      const { messages, end } = await reply;
      assert.deepEqual([messages.length, end?.error?.code], [1, "deadline_exceeded"]);
      assert.equal(signals[0]?.aborted, false);
      const line = await accessLine(http);
      assert.deepEqual([line.status, line.code], [504, "ERR_DEADLINE_EXCEEDED"]);
      assert.deepEqual(await http.reports(), []);
      untimed.destroy();
    });
  }

  it("is for those alone who may call the method", async () => {
    const authenticator = { authenticate: () => undefined };
    await using http = await start(undefined, { authenticator, service: { scopes: ["count"] } });
    const { status, end, messages } = await callStream(http, count, { body: envelope({ to: 1 }) });
    assert.deepEqual([status, messages, end?.error?.code], [200, [], "unauthenticated"]);
    assert.equal((await accessLine(http)).status, 401);
  });

  it("of what is no async iterable, or yields what is no message, is a fault", async () => {
    const broken: unknown[] = [undefined, [null]];
    for (const replies of broken) {
      const handlers = { count: echoHandlers.count };
      Reflect.set(handlers, "count", () => replies);
      await using http = await start(handlers.count);
      const { end } = await callStream(http, count, { body: envelope({}) });
      assert.equal(end?.error?.code, "internal");
      assert.equal((await http.reports()).length, 1);
    }
  });
});

const zipped = gzipSync('{"to":1}');
const gzip = { "connect-content-encoding": "gzip" };

describe("what is sent to a method with a stream of replies", () => {
  it("may be compressed", async () => {
    await using http = await start();
    const { messages, end } = await callStream(http, count, { body: framed(zipped, 1), headers: gzip });
    assert.deepEqual([messages.length, end], [1, {}]);
  });

  const one = envelope({ to: 1 });
  const bomb = gzipSync(JSON.stringify({ to: 1, padding: 0, x: "x".repeat(100_000) }));
  const refused: readonly (readonly [string, Buffer, Record<string, string>, string])[] = [
    ["no message", Buffer.alloc(0), {}, "unimplemented"],
    ["a second message", Buffer.concat([one, one]), {}, "unimplemented"],
    ["half a prefix", one.subarray(0, 3), {}, "invalid_argument"],
    ["half a message", one.subarray(0, -1), {}, "invalid_argument"],
    ["bytes after its message", Buffer.concat([one, Buffer.from([0])]), {}, "invalid_argument"],
    ["a length above the limit", Buffer.from([0, 255, 255, 255, 255]), {}, "resource_exhausted"],
    ["a message above the limit", envelope({ to: 1, x: "x".repeat(20_000) }), {}, "resource_exhausted"],
    ["a message that is compressed, and no word of how", framed(zipped, 1), {}, "invalid_argument"],
    ["a message that is no gzip", framed(Buffer.from("{}"), 1), gzip, "invalid_argument"],
    ["a message that becomes more than the limit", framed(bomb, 1), gzip, "resource_exhausted"],
    ["another encoding", one, { "connect-content-encoding": "br" }, "unimplemented"],
    ["the flag of an end", envelope({ to: 1 }, 2), {}, "invalid_argument"],
    ["an end after its message", Buffer.concat([one, envelope({}, 2)]), {}, "unimplemented"],
    ["a flag that means nothing", envelope({ to: 1 }, 4), {}, "invalid_argument"],
    ["all flags", envelope({ to: 1 }, 255), gzip, "invalid_argument"],
    ["what is no JSON", framed(Buffer.from("{")), {}, "invalid_argument"],
    ["what is no message of the type", envelope({ to: "many" }), {}, "invalid_argument"],
    ["another version of the protocol", one, { "connect-protocol-version": "2" }, "invalid_argument"],
  ];
  for (const [name, body, headers, code] of refused) {
    it(`is refused with ${name}: ${code}`, async () => {
      let called = 0;
      await using http = await start(
        async function* () {
          called++;
          yield {};
        },
        { settings: { maxBodyBytes: 10_000 } },
      );
      const { status, messages, end } = await callStream(http, count, { body, headers });
      assert.deepEqual([status, messages, end?.error?.code, called], [200, [], code, 0]);
      assert.deepEqual(await http.reports(), []);
      const after = await callStream(http, count, { body: one });
      assert.deepEqual([after.messages.length, called], [1, 1], "it serves others");
    });
  }

  for (const type of ["application/json", "application/proto", "text/plain", "application/connect+xml"]) {
    it(`is refused as ${type}, with what it is to be`, async () => {
      await using http = await start();
      const { status, headers, text } = await callStream(http, count, {
        body: Buffer.from("{}"),
        headers: { "content-type": type },
      });
      assert.deepEqual(
        [status, headers["accept-post"], JSON.parse(text).code],
        [415, "application/connect+json, application/connect+proto", "invalid_argument"],
      );
      assert.equal((await accessLine(http)).status, 415);
    });
  }

  it("is sent by POST", async () => {
    await using http = await start();
    const response = await http.fetch(count);
    assert.deepEqual([response.status, response.headers.get("allow")], [405, "POST"]);
    await response.arrayBuffer();
  });
});

async function accessLine(http: TestHttp) {
  await until(() => http.lines.withMessage("request").length > 0);
  return http.lines.withMessage("request")[0] ?? {};
}

/** What an error says: status, text, and of its ErrorInfo the code and the id. */
function told(error: StreamedError | undefined): unknown[] {
  const value = Buffer.from(error?.details[0]?.value ?? "", "base64");
  const info = fromBinary(ErrorInfoSchema, value);
  return [error?.code, error?.message, info.reason, info.metadata.id];
}

async function later<T>(value: T): Promise<{ readonly done: false; readonly value: T }> {
  return { done: false, value };
}

/** Calls, and leaves when the signal aborts. */
async function leave(http: TestHttp, way: string, signal: AbortSignal): Promise<void> {
  if (way === "HTTP/1.1") {
    const connection: RawConnection = http.connect();
    connection.write(rawCall({}));
    await once(signal, "abort");
    connection.destroy();
    return;
  }
  const { connect } = await import("node:http2");
  const session = connect(http.origin);
  const stream = session.request({
    ":method": "POST",
    ":path": count,
    "content-type": "application/connect+json",
  });
  stream.on("error", () => {});
  stream.end(envelope({}));
  await once(signal, "abort");
  stream.close(8);
  session.close();
}
