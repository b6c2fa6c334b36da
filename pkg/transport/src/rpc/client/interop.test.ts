import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import type { Server } from "node:net";
import { describe, it } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, createClient, type HandlerContext } from "@connectrpc/connect";
import { compressionGzip, connectNodeAdapter, createConnectTransport } from "@connectrpc/connect-node";
import {
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  Server as GrpcServer,
  ServerCredentials,
  status,
} from "@grpc/grpc-js";
import { AppError } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../../gen/google/rpc/status_pb.ts";
import {
  CollectResponseSchema,
  CountResponseSchema,
  EchoService,
  SayResponseSchema,
} from "../../gen/plinth/transport/testing/v1/echo_pb.ts";
import { LookService } from "../../gen/plinth/transport/testing/v1/look_pb.ts";
import { createGrpcChannel } from "../../grpc/client/channel.ts";
import { startHttp, type TestHttp } from "../../testing/http.ts";
import { echoHandlers } from "../../testing/grpc.ts";
import { connectRoutes } from "../connect.ts";
import { type RpcHandlers, rpcService } from "../service.ts";
import { createRpcClient } from "./client.ts";
import { createConnectChannel } from "./connect-channel.ts";

describe("connect-node's client of our server", () => {
  const start = (say: RpcHandlers<typeof EchoService>["say"]): Promise<TestHttp> =>
    startHttp({
      routes: connectRoutes([
        rpcService(EchoService, { ...echoHandlers, say }),
        rpcService(LookService, { look: ({ text }) => ({ text }) }),
      ]),
    });

  for (const useBinaryFormat of [true, false]) {
    const codec = useBinaryFormat ? "binary" : "JSON";

    it(`calls in ${codec}, compressed, with metadata both ways`, async () => {
      await using http = await start(({ text, big, data }, call) => {
        call.setReplyHeader("x-leading", call.header("x-given") ?? "");
        call.setReplyTrailer("x-trailing", "after");
        return { text: `${text.length} ${String(call.header("content-encoding"))}`, big, data };
      });
      const transport = createConnectTransport({
        httpVersion: "1.1",
        baseUrl: http.origin,
        useBinaryFormat,
        sendCompression: compressionGzip,
      });
      const seen: unknown[] = [];
      const reply = await createClient(EchoService, transport).say(
        { text: "x".repeat(5_000), big: 2n ** 62n, data: Uint8Array.of(0, 255) },
        {
          headers: { "x-given": "yes" },
          onHeader: (headers) => seen.push(headers.get("x-leading")),
          onTrailer: (trailers) => seen.push(trailers.get("x-trailing")),
        },
      );
      assert.deepEqual([reply.text, reply.big, [...reply.data]], ["5000 gzip", 2n ** 62n, [0, 255]]);
      assert.deepEqual(seen, ["yes", "after"]);
    });

    it(`calls a method without side effects by GET in ${codec}`, async () => {
      await using http = await start(() => ({}));
      const transport = createConnectTransport({
        httpVersion: "1.1",
        baseUrl: http.origin,
        useBinaryFormat,
        useHttpGet: true,
      });
      const reply = await createClient(LookService, transport).look({ text: "hé &=+%" });
      assert.equal(reply.text, "hé &=+%");
      await until(() => http.lines.withMessage("request").length === 1);
      assert.equal(http.lines.withMessage("request")[0]?.method, "GET");
    });

    it(`hears of errors in ${codec} with their details`, async () => {
      await using http = await start(() => {
        throw AppError.notFound("ERR_NOTE_GONE", "no such note", { metadata: { id: "5" } });
      });
      const transport = createConnectTransport({ httpVersion: "1.1", baseUrl: http.origin, useBinaryFormat });
      const error = await thrownBy(createClient(EchoService, transport).say({}));
      assert.ok(error instanceof ConnectError);
      assert.deepEqual([error.code, error.rawMessage], [Code.NotFound, "no such note"]);
      const [info] = error.findDetails(ErrorInfoSchema);
      assert.deepEqual([info?.reason, info?.metadata.id], ["ERR_NOTE_GONE", "5"]);
    });
  }

  it("has its deadline and its cancelling heard", async () => {
    let stopped: unknown;
    let isReached = false;
    await using http = await start((_request, call) => {
      isReached = true;
      call.signal.addEventListener("abort", () => (stopped = call.signal.reason));
      return new Promise(() => {});
    });
    const transport = createConnectTransport({ httpVersion: "1.1", baseUrl: http.origin });
    const client = createClient(EchoService, transport);
    const late = await thrownBy(client.say({}, { timeoutMs: 60 }));
    assert.equal(ConnectError.from(late).code, Code.DeadlineExceeded);
    await until(() => stopped !== undefined);
    [isReached, stopped] = [false, undefined];
    const caller = new AbortController();
    const cancelled = thrownBy(client.say({}, { signal: caller.signal }));
    await until(() => isReached);
    caller.abort();
    assert.equal(ConnectError.from(await cancelled).code, Code.Canceled);
    await until(() => AppError.from(stopped).status === "cancelled");
  });

  for (const httpVersion of ["1.1", "2"] as const) {
    for (const useBinaryFormat of [true, false]) {
      it(`reads streams over HTTP/${httpVersion} in ${useBinaryFormat ? "binary" : "JSON"}, with metadata and errors`, async () => {
        await using http = await startHttp({
          settings: { http2: true },
          routes: connectRoutes([
            rpcService(EchoService, {
              ...echoHandlers,
              async *count({ to }, call) {
                call.setReplyHeader("x-leading", call.header("x-given") ?? "");
                for (let number = 1; number <= to; number++) yield { number };
                call.setReplyTrailer("x-trailing", "after");
                if (to === 2) throw AppError.notFound("ERR_NOTE_GONE", "no such note", { metadata: { id: "5" } });
              },
            }),
          ]),
        });
        const transport = createConnectTransport({
          httpVersion,
          baseUrl: http.origin,
          useBinaryFormat,
          sendCompression: compressionGzip,
          compressMinBytes: 0,
        });
        const client = createClient(EchoService, transport);
        const seen: unknown[] = [];
        const options = {
          headers: { "x-given": "yes" },
          onHeader: (headers: Headers) => seen.push(headers.get("x-leading")),
          onTrailer: (trailers: Headers) => seen.push(trailers.get("x-trailing")),
        };
        const counted = await Array.fromAsync(client.count({ to: 3 }, options), ({ number }) => number);
        assert.deepEqual(
          [counted, seen],
          [
            [1, 2, 3],
            ["yes", "after"],
          ],
        );
        const error = ConnectError.from(await thrownBy(Array.fromAsync(client.count({ to: 2 }))));
        assert.deepEqual([error.code, error.rawMessage], [Code.NotFound, "no such note"]);
        assert.equal(error.findDetails(ErrorInfoSchema)[0]?.reason, "ERR_NOTE_GONE");
        const refused = ConnectError.from(await thrownBy(client.collect(texts("a"))));
        assert.equal(refused.code, Code.Unimplemented);
      });
    }
  }

  it("has the deadline and the cancelling of its streams heard", async () => {
    const reasons: unknown[] = [];
    await using http = await startHttp({
      routes: connectRoutes([
        rpcService(EchoService, {
          ...echoHandlers,
          async *count(_request, { signal }) {
            yield { number: 1 };
            await once(signal, "abort");
            reasons.push(AppError.from(signal.reason).status);
          },
        }),
      ]),
    });
    const client = createClient(EchoService, createConnectTransport({ httpVersion: "1.1", baseUrl: http.origin }));
    const late = ConnectError.from(await thrownBy(Array.fromAsync(client.count({}, { timeoutMs: 60 }))));
    assert.equal(late.code, Code.DeadlineExceeded);
    await until(() => reasons.length === 1);
    const caller = new AbortController();
    const reading = thrownBy(Array.fromAsync(client.count({}, { signal: caller.signal }), () => caller.abort()));
    assert.equal(ConnectError.from(await reading).code, Code.Canceled);
    await until(() => reasons.length === 2);
    assert.equal(reasons[1], "cancelled");
  });
});

/** Our contract on connect-node's router, for both of its wires. */
function onConnectNode(seen: HandlerContext[] = []) {
  const service = {
    say: ({ text, big, data }: { text: string; big: bigint; data: Uint8Array }, context: HandlerContext) => {
      seen.push(context);
      context.responseHeader.set("x-leading", context.requestHeader.get("x-given") ?? "");
      context.responseTrailer.set("x-trailing", "after");
      // connect-node keeps its timer until the handler has ended
      if (text === "wait")
        return new Promise<never>((_resolve, reject) => {
          context.signal.addEventListener("abort", () => reject(ConnectError.from(context.signal.reason)));
        });
      if (text === "throw") throw new Error("hunter2");
      if (text !== "fail") return { text, big, data };
      throw quota();
    },
    async *count({ to, padding }: { to: number; padding: number }, context: HandlerContext) {
      context.responseHeader.set("x-leading", context.requestHeader.get("x-given") ?? "");
      context.responseTrailer.set("x-trailing", "after");
      for (let number = 1; number <= Math.abs(to); number++) yield { number, padding: new Uint8Array(padding) };
      if (to < 0) throw quota();
    },
    async collect(requests: AsyncIterable<{ text: string }>) {
      const texts: string[] = [];
      for await (const { text } of requests) texts.push(text);
      return { text: texts.join(" ") };
    },
    async *chat(requests: AsyncIterable<{ text: string }>) {
      for await (const { text } of requests) yield { text: `you said ${text}` };
    },
  };
  return connectNodeAdapter({ routes: (router: ConnectRouter) => void router.service(EchoService, service) });
}

function quota(): ConnectError {
  return new ConnectError("no more", Code.ResourceExhausted, undefined, [
    { desc: ErrorInfoSchema, value: { reason: "QUOTA", domain: "example.com", metadata: { limit: "5" } } },
  ]);
}

/** A foreign server, and a channel of ours to it. */
const peers = [
  {
    name: "connect-node over HTTP/1.1, in binary",
    streams: false,
    start: async (seen: HandlerContext[]) => {
      const { port, stop } = await listening(createServer(onConnectNode(seen)));
      return { stop, channel: await createConnectChannel({ peer: "echo", url: `http://127.0.0.1:${port}` }) };
    },
  },
  {
    name: "connect-node over HTTP/1.1, in JSON, compressed",
    streams: false,
    start: async (seen: HandlerContext[]) => {
      const { port, stop } = await listening(createServer(onConnectNode(seen)));
      const url = `http://127.0.0.1:${port}`;
      return { stop, channel: await createConnectChannel({ peer: "echo", url, codec: "json", acceptGzip: true }) };
    },
  },
  {
    name: "connect-node over gRPC",
    streams: true,
    start: async (seen: HandlerContext[]) => {
      const { port, stop } = await listening(createHttp2Server(onConnectNode(seen)));
      return { stop, channel: await createGrpcChannel({ peer: "echo", address: `127.0.0.1:${port}` }) };
    },
  },
] as const;

for (const { name, streams, start } of peers) {
  describe(`our client of ${name}`, () => {
    it("calls, with metadata both ways", async () => {
      const { channel, stop } = await start([]);
      const seen: unknown[] = [];
      const reply = await createRpcClient(EchoService, { channel }).say(
        { text: "é".repeat(3_000), big: 2n ** 62n, data: Uint8Array.of(0, 255) },
        {
          headers: { "x-given": "yes" },
          onHeaders: (headers) => seen.push(headers["x-leading"]),
          onTrailers: (trailers) => seen.push(trailers["x-trailing"]),
        },
      );
      assert.deepEqual([reply.text.length, reply.big, [...reply.data]], [3_000, 2n ** 62n, [0, 255]]);
      assert.deepEqual(seen, ["yes", "after"]);
      await channel.close();
      await stop();
    });

    it("hears of its errors with their details, and of none of its faults", async () => {
      const { channel, stop } = await start([]);
      const client = createRpcClient(EchoService, { channel });
      const error = AppError.from(await thrownBy(client.say({ text: "fail" })));
      assert.deepEqual(
        [error.code, error.status, error.message, { ...error.metadata }],
        ["QUOTA", "resource_exhausted", "no more", { limit: "5" }],
      );
      const fault = AppError.from(await thrownBy(client.say({ text: "throw" })));
      assert.deepEqual([fault.code, fault.status], ["ERR_RPC_FAILED", "internal"]);
      assert.doesNotMatch(fault.message, /hunter2/);
      await channel.close();
      await stop();
    });

    it("has its deadline and its cancelling heard", async () => {
      const seen: HandlerContext[] = [];
      const { channel, stop } = await start(seen);
      const client = createRpcClient(EchoService, { channel, timeoutMs: 60 });
      await assert.rejects(client.say({ text: "wait" }), { code: "ERR_DEADLINE_EXCEEDED" });
      const leftMs = seen[0]?.timeoutMs() ?? Infinity;
      assert.ok(leftMs <= 60, String(leftMs));
      const caller = new AbortController();
      const cancelled = client.say({ text: "wait" }, { signal: caller.signal, timeoutMs: 60_000 });
      await until(() => seen.length === 2);
      caller.abort();
      await assert.rejects(cancelled, { code: "ERR_CANCELLED" });
      await until(() => seen[1]?.signal.aborted === true);
      await channel.close();
      await stop();
    });

    it("reads streams, with metadata both ways and their errors", async () => {
      const { channel, stop } = await start([]);
      const client = createRpcClient(EchoService, { channel });
      const seen: unknown[] = [];
      const counted = await Array.fromAsync(
        client.count(
          { to: 3, padding: 5_000 },
          {
            headers: { "x-given": "yes" },
            onHeaders: (headers) => seen.push(headers["x-leading"]),
            onTrailers: (trailers) => seen.push(trailers["x-trailing"]),
          },
        ),
        ({ number, padding }) => [number, padding.length],
      );
      assert.deepEqual([counted, seen], [[1, 2, 3].map((number) => [number, 5_000]), ["yes", "after"]]);
      const numbers: number[] = [];
      const failing = async (): Promise<void> => {
        for await (const { number } of client.count({ to: -2 })) numbers.push(number);
      };
      const error = AppError.from(await thrownBy(failing()));
      assert.deepEqual(
        [numbers, error.code, error.status, error.message, { ...error.metadata }],
        [[1, 2], "QUOTA", "resource_exhausted", "no more", { limit: "5" }],
      );
      await channel.close();
      await stop();
    });

    it(streams ? "sends streams" : "sends no streams", async () => {
      const { channel, stop } = await start([]);
      const client = createRpcClient(EchoService, { channel });
      if (streams) {
        assert.equal((await client.collect(texts("a", "b"))).text, "a b");
        assert.deepEqual(await Array.fromAsync(client.chat(texts("x")), ({ text }) => text), ["you said x"]);
      } else await assert.rejects(client.collect(texts("a")), { code: "ERR_RPC_REQUEST" });
      await channel.close();
      await stop();
    });
  });
}

describe("our client of a plain server of grpc-js", () => {
  it("calls in all ways, and hears of metadata, errors with details and those without", async () => {
    const server = new GrpcServer();
    const path = (name: string): string => `/${EchoService.typeName}/${name}`;
    const bytesOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes);
    const register = (name: string, handler: Handler, type: string): void =>
      void server.register(path(name), handler, bytesOf, bytesOf, type);
    const say: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
      const text = call.metadata.get("x-given").join();
      if (text === "fail") callback(toFailure());
      else if (text === "bare") callback({ code: status.ALREADY_EXISTS, details: "there is one" });
      else {
        const [leading, trailing] = [new Metadata(), new Metadata()];
        leading.set("x-leading", text);
        trailing.set("x-trailing", "after");
        call.sendMetadata(leading);
        callback(null, Buffer.from(toBinary(SayResponseSchema, create(SayResponseSchema, { text }))), trailing);
      }
    };
    const count: handleServerStreamingCall<Buffer, Buffer> = (call) => {
      for (const number of [1, 2])
        call.write(Buffer.from(toBinary(CountResponseSchema, create(CountResponseSchema, { number }))));
      call.end();
    };
    const collect: handleClientStreamingCall<Buffer, Buffer> = (call, callback) => {
      let messages = 0;
      call.on("data", () => messages++);
      call.on("end", () => {
        const reply = create(CollectResponseSchema, { text: String(messages) });
        callback(null, Buffer.from(toBinary(CollectResponseSchema, reply)));
      });
    };
    const chat: handleBidiStreamingCall<Buffer, Buffer> = (call) => {
      call.on("data", (bytes: Buffer) => call.write(bytes));
      call.on("end", () => call.end());
    };
    register("Say", say, "unary");
    register("Count", count, "serverStream");
    register("Collect", collect, "clientStream");
    register("Chat", chat, "bidi");
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    const channel = await createGrpcChannel({ peer: "echo", address: `127.0.0.1:${port}` });
    const client = createRpcClient(EchoService, { channel });
    const seen: unknown[] = [];
    const reply = await client.say(
      {},
      {
        headers: { "x-given": "yes" },
        onHeaders: (headers) => seen.push(headers["x-leading"]),
        onTrailers: (trailers) => seen.push(trailers["x-trailing"]),
      },
    );
    assert.deepEqual([reply.text, ...seen], ["yes", "yes", "after"]);
    assert.deepEqual(await Array.fromAsync(client.count({ to: 2 }), ({ number }) => number), [1, 2]);
    assert.equal((await client.collect(texts("a", "b", "c"))).text, "3");
    assert.deepEqual(await Array.fromAsync(client.chat(texts("x", "y")), ({ text }) => text), ["x", "y"]);
    const error = AppError.from(await thrownBy(client.say({}, { headers: { "x-given": "fail" } })));
    assert.deepEqual(
      [error.code, error.status, { ...error.metadata }],
      ["QUOTA", "resource_exhausted", { limit: "5" }],
    );
    const bare = AppError.from(await thrownBy(client.say({}, { headers: { "x-given": "bare" } })));
    assert.deepEqual([bare.code, bare.status, bare.message], ["ERR_RPC_FAILED", "already_exists", "there is one"]);
    await channel.close();
    server.forceShutdown();
  });
});

type Handler =
  | handleUnaryCall<Buffer, Buffer>
  | handleServerStreamingCall<Buffer, Buffer>
  | handleClientStreamingCall<Buffer, Buffer>
  | handleBidiStreamingCall<Buffer, Buffer>;

function toFailure(): { code: status; details: string; metadata: Metadata } {
  const info = create(ErrorInfoSchema, { reason: "QUOTA", domain: "example.com", metadata: { limit: "5" } });
  const details = [
    { typeUrl: `type.googleapis.com/${ErrorInfoSchema.typeName}`, value: toBinary(ErrorInfoSchema, info) },
  ];
  const metadata = new Metadata();
  metadata.set(
    "grpc-status-details-bin",
    Buffer.from(toBinary(StatusSchema, create(StatusSchema, { code: 8, details }))),
  );
  return { code: status.RESOURCE_EXHAUSTED, details: "no more", metadata };
}

async function listening(
  server: Server & { closeAllConnections?(): void },
): Promise<{ readonly port: number; readonly stop: () => Promise<void> }> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const stop = async (): Promise<void> => {
    server.close();
    server.closeAllConnections?.();
  };
  return { port: address.port, stop };
}

async function thrownBy(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  throw new Error("the call succeeded");
}

async function* texts(...all: readonly string[]) {
  for (const text of all) yield { text };
}
