import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type ClientHttp2Session, connect, constants } from "node:http2";
import { connect as connectSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { Client, credentials, status } from "@grpc/grpc-js";
import { FakeClock, until } from "@plinth/kernel/testing";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { startGrpc, type TestGrpc } from "../testing/grpc.ts";
import { failureOf } from "../testing/grpc-client.ts";

async function open(grpc: TestGrpc): Promise<ClientHttp2Session> {
  const session = connect(`http://127.0.0.1:${grpc.server.port}`);
  session.on("error", () => {});
  await once(session, "remoteSettings");
  return session;
}

const ping = (session: ClientHttp2Session): Promise<unknown> =>
  new Promise((resolve) => {
    if (!session.ping((error) => resolve(error))) resolve("not sent");
  });

const sayHeaders = {
  ":method": "POST",
  ":path": `/${EchoService.typeName}/Say`,
  "content-type": "application/grpc",
  te: "trailers",
};

async function refusedConnections(grpc: TestGrpc): Promise<string[]> {
  const { body } = await grpc.metrics.expose();
  return [...body.matchAll(/^grpc_server_refused_connections_total\{reason="(\w+)"\} (\d+)$/gm)].map(
    ([, reason, count]) => `${reason} ${count}`,
  );
}

describe("a connection of a gRPC server", () => {
  it("that is pinged too often is ended with ENHANCE_YOUR_CALM, and says why", async () => {
    const clock = new FakeClock();
    await using grpc = await startGrpc({ clock });
    const session = await open(grpc);
    const goaway = once(session, "goaway");
    for (let pings = 0; pings < 4; pings++) await ping(session);
    const [code, , why] = await goaway;
    assert.deepEqual([code, why.toString()], [constants.NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings"]);
    await until(() => session.destroyed);
    assert.deepEqual(await refusedConnections(grpc), ["pings 1"]);
  });

  it("may be pinged as often as is allowed, and while replies come in", async () => {
    const clock = new FakeClock();
    await using grpc = await startGrpc({ clock });
    const session = await open(grpc);
    for (let pings = 0; pings < 8; pings++) {
      assert.equal(await ping(session), null);
      await clock.advance(10_000);
    }
    for (let pings = 0; pings < 8; pings++) {
      const stream = session.request(sayHeaders);
      stream.end(Buffer.alloc(5));
      stream.resume();
      await once(stream, "close");
      assert.equal(await ping(session), null);
    }
    session.destroy();
  });

  it("may be pinged without a call only where that is allowed", async () => {
    const clock = new FakeClock();
    await using grpc = await startGrpc({ clock, settings: { pingWithoutCalls: false } });
    const session = await open(grpc);
    const goaway = once(session, "goaway");
    for (let pings = 0; pings < 4; pings++) {
      await ping(session);
      await clock.advance(20_000);
    }
    assert.equal((await goaway)[0], constants.NGHTTP2_ENHANCE_YOUR_CALM);
    const other = await open(grpc);
    const chat = other.request({ ...sayHeaders, ":path": `/${EchoService.typeName}/Chat` }, { endStream: false });
    for (let pings = 0; pings < 8; pings++) {
      assert.equal(await ping(other), null);
      await clock.advance(15_000);
    }
    chat.on("error", () => {});
    other.destroy();
  });

  it("that says nothing is closed", async () => {
    const clock = new FakeClock();
    await using grpc = await startGrpc({ clock });
    const before = clock.pending;
    const socket = connectSocket(grpc.server.port, "127.0.0.1");
    socket.resume();
    const closed = once(socket, "close");
    await until(() => clock.pending > before);
    await clock.advance(9_999);
    assert.equal(socket.destroyed, false);
    await clock.advance(1);
    await closed;
    assert.deepEqual(await refusedConnections(grpc), ["silent 1"]);
  });

  it("is closed when it has been idle for long, and clients come back without a failed call", async () => {
    await using grpc = await startGrpc({ settings: { maxConnectionIdleMs: 50 } });
    const session = await open(grpc);
    await once(session, "close");
    for (let calls = 0; calls < 3; calls++) {
      assert.equal((await grpc.client.say({ text: "x" })).text, "x");
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
  });

  it("is given up when it grows old, and under load no call fails for that", async () => {
    await using grpc = await startGrpc({ settings: { maxConnectionAgeMs: 100, accessLog: false } });
    const connections: unknown[] = [];
    const count = (message: unknown): void => void connections.push(message);
    subscribe("net.server.socket", count);
    const failures: unknown[] = [];
    const loop = async (): Promise<void> => {
      while (connections.length < 6 && failures.length === 0)
        await grpc.client.say({ text: "x" }).catch((error: unknown) => failures.push(error));
    };
    await Promise.all(Array.from({ length: 16 }, loop));
    unsubscribe("net.server.socket", count);
    assert.deepEqual(failures, []);
  });

  it("is pinged, and cut off when nobody answers", async () => {
    await using grpc = await startGrpc({ settings: { keepaliveMs: 30, keepaliveTimeoutMs: 30 } });
    const socket = connectSocket(grpc.server.port, "127.0.0.1");
    socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])); // settings; pings are never answered
    socket.resume();
    await once(socket, "close");
    const live = await open(grpc);
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal(live.destroyed, false); // node answers by itself
    live.destroy();
  });

  it("has so many calls at once; the next one waits", async () => {
    const gates: (() => void)[] = [];
    await using grpc = await startGrpc({
      settings: { maxConcurrentStreams: 2 },
      handlers: { say: ({ text }) => new Promise((resolve) => gates.push(() => resolve({ text }))) },
    });
    await grpc.client.count({ to: 1 }).toArray(); // so that the client knows the server's settings
    const replies = ["a", "b", "c"].map((text) => grpc.client.say({ text }));
    await until(() => gates.length === 2);
    for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
    assert.equal(gates.length, 2);
    gates[0]?.();
    await until(() => gates.length === 3);
    for (const gate of gates) gate();
    assert.deepEqual(
      (await Promise.all(replies)).map(({ text }) => text),
      ["a", "b", "c"],
    );
  });
});

describe("messages of a gRPC server", () => {
  it("that are too large are RESOURCE_EXHAUSTED both ways, in words that say how large", async () => {
    await using grpc = await startGrpc({ settings: { maxMessageBytes: 1_000, maxReplyBytes: 500 } });
    const tooLong = await failureOf(grpc.client.say({ data: new Uint8Array(1_001) }));
    assert.equal(tooLong.code, status.RESOURCE_EXHAUSTED);
    assert.match(
      tooLong.message,
      /^a message has 100\d bytes, more than the 1000 that this server takes; send less at once$/,
    );
    const reply = await failureOf(grpc.client.say({ data: new Uint8Array(600) }));
    assert.deepEqual([reply.code, reply.info?.reason], [status.RESOURCE_EXHAUSTED, "ERR_REPLY_TOO_LARGE"]);
    assert.match(reply.message, /^the reply has 60\d bytes, more than the 500 that this server sends in one message$/);
    const stream = await failureOf(grpc.client.count({ to: 1, padding: 600 }).toArray());
    assert.equal(stream.info?.reason, "ERR_REPLY_TOO_LARGE");
    await until(() => grpc.lines.withMessage("call").length === 3);
    assert.deepEqual(
      grpc.lines.withMessage("call").map(({ status: name, code }) => [name, code]),
      [
        ["resource_exhausted", "ERR_REQUEST_TOO_LARGE"],
        ["resource_exhausted", "ERR_REPLY_TOO_LARGE"],
        ["resource_exhausted", "ERR_REPLY_TOO_LARGE"],
      ],
    );
    assert.equal((await grpc.reports()).length, 2); // the replies: they are the service's
  });

  it("that are no one message where one is asked for are refused", async () => {
    await using grpc = await startGrpc();
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(10)]) {
      const session = await open(grpc);
      const stream = session.request(sayHeaders);
      stream.end(bytes);
      const [headers] = await once(stream, "response");
      assert.equal(headers["grpc-status"], String(status.UNIMPLEMENTED));
      session.destroy();
    }
  });
});

describe("a port of gRPC servers", () => {
  it("is shared by several that say so, each of which drains alone", async () => {
    await using first = await startGrpc({ settings: { reusePort: true } });
    await using second = await startGrpc({ settings: { reusePort: true, port: first.server.port } });
    assert.equal(second.server.port, first.server.port);
    await first.server.close();
    // the client's connection may have been to the first: it opens another one
    assert.equal((await second.client.say({ text: "x" }, { deadlineMs: 20_000 })).text, "x");
  });

  it("belongs to one of them unless both do", async () => {
    await using first = await startGrpc();
    for (const reusePort of [false, true]) {
      await assert.rejects(startGrpc({ settings: { reusePort, port: first.server.port } }), {
        code: "ERR_LISTEN_PORT_BUSY",
      });
    }
  });
});

describe("a gRPC server on a Unix socket", () => {
  it("serves there, and takes a path over at which nobody listens", async () => {
    const folder = mkdtempSync(join(tmpdir(), "plinth-grpc-"));
    const socketPath = join(folder, "grpc.sock");
    for (let round = 0; round < 2; round++) {
      await using _grpc = await startGrpc({ settings: { socketPath } });
      const client = new Client(`unix:${socketPath}`, credentials.createInsecure());
      const reply = Promise.withResolvers<Buffer>();
      client.makeUnaryRequest(
        `/${EchoService.typeName}/Say`,
        (bytes: Buffer) => bytes,
        (bytes) => bytes,
        Buffer.alloc(0),
        (error, bytes) => (error ? reply.reject(error) : reply.resolve(bytes ?? Buffer.alloc(1))),
      );
      assert.equal((await reply.promise).length, 0);
      client.close();
    }
    rmSync(folder, { recursive: true });
  });
});
