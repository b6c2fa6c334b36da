import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { AppError, createMetrics } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import { createMemoryRegistry } from "@plinth/registry";
import * as fc from "fast-check";
import type { Dispatcher } from "undici";
import { CountResponseSchema, EchoService } from "../../gen/plinth/transport/testing/v1/echo_pb.ts";
import { framed } from "../../grpc/messages.ts";
import { envelope } from "../../testing/connect-streams.ts";
import { startInstance } from "../../testing/instances.ts";
import { startRpc } from "../../testing/rpc-clients.ts";
import type { RpcCall } from "../service.ts";
import { createRpcClient } from "./client.ts";
import { type ConnectChannelOptions, createConnectChannel } from "./connect-channel.ts";
import { readStream } from "./connect-stream.ts";
import { RpcError } from "./errors.ts";

const end = envelope({}, 2);
const message = (number: number): Buffer => framed(bytesOf(number));
const streaming = { "content-type": "application/connect+proto" };

describe("a stream of replies over HTTP, as a client reads it", () => {
  it("is the same wherever its bytes are cut, and is read no faster than it is asked for", async () => {
    const cut = fc.record({
      sizes: fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 12 }),
      borders: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 }),
      zipped: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(cut, async ({ sizes, borders, zipped }) => {
        const messages = sizes.map((size, at) => Buffer.alloc(size, at + 1));
        const frames = messages.map((bytes) => (zipped ? framed(gzipSync(bytes), 1) : framed(bytes)));
        const last = envelope({ metadata: { "X-Trailing": ["a", "b"] } }, 2);
        const whole = Buffer.concat([...frames, last]);
        const dispatcher = new Pieces(cutAt(whole, borders));
        const trailers: unknown[] = [];
        const read = readStream(dispatcher.typed, call, {
          ...reading(),
          onTrailers: (told) => trailers.push(told),
        });
        let [at, needed] = [0, 0];
        for await (const bytes of read) {
          await new Promise(setImmediate);
          needed += frames[at]?.length ?? 0;
          assert.deepEqual(bytes, messages[at++]);
          assert.ok(dispatcher.before < needed, "a piece came that this message has no part in");
        }
        assert.deepEqual([at, trailers], [messages.length, [{ "x-trailing": "a, b" }]]);
      }),
      { seed: 20_261_123, numRuns: 60 },
    );
  });

  it("takes no more from the server than is read", async () => {
    let written = 0;
    await using rpc = await startRpc("connect-proto", {
      handlers: {
        async *count({ to, padding }) {
          for (let number = 1; number <= to; number++) {
            written = number;
            yield { number, padding: new Uint8Array(padding) };
          }
        },
      },
    });
    const replies = rpc.client.count({ to: 1_000, padding: 50_000 })[Symbol.asyncIterator]();
    await replies.next();
    for (let before = -1; written !== before;) {
      before = written;
      for (let turn = 0; turn < 500; turn++) await new Promise(setImmediate);
    }
    assert.ok(written < 200, `${written} messages of 50 kB written, one read`);
    let read = 1;
    while ((await replies.next()).done !== true) read++;
    assert.equal(read, 1_000);
  });

  it("may be long, each message within the limit; one above it ends the stream, and its connection", async () => {
    const gone = Promise.withResolvers<void>();
    await using rpc = await startRpc("connect-proto", {
      connect: { maxReplyBytes: 1_000 },
      handlers: {
        async *count({ to, padding }, { signal }) {
          for (let number = 1; number <= to; number++) yield { number, padding: new Uint8Array(padding) };
          if (to !== 3) return;
          signal.addEventListener("abort", () => gone.resolve());
          yield { padding: new Uint8Array(1_001) };
          await once(signal, "abort");
        },
      },
    });
    assert.equal((await Array.fromAsync(rpc.client.count({ to: 20, padding: 900 }))).length, 20);
    const numbers: number[] = [];
    const failing = failureOf(rpc.client.count({ to: 3 }), ({ number }) => numbers.push(number));
    const error = await failing;
    assert.deepEqual([error.code, error.status, numbers], ["ERR_RPC_REPLY_TOO_LARGE", "resource_exhausted", [1, 2, 3]]);
    await gone.promise;
  });

  for (const leaving of ["cancelled", "late", "left alone", "closed with its channel"] as const) {
    it(`that is ${leaving} ends at once, and its handler is told`, async () => {
      const clock = new FakeClock();
      const reached = Promise.withResolvers<RpcCall>();
      const metrics = createMetrics();
      await using rpc = await startRpc("connect-json", {
        clock,
        connect: { metrics, clock },
        handlers: {
          async *count(_request, served) {
            yield { number: 1 };
            reached.resolve(served);
            await new Promise(() => {}); // whatever it is told
          },
        },
      });
      const caller = new AbortController();
      const timeoutMs = leaving === "late" ? 5_000 : undefined;
      const replies = rpc.client.count({}, { signal: caller.signal, timeoutMs })[Symbol.asyncIterator]();
      assert.equal((await replies.next()).done, false);
      const { signal } = await reached.promise;
      let code: string | undefined;
      if (leaving === "left alone") await replies.return?.();
      else {
        const next = replies.next();
        const failed = next.then(
          () => undefined,
          (error: unknown) => AppError.from(error).code,
        );
        if (leaving === "cancelled") caller.abort();
        else if (leaving === "late") await clock.advance(5_000);
        else await rpc.channel.close();
        code = await failed;
      }
      await until(() => signal.aborted);
      const codes = {
        cancelled: "ERR_CANCELLED",
        late: "ERR_DEADLINE_EXCEEDED",
        "left alone": undefined,
        "closed with its channel": "ERR_RPC_CLIENT_CLOSED",
      };
      assert.equal(code, codes[leaving]);
      const outcome = leaving === "late" ? "timeout" : "cancelled";
      await until(async () =>
        (await metrics.expose()).body.includes(`count{peer="echo",method="POST",status="${outcome}"} 1`),
      );
      await until(() => rpc.server.lines.withMessage("request").length === 1);
    });
  }

  it("comes from the next instance of a registry where one says that another is meant", async () => {
    const registry = createMemoryRegistry();
    const serve = (name: string, isMisdirected: boolean) =>
      startInstance(
        registry,
        name,
        (_request, reply) => {
          if (isMisdirected) reply.writeHead(421).end();
          else reply.writeHead(200, streaming).end(Buffer.concat([message(1), message(2), end]));
        },
        { identity: name },
      );
    await using _wrong = await serve("wrong", true);
    await using right = await serve("right", false);
    const channel = await createConnectChannel({ peer: "notes", registry });
    const client = createRpcClient(EchoService, { channel });
    for (let round = 1; round <= 4; round++)
      assert.deepEqual(await Array.fromAsync(client.count({}), ({ number }) => number), [1, 2]);
    assert.equal(right.hits, 4);
    await channel.close();
    await registry.close();
  });

  it("counts as what it ended with", async () => {
    const metrics = createMetrics();
    await using rpc = await startRpc("connect-proto", {
      connect: { metrics },
      handlers: {
        async *count({ to }) {
          yield { number: 1 };
          if (to === 1) throw AppError.notFound("ERR_NOTE_GONE", "no such note", { metadata: { id: "5" } });
        },
      },
    });
    await Array.fromAsync(rpc.client.count({}));
    const error = await failureOf(rpc.client.count({ to: 1 }));
    assert.deepEqual([error.code, error.status, { ...error.metadata }], ["ERR_NOTE_GONE", "not_found", { id: "5" }]);
    const { body } = await metrics.expose();
    for (const status of [200, 404])
      assert.ok(body.includes(`count{peer="echo",method="POST",status="${status}"} 1`), body);
    assert.match(body, /http_client_active_requests\{peer="echo"\} 0/);
  });

  it("is refused where as many calls as are allowed are under way", async () => {
    await using rpc = await startRpc("connect-proto", { connect: { maxPending: 1 } });
    const replies = rpc.client.count({ to: 2 })[Symbol.asyncIterator]();
    await replies.next();
    const error = await failureOf(rpc.client.count({}));
    assert.equal(error.code, "ERR_OVERLOADED");
    await replies.return?.();
    assert.equal((await Array.fromAsync(rpc.client.count({ to: 2 }))).length, 2);
  });
});

describe("a stream of replies from a server that", () => {
  const two = Buffer.concat([message(1), message(2)]);
  const zipped = framed(gzipSync(bytesOf(3)), 1);
  const gzip = { "connect-content-encoding": "gzip" };
  const cases: readonly (readonly [
    name: string,
    reply: Buffer,
    code: string,
    status: string,
    numbers: number[],
    options?: Partial<ConnectChannelOptions>,
  ])[] = [
    ["ends without a last message", http(two), "ERR_RPC_UNAVAILABLE", "unavailable", [1, 2]],
    ["ends without a word", http(Buffer.alloc(0)), "ERR_RPC_UNAVAILABLE", "unavailable", []],
    ["ends in a prefix", http(Buffer.concat([two, end.subarray(0, 3)])), "ERR_RPC_UNAVAILABLE", "unavailable", [1, 2]],
    ["ends in a message", http(two.subarray(0, -1)), "ERR_RPC_UNAVAILABLE", "unavailable", [1]],
    ["ends in its end", http(end.subarray(0, -1)), "ERR_RPC_UNAVAILABLE", "unavailable", []],
    ["is cut off", http(two).subarray(0, -5), "ERR_RPC_UNAVAILABLE", "unavailable", [1, 2]],
    ["says more after its end", http(Buffer.concat([end, message(1)])), "ERR_RPC_REPLY", "internal", []],
    ["ends twice", http(Buffer.concat([message(1), end, end])), "ERR_RPC_REPLY", "internal", [1]],
    ["has a byte after its end", http(Buffer.concat([end, Buffer.of(0)])), "ERR_RPC_REPLY", "internal", []],
    ["sets a flag that means nothing", http(framed(bytesOf(1), 4)), "ERR_RPC_REPLY", "internal", []],
    ["sets all flags", http(framed(bytesOf(1), 255)), "ERR_RPC_REPLY", "internal", []],
    [
      "says a length above the limit",
      http(Buffer.of(0, 255, 255, 255, 255)),
      "ERR_RPC_REPLY_TOO_LARGE",
      "resource_exhausted",
      [],
    ],
    [
      "has an end above the limit",
      http(Buffer.of(2, 255, 255, 255, 255)),
      "ERR_RPC_REPLY_TOO_LARGE",
      "resource_exhausted",
      [],
    ],
    ["compresses unasked", http(zipped, gzip), "ERR_RPC_REPLY", "internal", []],
    [
      "compresses in another way",
      http(zipped, { "connect-content-encoding": "br" }),
      "ERR_RPC_REPLY",
      "internal",
      [],
      { acceptGzip: true },
    ],
    ["does not say how it compresses", http(zipped), "ERR_RPC_REPLY", "internal", [], { acceptGzip: true }],
    [
      "compresses what is no gzip",
      http(framed(bytesOf(1), 1), gzip),
      "ERR_RPC_REPLY",
      "internal",
      [],
      { acceptGzip: true },
    ],
    [
      "compresses more than the limit",
      http(framed(gzipSync(Buffer.alloc(9_000)), 1), gzip),
      "ERR_RPC_REPLY_TOO_LARGE",
      "resource_exhausted",
      [],
      { acceptGzip: true, maxReplyBytes: 1_000 },
    ],
    ["compresses its whole reply", http(two, { "content-encoding": "gzip" }), "ERR_RPC_REPLY", "internal", []],
    [
      "sends what is no message",
      http(Buffer.concat([framed(Buffer.of(18, 127)), end])),
      "ERR_RPC_REPLY",
      "internal",
      [],
    ],
    [
      "answers by the other codec",
      http(end, { "content-type": "application/connect+json" }),
      "ERR_RPC_REPLY",
      "internal",
      [],
    ],
    [
      "answers as if there were one reply",
      http(bytesOf(1), { "content-type": "application/proto" }),
      "ERR_RPC_REPLY",
      "internal",
      [],
    ],
    ["answers HTML", http(Buffer.from("<html>"), { "content-type": "text/html" }), "ERR_RPC_REPLY", "internal", []],
    ["has an end that is no JSON", http(framed(Buffer.from("{"), 2)), "ERR_RPC_REPLY", "internal", []],
    ["has an end that is null", http(envelope(null, 2)), "ERR_RPC_REPLY", "internal", []],
    ["has an error that is none", http(envelope({ error: "no" }, 2)), "ERR_RPC_REPLY", "internal", []],
    ["has metadata that is none", http(envelope({ metadata: 5 }, 2)), "ERR_RPC_REPLY", "internal", []],
    ["fails without a code", http(envelope({ error: {} }, 2)), "ERR_RPC_FAILED", "unknown", []],
    [
      "fails after messages",
      http(Buffer.concat([two, envelope({ error: { code: "not_found", message: "no" } }, 2)])),
      "ERR_RPC_FAILED",
      "not_found",
      [1, 2],
    ],
    [
      "refuses in JSON",
      http(Buffer.from('{"code":"unauthenticated"}'), { "content-type": "application/json" }, 401),
      "ERR_RPC_FAILED",
      "unauthenticated",
      [],
    ],
    [
      "refuses as our servers do",
      http(Buffer.from('{"code":"ERR_OVERLOADED","detail":"x"}'), { "content-type": "application/problem+json" }, 503),
      "ERR_OVERLOADED",
      "unavailable",
      [],
    ],
    [
      "does not know the path",
      http(Buffer.from("<html>"), { "content-type": "text/html" }, 404),
      "ERR_RPC_REPLY",
      "unimplemented",
      [],
    ],
    ["takes no streams", http(Buffer.from(""), { "content-type": "text/html" }, 415), "ERR_RPC_REPLY", "unknown", []],
    ["closes without a reply", Buffer.alloc(0), "ERR_RPC_UNAVAILABLE", "unavailable", []],
  ];
  for (const [name, reply, code, status, expected, options] of cases) {
    it(`${name} fails with ${code} ${status}`, async () => {
      await using server = await answering((socket) => socket.end(reply));
      const { error, numbers } = await read(server.url, options);
      assert.deepEqual([error?.code, error?.status, numbers], [code, status, expected], String(error?.message));
      assert.ok(!(error instanceof RpcError) || !error.isUnsent);
      assert.doesNotMatch(error?.message ?? "", /<html|127\.0\.0\.1|ECONN/);
    });
  }

  it("compresses as it was asked to, the end too, is read", async () => {
    const reply = http(Buffer.concat([zipped, message(4), framed(gzipSync(Buffer.from("{}")), 3)]), gzip);
    await using server = await answering((socket) => socket.end(reply));
    assert.deepEqual(await read(server.url, { acceptGzip: true }), { error: undefined, numbers: [3, 4] });
  });

  it("is lost half way, is unavailable after what had come", async () => {
    await using server = await answering((socket) => {
      socket.write(http(two).subarray(0, -5), () => setImmediate(() => socket.resetAndDestroy()));
    });
    const { error } = await read(server.url);
    assert.deepEqual([error?.code, error?.retryable], ["ERR_RPC_UNAVAILABLE", true]);
  });

  it("is asked once more on the connection of a stream that has ended", async () => {
    let connections = 0;
    await using rpc = await startRpc("connect-proto", { connect: { maxConnections: 1 } });
    for (; connections < 3; connections++) assert.equal((await Array.fromAsync(rpc.client.count({ to: 3 }))).length, 3);
  });
});

function bytesOf(number: number): Uint8Array {
  return toBinary(CountResponseSchema, create(CountResponseSchema, { number }));
}

/** A reply of HTTP, in one chunk. */
function http(body: Uint8Array, headers: Record<string, string> = {}, status = 200): Buffer {
  const all = { ...streaming, "transfer-encoding": "chunked", ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  const chunk = body.length === 0 ? "" : `${body.length.toString(16)}\r\n`;
  return Buffer.concat([
    Buffer.from(`HTTP/1.1 ${status} X\r\n${lines.join("")}\r\n${chunk}`),
    body,
    Buffer.from(`${chunk === "" ? "" : "\r\n"}0\r\n\r\n`),
  ]);
}

/** Answers each connection once something has come on it. */
async function answering(answer: (socket: Socket) => void): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => answer(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return { url: `http://127.0.0.1:${address.port}`, [Symbol.asyncDispose]: async () => void server.close() };
}

/** What a stream gives until it fails. */
async function read(url: string, options: Partial<ConnectChannelOptions> = {}) {
  const channel = await createConnectChannel({ peer: "echo", url, ...options });
  const numbers: number[] = [];
  try {
    for await (const { number } of createRpcClient(EchoService, { channel }).count({}, { timeoutMs: 120_000 }))
      numbers.push(number);
    return { error: undefined, numbers };
  } catch (error) {
    if (!AppError.is(error)) throw error;
    return { error, numbers };
  } finally {
    await channel.close();
  }
}

async function failureOf<T>(replies: AsyncIterable<T>, take: (reply: T) => void = () => {}): Promise<AppError> {
  try {
    for await (const reply of replies) take(reply);
  } catch (error) {
    if (AppError.is(error)) return error;
    throw error;
  }
  throw new Error("the stream ended well");
}

const call = { method: "POST", path: "/x", headers: {}, body: Buffer.alloc(0) } as const;

function reading() {
  return {
    target: { peer: "echo", method: "x" },
    codec: "proto" as const,
    acceptGzip: true,
    maxBytes: 1_000,
    signal: new AbortController().signal,
    onHeaders: undefined,
    read: (bytes: Buffer) => bytes,
    toError: (error: unknown) => (error instanceof Error ? error : new Error("failed", { cause: error })),
    replied: () => {},
    failed: () => {},
  };
}

function cutAt(whole: Buffer, borders: readonly number[]): Buffer[] {
  const places = [...new Set(borders.map((border) => Math.floor(border * whole.length)))].toSorted((a, b) => a - b);
  return [...places, whole.length].map((place, at) => whole.subarray(places[at - 1] ?? 0, place));
}

/** Hands a reply on in pieces, one a turn, and none while it is paused. */
class Pieces {
  readonly #pieces: Buffer[];
  /** Bytes that came before the last piece. */
  before = 0;
  #last = 0;

  constructor(pieces: Buffer[]) {
    this.#pieces = pieces;
  }

  get typed(): Dispatcher {
    const found: { dispatcher?: Dispatcher } = {};
    Reflect.set(found, "dispatcher", this);
    if (found.dispatcher === undefined) throw new Error("no dispatcher");
    return found.dispatcher;
  }

  dispatch(_options: unknown, handler: Dispatcher.DispatchHandler): boolean {
    let isPaused = false;
    let isOver = false;
    const controller = {
      aborted: false,
      reason: null,
      get paused() {
        return isPaused;
      },
      abort: () => (isOver = true),
      pause: () => (isPaused = true),
      resume: () => {
        if (isPaused) setImmediate(step);
        isPaused = false;
      },
    };
    const step = (): void => {
      if (isOver || isPaused) return;
      const piece = this.#pieces.shift();
      if (piece === undefined) {
        isOver = true;
        handler.onResponseEnd?.(controller, {});
        return;
      }
      this.before += this.#last;
      this.#last = piece.length;
      handler.onResponseData?.(controller, piece);
      if (!isPaused) setImmediate(step);
    };
    handler.onRequestStart?.(controller, {});
    handler.onResponseStart?.(controller, 200, { ...streaming, "connect-content-encoding": "gzip" }, "OK");
    setImmediate(step);
    return true;
  }
}
