import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Stream, connect, constants } from "node:http2";
import { describe, it } from "node:test";
import { FakeClock, until } from "@plinth/kernel/testing";
import type { FastifyRequest } from "fastify";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { connectRoutes } from "../rpc/connect.ts";
import { rpcService } from "../rpc/service.ts";
import { echoHandlers } from "../testing/grpc.ts";
import { metric, parseReply, type RawConnection, startHttp, type TestHttp } from "../testing/http.ts";
import { assertProblem } from "../testing/problems.ts";
import { eventStream } from "./event-stream.ts";
import type { HttpApp, HttpRoutes } from "./server.ts";
import { webSocket } from "./web-sockets.ts";

const hourMs = 3_600_000;

/** A server whose other limits are far away, and what its handlers have read. */
interface Slow extends TestHttp {
  readonly clock: FakeClock;
  /** Bytes of bodies that were read on `/read`. */
  readonly read: () => number;
  /** Whether handlers on `/hang` go on. */
  readonly go: () => void;
  /** Lets so many seconds pass, with something done before each. */
  readonly pass: (seconds: number, each?: () => Promise<void> | void) => Promise<void>;
  readonly slow: () => Promise<number>;
}

async function start(settings: TestSettings = {}, more: HttpRoutes = () => {}): Promise<Slow> {
  const clock = new FakeClock();
  const gate = Promise.withResolvers<void>();
  let read = 0;
  const routes = async (app: HttpApp): Promise<void> => {
    app.addContentTypeParser("text/raw", (_request, _payload, done) => done(null)); // left to the handler
    app.post("/json", async ({ body }) => ({ body }));
    app.get("/hang", () => gate.promise.then(() => "late"));
    app.post("/hang", () => gate.promise.then(() => "late"));
    app.post("/read", async (request) => {
      for await (const chunk of chunksOf(request)) read += chunk.length;
      return { read };
    });
    app.post("/late-reader", async (request) => {
      await gate.promise;
      for await (const chunk of chunksOf(request)) read += chunk.length;
      return { read };
    });
    await more(app);
  };
  const http = await startHttp({
    routes,
    clock,
    settings: { deadlineMs: hourMs, requestTimeoutMs: hourMs, maxBodyBytes: 100_000_000, ...settings },
  });
  return {
    ...http,
    clock,
    read: () => read,
    go: () => gate.resolve(),
    pass: async (seconds, each) => {
      for (let second = 0; second < seconds; second++) {
        await each?.();
        await clock.advance(1_000);
      }
    },
    slow: () => metric(http, "http_server_slow_bodies_total"),
  };
}

type TestSettings = NonNullable<Parameters<typeof startHttp>[0]>["settings"];

function chunksOf({ raw }: FastifyRequest): AsyncIterable<Buffer> {
  return raw;
}

const head = (path: string, framing: string, type = "text/raw"): string =>
  `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: ${type}\r\n${framing}\r\n\r\n`;

/** Sends a head, and waits until its request is under way. */
async function begin(http: Slow, text: string): Promise<RawConnection> {
  const connection = http.connect();
  connection.write(text);
  await underWay(http, 1);
  return connection;
}

async function underWay(http: Slow, count: number): Promise<void> {
  while ((await metric(http, "http_server_active_requests")) < count) await new Promise(setImmediate);
}

/** Writes so many bytes and waits until a handler has read them. */
async function bring(http: Slow, { socket }: Pick<RawConnection, "socket">, bytes: number): Promise<void> {
  const expected = http.read() + bytes;
  socket.write(Buffer.alloc(bytes, "x"));
  await until(() => http.read() >= expected, { what: "the handler reads" });
}

describe("a body that comes too slowly", () => {
  for (const [how, framing, part] of [
    ["a byte at a time", "Content-Length: 1000", "1"],
    ["a chunk at a time", "Transfer-Encoding: chunked", "1\r\n1\r\n"],
    ["not at all", "Content-Length: 1000", ""],
  ] as const) {
    it(`is a 408 problem after some seconds when it comes ${how}, and its connection ends`, async () => {
      await using http = await start();
      const connection = await begin(http, head("/json", framing, "application/json"));
      await http.pass(4, () => connection.write(part));
      assert.equal(connection.received, "");
      await http.pass(2, () => connection.write(part));
      const reply = parseReply(await connection.ended);
      assertProblem(reply, 408, "ERR_REQUEST_TIMEOUT");
      assert.match(reply.body, /240 bytes a second/);
      assert.equal(reply.headers.connection, "close");
      await until(() => http.lines.withMessage("request").length > 0);
      const [line] = http.lines.withMessage("request");
      assert.deepEqual([line?.status, line?.route, line?.code], [408, "/json", "ERR_REQUEST_TIMEOUT"]);
      assert.deepEqual([await http.slow(), await http.reports()], [1, []]);
    });
  }

  it("ends the wait of a handler that reads it itself, which is told", async () => {
    let told: unknown;
    await using http = await start({}, (app) => {
      app.post("/told", async (request) => {
        request.signal.addEventListener("abort", () => (told = request.signal.reason));
        for await (const _chunk of chunksOf(request)) continue;
      });
    });
    const connection = await begin(http, head("/told", "Content-Length: 1000"));
    await http.pass(6);
    assertProblem(parseReply(await connection.ended), 408, "ERR_REQUEST_TIMEOUT");
    assert.deepEqual([Reflect.get(Object(told), "code"), await http.reports()], ["ERR_REQUEST_TIMEOUT", []]);
  });

  it("breaks off a reply that has begun", async () => {
    await using http = await start({}, (app) => {
      app.post("/both", async (request, reply) => {
        reply.hijack();
        reply.raw.writeHead(200);
        reply.raw.write("begun");
        for await (const _chunk of chunksOf(request)) continue;
      });
    });
    const connection = await begin(http, head("/both", "Content-Length: 1000"));
    await connection.until("begun");
    await http.pass(6);
    assert.match(await connection.ended, /begun\r\n$/); // and no end
    assert.equal(await http.slow(), 1);
  });

  it("is refused where there is no such route too", async () => {
    await using http = await start();
    const connection = await begin(http, head("/none", "Content-Length: 1000", "application/json"));
    await http.pass(6);
    const { status, headers } = parseReply(await connection.ended);
    assert.deepEqual([status, headers.connection], [408, "close"]);
  });

  it("is told to a caller of Connect in the form of Connect", async () => {
    await using http = await start({}, connectRoutes([rpcService(EchoService, echoHandlers)]));
    const connection = await begin(
      http,
      head(`/${EchoService.typeName}/Say`, "Content-Length: 1000", "application/json"),
    );
    await http.pass(6);
    const { headers, body } = parseReply(await connection.ended);
    assert.deepEqual([headers["content-type"], headers.connection], ["application/json", "close"]);
    assert.match(body, /"code":"deadline_exceeded".*240 bytes a second/);
  });

  it("ends the same after a 100 Continue", async () => {
    await using http = await start();
    const connection = await begin(
      http,
      head("/json", "Content-Length: 9\r\nExpect: 100-continue", "application/json"),
    );
    await connection.until("100 Continue");
    await http.pass(6);
    assert.match(await connection.ended, /408 Request Timeout/);
  });
});

describe("a body that comes fast enough", () => {
  it("is served, however long it takes", async () => {
    await using http = await start();
    const connection = await begin(http, head("/read", "Content-Length: 18000"));
    await http.pass(60, () => bring(http, connection, 300));
    await connection.until('{"read":18000}');
    assert.equal(await http.slow(), 0);
    connection.destroy();
  });

  it("may stand still for twenty seconds when it has come fast, and for no longer", async () => {
    await using http = await start();
    const connection = await begin(http, head("/read", "Content-Length: 300000"));
    await http.pass(1, () => bring(http, connection, 100_000));
    await http.pass(1, () => bring(http, connection, 100_000));
    await http.pass(18);
    await http.pass(1, () => bring(http, connection, 99_999));
    await http.pass(18);
    assert.equal(await http.slow(), 0);
    await http.pass(2);
    assertProblem(parseReply(await connection.ended), 408, "ERR_REQUEST_TIMEOUT");
  });

  it("may take its time where the setting, or its route, asks for nothing; and a route may ask for more", async () => {
    const routes = (app: HttpApp): void => {
      for (const [path, minBodyBytesPerSecond] of Object.entries({ "/any": 0, "/more": 10_000 }))
        app.post(path, { config: { minBodyBytesPerSecond } }, async ({ body }) => ({ body }));
    };
    await using strict = await start({}, routes);
    const patient = await begin(strict, head("/any", "Content-Length: 1", "application/json"));
    await strict.pass(60);
    patient.write("1");
    await patient.until('{"body":1}');
    await using lax = await start({ minBodyBytesPerSecond: 0 }, routes);
    const other = await begin(lax, head("/json", "Content-Length: 1", "application/json"));
    await lax.pass(60);
    other.write("1");
    await other.until('{"body":1}');
    const asked = await begin(lax, head("/more", "Content-Length: 1000000", "application/json"));
    await lax.pass(6, () => asked.write(" ".repeat(1_000)));
    assert.match(await asked.ended, /408 Request Timeout.*10000 bytes a second/s);
    patient.destroy();
    other.destroy();
  });
});

describe("what is slow for another reason is left alone", () => {
  it("where the handler reads late, or slowly, what the caller has sent", async () => {
    await using http = await start();
    const connection = await begin(http, head("/late-reader", "Content-Length: 1000000"));
    connection.write(Buffer.alloc(999_999, "x"));
    await http.pass(60);
    assert.deepEqual([connection.received, await http.slow()], ["", 0]);
    http.go();
    connection.write("x");
    await connection.until('{"read":1000000}');
    connection.destroy();
  });

  it("where the handler works, on a request whose body is whole or that has none", async () => {
    await using http = await start();
    const bodiless = await begin(http, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
    const whole = http.connect();
    whole.write(`${head("/hang", "Content-Length: 2", "application/json")}{}`);
    const unread = http.connect();
    unread.write(`${head("/hang", "Content-Length: 2")}{}`);
    await underWay(http, 3);
    await http.pass(60);
    http.go();
    for (const connection of [bodiless, whole, unread]) {
      await connection.until("late");
      connection.destroy();
    }
    assert.equal(await http.slow(), 0);
  });

  it("where the request is a WebSocket or a stream of events", async () => {
    await using http = await start({}, async (app) => {
      app.post("/events", (_request, reply) =>
        eventStream(reply, async function* (signal) {
          yield { data: "first" };
          await once(signal, "abort");
        }),
      );
      await webSocket(app, "/socket", async (socket) => {
        for await (const message of socket) await socket.send(message);
      });
    });
    const events = await begin(http, head("/events", "Content-Length: 9"));
    await events.until("first");
    const socket = new WebSocket(`ws://127.0.0.1:${http.server.port}/socket`);
    await once(socket, "open");
    await http.pass(60);
    socket.send("still here");
    const [{ data }] = await once(socket, "message");
    assert.deepEqual([data, await http.slow()], ["still here", 0]);
    socket.close();
    events.destroy();
  });
});

describe("over HTTP/2", () => {
  const post = (path: string, more = {}) => ({ ":path": path, ":method": "POST", "content-type": "text/raw", ...more });

  async function statusOf(stream: ClientHttp2Stream): Promise<number | undefined> {
    const [headers] = await once(stream, "response");
    return headers[":status"];
  }

  it("the stream alone is ended", async () => {
    await using http = await start({ http2: true });
    const session = connect(http.origin);
    const slow = session.request(post("/read"));
    const other = session.request(post("/read"));
    const refused = Promise.all([statusOf(slow), once(slow.resume(), "close")]);
    slow.write("x");
    await underWay(http, 2);
    await http.pass(6, async () => {
      const expected = http.read() + 300;
      other.write(Buffer.alloc(300));
      await until(() => http.read() >= expected);
    });
    assert.equal((await refused)[0], 408);
    assert.equal(slow.rstCode, constants.NGHTTP2_NO_ERROR);
    other.end();
    assert.equal(await statusOf(other), 200);
    assert.deepEqual([session.closed, await http.slow()], [false, 1]);
    session.destroy();
  });

  it("what is not read, has come whole or has no body is left alone", async () => {
    await using http = await start({ http2: true });
    const session = connect(http.origin);
    const streams = [
      session.request({ ":path": "/hang" }),
      session.request(post("/hang")).end("{}"),
      session.request(post("/hang")),
      session.request(post("/late-reader")),
    ];
    streams[2]?.write("a part");
    streams[3]?.end(Buffer.alloc(1_000_000));
    const empty = session.request(post("/hang"));
    await new Promise<void>((resolve) => empty.end(resolve));
    await underWay(http, 5);
    await http.pass(60);
    const statuses = Promise.all([...streams, empty].map(statusOf));
    http.go();
    assert.deepEqual(await statuses, [200, 200, 200, 200, 200]);
    assert.equal(await http.slow(), 0);
    session.destroy();
  });
});

it("leaves no timer when the server has closed", async () => {
  const http = await start();
  assert.equal(http.clock.pending, 1);
  await http.server.close();
  assert.equal(http.clock.pending, 0);
});
