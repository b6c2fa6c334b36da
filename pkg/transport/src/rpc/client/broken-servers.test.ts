import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttp2Server, constants, type ServerHttp2Stream } from "node:http2";
import { createServer, type Server, type Socket } from "node:net";
import { describe, it } from "node:test";
import { AppError, createMetrics } from "@plinth/kernel";
import { gzipSync } from "node:zlib";
import { EchoService } from "../../gen/plinth/transport/testing/v1/echo_pb.ts";
import { createGrpcChannel } from "../../grpc/client/channel.ts";
import type { RpcChannel } from "./channel.ts";
import { createRpcClient } from "./client.ts";
import { type ConnectChannelOptions, createConnectChannel } from "./connect-channel.ts";
import { RpcError } from "./errors.ts";

/** Longer than any test: what ends a call here is what the server does. */
const timeoutMs = 120_000;

describe("a Connect client of a server that", () => {
  const html = "<html><body>no</body></html>";
  const cases: readonly (readonly [name: string, reply: string | Buffer, code: string, status: string])[] = [
    ["answers HTML", http(200, "text/html", html), "ERR_RPC_REPLY", "internal"],
    ["answers without a media type", http(200, "", "{}"), "ERR_RPC_REPLY", "internal"],
    ["answers by the other codec", http(200, "application/json", "{}"), "ERR_RPC_REPLY", "internal"],
    ["answers what is no message", http(200, "application/proto", "\u000a\u007f"), "ERR_RPC_REPLY", "internal"],
    [
      "answers compressed, unasked",
      http(200, "application/proto", "x", "content-encoding: br"),
      "ERR_RPC_REPLY",
      "internal",
    ],
    ["fails in HTML", http(503, "text/html", html), "ERR_RPC_REPLY", "unavailable"],
    ["does not know the path", http(404, "text/html", html), "ERR_RPC_REPLY", "unimplemented"],
    ["sends elsewhere", http(302, "text/html", html, "location: http://127.0.0.1:1/"), "ERR_RPC_REPLY", "unknown"],
    ["fails in JSON that is no error", http(500, "application/json", '{"code":5}'), "ERR_RPC_REPLY", "unknown"],
    ["fails in broken JSON", http(502, "application/json", "{"), "ERR_RPC_REPLY", "unavailable"],
    ["fails in JSON that is null", http(429, "application/json", "null"), "ERR_RPC_REPLY", "unavailable"],
    [
      "names no code of ours",
      http(404, "application/json", '{"code":"not_found","message":"x"}'),
      "ERR_RPC_FAILED",
      "not_found",
    ],
    [
      "tells details that are none",
      http(
        404,
        "application/json",
        '{"code":"not_found","details":[1,{},{"type":"google.rpc.ErrorInfo","value":"////"}]}',
      ),
      "ERR_RPC_FAILED",
      "not_found",
    ],
    [
      "answers as our servers do before a route is found",
      http(503, "application/problem+json", '{"code":"ERR_OVERLOADED","detail":"too much","status":503}'),
      "ERR_OVERLOADED",
      "unavailable",
    ],
    [
      "has no such route",
      http(404, "application/problem+json", '{"code":"ERR_ROUTE_NOT_FOUND","detail":"no","status":404}'),
      "ERR_ROUTE_NOT_FOUND",
      "unimplemented",
    ],
    ["answers what is no HTTP", "\u0016\u0003\u0001garbage\r\n\r\n", "ERR_RPC_REPLY", "internal"],
    ["answers half a head", "HTTP/1.1 200 OK\r\ncontent-ty", "ERR_RPC_UNAVAILABLE", "unavailable"],
    [
      "answers half a body",
      "HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-length: 100\r\n\r\nhalf",
      "ERR_RPC_UNAVAILABLE",
      "unavailable",
    ],
    [
      "answers half a chunk",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhalf",
      "ERR_RPC_UNAVAILABLE",
      "unavailable",
    ],
    ["closes without a word", "", "ERR_RPC_UNAVAILABLE", "unavailable"],
    [
      "has a head without end",
      `HTTP/1.1 200 OK\r\n${`x: ${"y".repeat(1_000)}\r\n`.repeat(40)}`,
      "ERR_RPC_REPLY_TOO_LARGE",
      "resource_exhausted",
    ],
  ];
  for (const [name, reply, code, status] of cases) {
    it(`${name} fails with ${code} ${status}`, async () => {
      await using server = await listening((socket) => socket.end(reply, "latin1"));
      const error = await failureOf(await connectTo(server));
      assert.deepEqual([error.code, error.status], [code, status], error.message);
      assert.doesNotMatch(error.message, /<html|127\.0\.0\.1|ECONN/);
    });
  }

  it("resets the connection is unavailable, and may have begun", async () => {
    await using server = await listening((socket) => socket.resetAndDestroy());
    const metrics = createMetrics();
    const error = await failureOf(await connectTo(server, { metrics }));
    assert.deepEqual([error.code, error.status, error.retryable], ["ERR_RPC_UNAVAILABLE", "unavailable", true]);
    assert.ok(error instanceof RpcError && !error.isUnsent);
    assert.match((await metrics.expose()).body, /http_client_request_duration_seconds_count\{.*status="reset"\} 1/);
  });

  it("sends more than is allowed, without saying how much, is cut off", async () => {
    let sent = 0;
    await using server = await listening((socket) => {
      socket.write("HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ntransfer-encoding: chunked\r\n\r\n");
      const more = (): void => {
        while (!socket.destroyed && socket.write(`2710\r\n${"x".repeat(10_000)}\r\n`)) sent += 10_000;
        socket.once("drain", more);
      };
      more();
    });
    const error = await failureOf(await connectTo(server, { maxReplyBytes: 50_000 }));
    assert.deepEqual([error.code, error.status], ["ERR_RPC_REPLY_TOO_LARGE", "resource_exhausted"]);
    assert.ok(sent > 0);
  });

  it("sends a bomb of gzip is read no further than allowed", async () => {
    const bomb = gzipSync(Buffer.alloc(1_000_000));
    const head = `HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-encoding: gzip\r\ncontent-length: ${bomb.length}\r\n\r\n`;
    await using server = await listening((socket) => socket.end(Buffer.concat([Buffer.from(head), bomb])));
    const asked = await failureOf(await connectTo(server, { acceptGzip: true, maxReplyBytes: 10_000 }));
    assert.equal(asked.code, "ERR_RPC_REPLY_TOO_LARGE");
    const unasked = await failureOf(await connectTo(server));
    assert.equal(unasked.code, "ERR_RPC_REPLY");
  });

  it("says nothing at all is given up at the deadline, and its connection is not used again", async () => {
    let connections = 0;
    await using server = await listening(() => connections++);
    const channel = await connectTo(server);
    for (let n = 0; n < 2; n++) {
      const call = createRpcClient(EchoService, { channel, timeoutMs: 50 }).say({});
      await assert.rejects(call, { code: "ERR_DEADLINE_EXCEEDED", status: "deadline_exceeded" });
    }
    await channel.close();
    assert.equal(connections, 2);
  });

  it("says nothing holds back those that wait, who give up at their own deadlines", async () => {
    await using server = await listening(() => {});
    const channel = await connectTo(server, { maxConnections: 1 });
    const client = createRpcClient(EchoService, { channel, timeoutMs: 50 });
    const calls = Array.from({ length: 5 }, () => client.say({}));
    for (const call of await Promise.allSettled(calls)) {
      assert.ok(call.status === "rejected");
      assert.equal(AppError.from(call.reason).status, "deadline_exceeded");
    }
    await channel.close();
  });
});

describe("a gRPC client of a server that", () => {
  const cases: readonly (readonly [
    name: string,
    answer: (stream: ServerHttp2Stream) => void,
    code: string,
    status: string,
  ])[] = [
    [
      "resets a stream with NO_ERROR before a head",
      (s) => s.close(constants.NGHTTP2_NO_ERROR),
      "ERR_RPC_UNAVAILABLE",
      "unavailable",
    ],
    ["cancels a stream of its own", (s) => s.close(constants.NGHTTP2_CANCEL), "ERR_RPC_UNAVAILABLE", "unavailable"],
    ["fails at a stream", (s) => s.close(constants.NGHTTP2_INTERNAL_ERROR), "ERR_RPC_UNAVAILABLE", "unavailable"],
    ["refuses streams", (s) => s.close(constants.NGHTTP2_REFUSED_STREAM), "ERR_RPC_UNAVAILABLE", "unavailable"],
    ["asks to be calm", (s) => s.close(constants.NGHTTP2_ENHANCE_YOUR_CALM), "ERR_RPC_UNAVAILABLE", "unavailable"],
    ["drops the connection", (s) => s.session?.destroy(), "ERR_RPC_UNAVAILABLE", "unavailable"],
    ["resets the connection", (s) => resetSession(s), "ERR_RPC_UNAVAILABLE", "unavailable"],
    [
      "answers HTML",
      (s) => respond(s, { ":status": 200, "content-type": "text/html" }, "<html>"),
      "ERR_RPC_REPLY_TOO_LARGE",
      "resource_exhausted",
    ],
    [
      "fails in HTML",
      (s) => respond(s, { ":status": 503, "content-type": "text/html" }, "<html>"),
      "ERR_RPC_REPLY",
      "unavailable",
    ],
    [
      "does not know the path",
      (s) => respond(s, { ":status": 404, "content-type": "text/html" }, "<html>"),
      "ERR_RPC_REPLY",
      "unimplemented",
    ],
    [
      "ends without a status",
      (s) => respond(s, grpcHead, Buffer.from([0, 0, 0, 0, 0])),
      "ERR_RPC_UNAVAILABLE",
      "unavailable",
    ],
    [
      "answers a message that is none",
      (s) => respond(s, grpcHead, Buffer.from([0, 0, 0, 0, 1, 15]), { "grpc-status": "0" }),
      "ERR_RPC_REPLY",
      "internal",
    ],
    [
      "answers two messages",
      (s) => respond(s, grpcHead, Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), { "grpc-status": "0" }),
      "ERR_RPC_REPLY",
      "internal",
    ],
    [
      "answers a message in an encoding that it does not name",
      (s) => respond(s, grpcHead, Buffer.from([1, 0, 0, 0, 1, 7]), { "grpc-status": "0" }),
      "ERR_RPC_REPLY",
      "internal",
    ],
    [
      "answers a message in an encoding that nobody asked for",
      (s) => respond(s, { ...grpcHead, "grpc-encoding": "zstd" }, Buffer.from([1, 0, 0, 0, 1, 7])),
      "ERR_RPC_REPLY",
      "internal",
    ],
    [
      "fails in its head",
      (s) => s.respond({ ...grpcHead, "grpc-status": "5" }, { endStream: true }),
      "ERR_RPC_FAILED",
      "not_found",
    ],
    ["answers no message", (s) => respond(s, grpcHead, "", { "grpc-status": "0" }), "ERR_RPC_REPLY", "internal"],
    [
      "names a status that is none",
      (s) => respond(s, grpcHead, "", { "grpc-status": "77" }),
      "ERR_RPC_FAILED",
      "unknown",
    ],
    [
      "names no code of ours",
      (s) => respond(s, grpcHead, "", { "grpc-status": "5", "grpc-message": "x" }),
      "ERR_RPC_FAILED",
      "not_found",
    ],
    [
      "tells details that are none",
      (s) => respond(s, grpcHead, "", { "grpc-status": "5", "grpc-status-details-bin": "////" }),
      "ERR_RPC_FAILED",
      "not_found",
    ],
    [
      "promises a message that is too large",
      (s) => respond(s, grpcHead, Buffer.from([0, 127, 0, 0, 0, 1])),
      "ERR_RPC_REPLY_TOO_LARGE",
      "resource_exhausted",
    ],
  ];
  for (const [name, answer, code, status] of cases) {
    it(`${name} fails with ${code} ${status}`, async () => {
      await using server = await grpcListening(answer);
      const error = await failureOf(await createGrpcChannel({ peer: "echo", address: server.address }));
      assert.deepEqual([error.code, error.status], [code, status], `${error.message} ${String(error.cause)}`);
      assert.doesNotMatch(error.message, /<html|127\.0\.0\.1|ECONN/);
    });
    it(`${name} fails a stream alike`, async () => {
      if (name === "answers no message" || name === "answers two messages") return; // a stream may
      await using server = await grpcListening(answer);
      const channel = await createGrpcChannel({ peer: "echo", address: server.address });
      const client = createRpcClient(EchoService, { channel });
      await assert.rejects(Array.fromAsync(client.count({ to: 1 }, { timeoutMs })), { code, status });
      await channel.close();
    });
  }

  it("is no HTTP/2 fails", async () => {
    await using server = await listening((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    const error = await failureOf(await createGrpcChannel({ peer: "echo", address: server.address }));
    assert.equal(error.status, "unavailable");
  });

  it("says nothing at all is given up at the deadline", async () => {
    await using server = await grpcListening(() => {});
    const channel = await createGrpcChannel({ peer: "echo", address: server.address });
    const call = createRpcClient(EchoService, { channel, timeoutMs: 50 }).say({});
    await assert.rejects(call, { code: "ERR_DEADLINE_EXCEEDED", status: "deadline_exceeded" });
    await channel.close();
  });

  it("says goodbye on an idle connection is connected to anew, and no call is lost", async () => {
    let connections = 0;
    await using server = await grpcListening(
      (stream) => respond(stream, grpcHead, Buffer.from([0, 0, 0, 0, 0]), { "grpc-status": "0" }),
      () => void connections++,
    );
    const channel = await createGrpcChannel({ peer: "echo", address: server.address });
    const client = createRpcClient(EchoService, { channel, timeoutMs });
    for (let n = 0; n < 20; n++) {
      await client.say({});
      server.goaway();
      await new Promise(setImmediate);
    }
    await client.say({});
    assert.ok(connections > 1);
    await channel.close();
  });
});

const grpcHead = { ":status": 200, "content-type": "application/grpc+proto" };

function http(status: number, type: string, body: string, more = "x-more: 1"): string {
  const ofType = type === "" ? "" : `content-type: ${type}\r\n`;
  return `HTTP/1.1 ${status} X\r\n${ofType}${more}\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}

function respond(
  stream: ServerHttp2Stream,
  head: Record<string, string | number>,
  body: string | Buffer,
  trailers?: Record<string, string>,
): void {
  if (trailers) stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  stream.respond(head, { waitForTrailers: trailers !== undefined });
  stream.end(body);
}

function resetSession(stream: ServerHttp2Stream): void {
  const socket = sockets.get(stream.session ?? {});
  socket?.resetAndDestroy();
}

const sockets = new WeakMap<object, Socket>();

interface Listening extends AsyncDisposable {
  readonly address: string;
}

/** Answers each connection once something has come on it. */
async function listening(answer: (socket: Socket) => void): Promise<Listening> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => answer(socket));
  });
  return { address: await addressOf(server), [Symbol.asyncDispose]: () => closing(server, []) };
}

async function grpcListening(
  answer: (stream: ServerHttp2Stream) => void,
  onSession: () => void = () => {},
): Promise<Listening & { goaway(): void }> {
  const server = createHttp2Server();
  const sessions = new Set<{ goaway(): void; destroy(): void }>();
  server.on("session", (session) => {
    sockets.set(session, session.socket);
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
    session.on("error", () => {});
    onSession();
  });
  server.on("stream", (stream: ServerHttp2Stream) => {
    stream.on("error", () => {});
    answer(stream);
  });
  const address = await addressOf(server);
  return {
    address,
    goaway: () => sessions.forEach((session) => session.goaway()),
    [Symbol.asyncDispose]: () => closing(server, sessions),
  };
}

async function addressOf(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return `127.0.0.1:${address.port}`;
}

async function closing(server: Server, sessions: Iterable<{ destroy(): void }>): Promise<void> {
  server.close();
  for (const session of sessions) session.destroy();
}

function connectTo({ address }: Listening, options: Partial<ConnectChannelOptions> = {}): Promise<RpcChannel> {
  return createConnectChannel({ peer: "echo", url: `http://${address}`, ...options });
}

/** What a call of the channel fails with; closes the channel. */
async function failureOf(channel: RpcChannel): Promise<AppError> {
  try {
    await createRpcClient(EchoService, { channel, timeoutMs }).say({ text: "x" });
  } catch (error) {
    if (AppError.is(error)) return error;
    throw error;
  } finally {
    await channel.close();
  }
  throw new Error("the call succeeded");
}
