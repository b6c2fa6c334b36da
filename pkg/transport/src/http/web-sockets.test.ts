import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { describe, it } from "node:test";
import { AppError, currentContext } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import { parseReply, type RawConnection, startHttp, type TestHttp, testSettings } from "../testing/http.ts";
import { assertProblem, statusesOf } from "../testing/problems.ts";
import { webSocket, type WebSocketOptions } from "./web-sockets.ts";
import type { WebSocketSession } from "./web-socket-session.ts";

type Handle = (socket: WebSocketSession) => Promise<void> | void;

const echo: Handle = async (socket) => {
  for await (const message of socket) await socket.send(message);
};

function start(handle: Handle, options: WebSocketOptions = {}): Promise<TestHttp> {
  return startHttp({
    routes: async (app) => {
      app.get("/plain", async () => "plain");
      await webSocket(app, "/socket/:name", handle, options);
    },
  });
}

const url = ({ server }: TestHttp): string => `ws://127.0.0.1:${server.port}/socket/x`;

/** An open socket; what comes is kept. */
async function open(http: TestHttp): Promise<{ readonly socket: WebSocket; readonly received: unknown[] }> {
  const socket = new WebSocket(url(http));
  socket.binaryType = "arraybuffer";
  const received: unknown[] = [];
  socket.addEventListener("message", ({ data }) => received.push(data));
  await once(socket, "open");
  return { socket, received };
}

async function closed(socket: WebSocket): Promise<readonly [code: number, reason: string]> {
  const [event] = await once(socket, "close");
  return [event.code, event.reason];
}

async function accessLine(http: TestHttp): Promise<Readonly<Record<string, unknown>>> {
  await until(() => http.lines.withMessage("request").length > 0);
  return http.lines.withMessage("request")[0] ?? {};
}

async function activeSockets(http: TestHttp): Promise<number> {
  return Number(/^http_server_active_web_sockets (\d+)$/m.exec((await http.metrics.expose()).body)?.[1]);
}

const key = "dGhlIHNhbXBsZSBub25jZQ==";

function handshake(path: string, more = "", version = "13"): string {
  return `GET ${path} HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: ${version}\r\nSec-WebSocket-Key: ${key}\r\n${more}\r\n`;
}

/** A masked text frame. @see https://www.rfc-editor.org/rfc/rfc6455#section-5.2 */
function frame(text: string): Buffer {
  const bytes = Buffer.from(text);
  const mask = randomBytes(4);
  const head = Buffer.from([0x81, 0x80 | Math.min(bytes.length, 126)]);
  const length = Buffer.alloc(bytes.length < 126 ? 0 : 2);
  if (length.length > 0) length.writeUInt16BE(bytes.length);
  return Buffer.concat([head, length, mask, bytes.map((byte, at) => byte ^ (mask[at % 4] ?? 0))]);
}

/** A raw connection on which the handshake has been done. */
async function shaken(http: TestHttp): Promise<RawConnection> {
  const connection = http.connect();
  connection.write(handshake("/socket/x"));
  await connection.until("101 Switching Protocols");
  return connection;
}

describe("a WebSocket", () => {
  it("has its messages handled in order, text as text and bytes as bytes", async () => {
    await using http = await start(echo);
    const { socket, received } = await open(http);
    socket.send("one");
    socket.send(Buffer.from([1, 2]));
    socket.send("three");
    await until(() => received.length === 3);
    assert.deepEqual(received, ["one", new Uint8Array([1, 2]).buffer, "three"]);
    socket.close(3_001, "enough");
    assert.deepEqual(await closed(socket), [3_001, "enough"]);
  });

  it("is a request like any other: ids, route, params, context, and one line with its close code", async () => {
    const seen: unknown[] = [];
    await using http = await start(async (socket) => {
      const { params, id, log } = socket.request;
      for await (const message of socket) {
        seen.push([message, { ...Object(params) }, id === currentContext()?.requestId, currentContext()?.deadlineAtMs]);
        log.info("heard");
      }
    });
    const connection = http.connect();
    connection.write(handshake("/socket/ada", "X-Request-Id: request-1\r\n"));
    await connection.until("\r\n\r\n");
    const { status, headers } = parseReply(connection.received);
    assert.deepEqual(
      [status, headers["x-request-id"], headers["sec-websocket-accept"]],
      [101, "request-1", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="],
    );
    connection.write(frame("hello"));
    await until(() => seen.length === 1);
    assert.deepEqual(seen, [["hello", { name: "ada" }, true, Infinity]]);
    assert.equal(await activeSockets(http), 1);
    assert.deepEqual(http.lines.withMessage("request"), []);
    connection.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8])); // close, 1000
    await connection.ended;
    const { route, status: logged, close_code, request_id, code } = await accessLine(http);
    assert.deepEqual(
      [route, logged, close_code, request_id, code],
      ["/socket/:name", 101, 1000, "request-1", undefined],
    );
    assert.equal(http.lines.withMessage("heard")[0]?.request_id, "request-1");
    assert.equal(await activeSockets(http), 0);
    const { body } = await http.metrics.expose();
    assert.match(
      body,
      /^http_server_request_duration_seconds_count\{method="GET",route="\/socket\/:name",status="101"\} 1$/m,
    );
  });

  it("has of the headers that layers and hooks set those that say something to who opens a socket", async () => {
    await using http = await startHttp({
      settings: {
        trustedProxies: ["loopback"],
        hstsMaxAgeSeconds: 60,
        cors: { ...testSettings.cors, origins: ["https://a.example"] },
      },
      routes: async (app) => {
        app.addHook("onRequest", async (_request, reply) => {
          reply.header("set-cookie", ["a=1", "b=2"]).header("content-language", "en").header("upgrade", "else");
        });
        await webSocket(app, "/socket/:name", echo, { origins: ["*"] });
      },
    });
    const connection = http.connect();
    connection.write(handshake("/socket/x", "X-Forwarded-Proto: https\r\nOrigin: https://a.example\r\n"));
    await connection.until("\r\n\r\n");
    const [, ...lines] = connection.received.trimEnd().split("\r\n");
    assert.deepEqual(lines.map((line) => line.replace(/^(x-request-id): [0-9a-f]{32}$/, "$1")).toSorted(), [
      "Connection: Upgrade",
      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
      "Upgrade: websocket",
      "set-cookie: a=1",
      "set-cookie: b=2",
      "strict-transport-security: max-age=60",
      "x-request-id",
    ]);
    connection.destroy();
  });

  it("is a 500 problem and a report where a header cannot be sent, and no header of the header's", async () => {
    await using http = await startHttp({
      routes: async (app) => {
        app.addHook("onRequest", async (_request, reply) => void reply.header("x-a", "b\r\nx-injected: c"));
        await webSocket(app, "/socket/:name", echo);
      },
    });
    const connection = http.connect();
    connection.write(handshake("/socket/x"));
    const reply = parseReply(await connection.ended);
    assertProblem(reply, 500, "ERR_INTERNAL");
    assert.equal(reply.headers["x-injected"], undefined);
    assert.equal((await http.reports()).length, 1);
  });

  it("takes a message that came with its handshake", async () => {
    await using http = await start(echo);
    const connection = http.connect();
    connection.write(Buffer.concat([Buffer.from(handshake("/socket/x")), frame("early")]));
    await connection.until("early");
    connection.destroy();
  });

  it("outlives the deadline of requests", async () => {
    await using http = await startHttp({
      settings: { deadlineMs: 20 },
      routes: (app) => webSocket(app, "/socket/:name", echo),
    });
    const { socket, received } = await open(http);
    await new Promise((resolve) => setTimeout(resolve, 60));
    socket.send("still here");
    await until(() => received.length === 1);
    assert.equal(socket.readyState, WebSocket.OPEN);
    socket.close();
    await closed(socket);
  });

  it("tells its handler by the signal that it has closed, and ends its messages", async () => {
    const told: string[] = [];
    await using http = await start(async (socket) => {
      socket.signal.addEventListener("abort", () => told.push("signal"));
      for await (const message of socket) told.push(String(message));
      told.push("end", String(await socket.send("too late")));
    });
    const connection = await shaken(http);
    connection.write(frame("hello"));
    await until(() => told.length === 1);
    connection.destroy();
    await until(() => told.length === 4);
    assert.deepEqual(told, ["hello", "signal", "end", "false"]);
    assert.deepEqual([(await accessLine(http)).close_code, await http.reports()], [1006, []]);
  });

  it("is closed with 1000 when its handler returns", async () => {
    await using http = await start(async (socket) => void (await socket.send("bye")));
    const socket = new WebSocket(url(http));
    assert.deepEqual(await closed(socket), [1000, ""]);
  });
});

describe("a handler of a WebSocket that throws", () => {
  for (const [when, handle] of [
    ["at once", () => Promise.reject(new TypeError("secret"))],
    [
      "before its first await",
      () => {
        throw new TypeError("secret");
      },
    ],
    [
      "for a message",
      async (socket: WebSocketSession) => {
        for await (const message of socket) throw new TypeError(`secret ${String(message)}`);
      },
    ],
  ] as const) {
    it(`${when} closes it with 1011 and no word of why, and is one report with the ids`, async () => {
      await using http = await start(handle);
      const connection = http.connect();
      connection.write(Buffer.concat([Buffer.from(handshake("/socket/x", "X-Request-Id: request-1\r\n")), frame("a")]));
      await until(() => connection.received.includes("\x88\x02\x03\xf3")); // close, 1011, no reason
      connection.destroy();
      const reports = await http.reports();
      assert.deepEqual(
        reports.map(({ requestId, attributes }) => [requestId, attributes?.route]),
        [["request-1", "/socket/:name"]],
      );
      assert.equal((await accessLine(http)).close_code, 1011);
      assert.equal((await http.fetch("/plain")).status, 200);
    });
  }

  it("what is meant for the caller closes it with 1008 and the code, and the error bus hears nothing", async () => {
    await using http = await start(() => {
      throw new AppError("ERR_ROOM_CLOSED", "permission_denied", "the room is closed");
    });
    const socket = new WebSocket(url(http));
    assert.deepEqual(await closed(socket), [1008, "ERR_ROOM_CLOSED"]);
    assert.deepEqual([await http.reports(), (await accessLine(http)).code], [[], "ERR_ROOM_CLOSED"]);
  });
});

describe("a WebSocket's route with an option out of its range", () => {
  for (const [name, value] of [
    ["maxPayloadBytes", 0],
    ["maxConnections", 0.5],
    ["maxBufferedBytes", -1],
    ["pingIntervalMs", 0],
  ] as const) {
    it(`as ${name} ${value} does not start`, async () => {
      const starts = start(echo, { [name]: value });
      await assert.rejects(starts, { code: "ERR_OPTION_RANGE", message: new RegExp(`^${name} `) });
    });
  }
});

describe("a WebSocket that goes over a limit", () => {
  it("of a message's size is closed with 1009", async () => {
    await using http = await start(echo, { maxPayloadBytes: 10 });
    const { socket } = await open(http);
    socket.send("x".repeat(11));
    assert.deepEqual(await closed(socket), [1009, ""]);
    const { close_code, code } = await accessLine(http);
    assert.deepEqual([close_code, code, await http.reports()], [1009, "ERR_REQUEST_TOO_LARGE", []]);
  });

  it("of the protocol is closed with 1002", async () => {
    await using http = await start(echo);
    const connection = await shaken(http);
    connection.write(Buffer.from([0x81, 0x01, 0x61])); // not masked
    await connection.ended;
    const { close_code, code } = await accessLine(http);
    assert.deepEqual([close_code, code, await http.reports()], [1002, "ERR_REQUEST_MALFORMED", []]);
  });

  it("of sockets is refused with a 429 problem, until another closes", async () => {
    await using http = await start(echo, { maxConnections: 1 });
    const first = await shaken(http);
    const refused = parseReply(await http.raw(handshake("/socket/x")));
    assertProblem(refused, 429, "ERR_REQUEST_REFUSED");
    assert.deepEqual([refused.headers["retry-after"], await http.reports()], ["1", []]);
    first.destroy();
    await until(() => http.lines.withMessage("request").length === 2);
    (await shaken(http)).destroy();
  });

  it("of bytes that wait for a reader is broken off, and its handler is told", async () => {
    const sent: boolean[] = [];
    const ended = Promise.withResolvers<void>();
    await using http = await start(
      async (socket) => {
        const message = Buffer.alloc(1_000_000, "x");
        socket.signal.addEventListener("abort", () => ended.resolve());
        for (let count = 0; count < 100; count++) void socket.send(message).then((isSent) => sent.push(isSent));
        await ended.promise;
      },
      { maxBufferedBytes: 10_000_000 },
    );
    const connection = http.connect();
    connection.socket.pause();
    connection.write(handshake("/socket/x"));
    await ended.promise;
    await until(() => sent.length === 100);
    assert.ok(sent.filter((isSent) => !isSent).length >= 90);
    const { close_code, code } = await accessLine(http);
    assert.deepEqual([close_code, code, await http.reports()], [1006, "ERR_WEB_SOCKET_STALLED", []]);
    connection.destroy();
  });

  it("of messages without bytes that a handler does not take is no longer read either", async () => {
    await using http = await start(() => new Promise(() => {}));
    const connection = await shaken(http);
    const ping = Buffer.from([0x89, 0x80, 0, 0, 0, 0]);
    const pong = "\x8a\0";
    connection.write(Buffer.concat([...Array.from({ length: 50_000 }, () => frame("")), ping]));
    await new Promise<void>((resolve) => connection.socket.write("", () => resolve()));
    for (let count = 0; count < 20; count++) {
      const other = await shaken(http); // in whose time the server would have come to the first one's ping
      other.write(ping);
      await other.until(pong);
      other.destroy();
    }
    assert.ok(!connection.received.includes(pong), "the server has stopped reading");
    connection.destroy();
  });

  it("of what a handler takes is no longer read, and is read on when it does", async () => {
    const go = Promise.withResolvers<void>();
    let taken = 0;
    await using http = await start(async (socket) => {
      await go.promise;
      for await (const _message of socket) taken++;
    });
    const connection = await shaken(http);
    const message = frame("x".repeat(60_000));
    for (let count = 0; count < 500; count++) connection.write(message); // more than the buffers of two sockets hold
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.ok(connection.socket.writableLength > 0, "the server has stopped reading");
    go.resolve();
    await until(() => taken === 500);
    connection.destroy();
  });

  it("of silence is asked whether it lives, and broken off when it does not answer", async () => {
    const clock = new FakeClock();
    await using http = await start(echo, { clock, pingIntervalMs: 1_000 });
    const connection = await shaken(http);
    const ping = "\x89\0";
    await clock.advance(1_000);
    await connection.until(ping);
    connection.write(Buffer.from([0x8a, 0x80, 0, 0, 0, 0])); // pong
    connection.write(frame("back"));
    await connection.until("back");
    await clock.advance(1_000);
    await until(() => connection.received.split(ping).length === 3);
    await clock.advance(1_000);
    await connection.ended;
    assert.equal((await accessLine(http)).close_code, 1006);
  });
});

describe("a handshake", () => {
  it("of an ordinary GET is a 426 problem that says what to upgrade to", async () => {
    await using http = await start(echo);
    const reply = parseReply(await http.raw("GET /socket/x HTTP/1.1\r\nHost: a\r\n\r\n"));
    assertProblem(reply, 426, "ERR_REQUEST_REFUSED");
    assert.deepEqual([reply.headers.upgrade, reply.headers.connection], ["websocket", "Upgrade, close"]);
  });

  for (const [what, bytes, status, code] of [
    ["another version", handshake("/socket/x", "", "777"), 426, "ERR_REQUEST_REFUSED"],
    ["no key", handshake("/socket/x").replace(key, "short"), 400, "ERR_REQUEST_MALFORMED"],
    ["a body", handshake("/socket/x", "Content-Length: 4\r\n"), 426, "ERR_REQUEST_REFUSED"],
    ["no route", handshake("/nowhere"), 404, "ERR_ROUTE_NOT_FOUND"],
    ["two hosts", handshake("/socket/x", "Host: b\r\n"), 400, "ERR_REQUEST_MALFORMED"],
    ["a page of another origin", handshake("/socket/x", "Origin: https://evil.example\r\n"), 403, "ERR_ORIGIN_REFUSED"],
    ["a page of no origin", handshake("/socket/x", "Origin: null\r\n"), 403, "ERR_ORIGIN_REFUSED"],
    [
      "h2c",
      "GET /socket/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
      426,
      "ERR_REQUEST_REFUSED",
    ],
  ] as const) {
    it(`with ${what} is a ${status} problem, and the connection closes`, async () => {
      let ran = 0;
      await using http = await start(() => void ran++);
      const text = await http.raw(bytes);
      assert.deepEqual(statusesOf(text), [status]);
      assertProblem(parseReply(text), status, code);
      if (what === "another version") assert.equal(parseReply(text).headers["sec-websocket-version"], "13");
      assert.deepEqual([ran, await http.reports(), await activeSockets(http)], [0, [], 0]);
      assert.equal((await http.fetch("/plain")).status, 200);
    });
  }

  for (const [page, origins, origin] of [
    ["a page of its own host", [], "http://a.example"],
    ["a page that may", ["https://app.example"], "https://app.example"],
    ["any page", ["*"], "https://evil.example"],
  ] as const) {
    it(`with ${page} opens the socket`, async () => {
      await using http = await start(echo, { origins });
      const connection = http.connect();
      connection.write(handshake("/socket/x", `Origin: ${origin}\r\n`));
      await connection.until("101 Switching Protocols");
      connection.destroy();
    });
  }

  it("for a route that is no WebSocket has that route's reply, and the connection closes", async () => {
    await using http = await start(echo);
    const reply = parseReply(await http.raw(handshake("/plain")));
    assert.deepEqual([reply.status, reply.body, reply.headers.connection], [200, "plain", "close"]);
  });

  it("behind a request that is being answered ends the connection, and is nobody's fault", async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    await using http = await startHttp({
      routes: async (app) => {
        app.get("/slow", () => promise);
        await webSocket(app, "/socket/:name", echo);
      },
    });
    const text = await http.raw(`GET /slow HTTP/1.1\r\nHost: a\r\n\r\n${handshake("/socket/x")}`);
    resolve("slow");
    assert.deepEqual([text, await http.reports()], ["", []]);
  });

  it("passes the hooks of its route first, which may refuse it", async () => {
    await using http = await start(echo, {
      route: {
        preHandler: async () => {
          throw new AppError("ERR_NOBODY", "unauthenticated", "say who you are");
        },
      },
    });
    assertProblem(parseReply(await http.raw(handshake("/socket/x"))), 401, "ERR_NOBODY");
  });
});

describe("the drain of a server with WebSockets", () => {
  it("closes each with 1001 at its beginning, and is over when they have closed", async () => {
    await using http = await start(echo);
    const { socket } = await open(http);
    const drained = http.server.drain({ signal: new AbortController().signal });
    assert.deepEqual(await closed(socket), [1001, "the server stops"]);
    await drained;
    assert.equal((await accessLine(http)).close_code, 1001);
  });

  it("cuts off at its limit those whose other side does not answer, and tells their handlers", async () => {
    const told = Promise.withResolvers<void>();
    await using http = await start(async (socket) => {
      socket.signal.addEventListener("abort", () => told.resolve());
      for await (const _message of socket);
    });
    const connection = await shaken(http);
    connection.socket.pause();
    const limit = new AbortController();
    const drained = http.server.drain({ signal: limit.signal });
    limit.abort();
    await Promise.all([drained, told.promise]);
    connection.destroy();
  });
});

describe("a server without WebSockets", () => {
  it("answers who asks for one as if they had not", async () => {
    await using http = await startHttp({ routes: (app) => void app.get("/plain", async () => "plain") });
    const connection = http.connect();
    connection.write(handshake("/plain"));
    await connection.until("\r\n\r\nplain");
    assert.equal(parseReply(connection.received).status, 200);
    connection.destroy();
  });
});
