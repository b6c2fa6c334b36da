import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, request as httpRequest } from "node:http";
import { PassThrough } from "node:stream";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { createTracing, systemClock } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import { observe, parseReply, RawConnection, startHttp, type TestHttp, testSettings } from "../testing/http.ts";
import { createHttpServer, type HttpApp } from "./server.ts";

const never = new AbortController().signal;

describe("a drain under load", () => {
  it("fails no request of keep-alive clients that go elsewhere when a reply closes their connection", async () => {
    await using old = await startHttp({ routes: working });
    await using next = await startHttp({ routes: working });
    const clients = [
      ...Array.from({ length: 12 }, () => new AgentClient()),
      ...Array.from({ length: 12 }, () => new SocketClient()),
    ];
    const stop = new AbortController();
    const loops = clients.map((client) => closedLoop(client, [old, next], stop.signal));
    await until(() => servedBy(old) > 300);
    old.server.announceDrain();
    await until(() => servedBy(next) > 300);
    await old.server.drain({ signal: never });
    const drainedAt = servedBy(old);
    await until(() => servedBy(next) > 600);
    stop.abort();
    const outcomes = await Promise.all(loops);
    for (const client of clients) client.close();
    assert.deepEqual(
      outcomes.flatMap(({ failures }) => failures),
      [],
    );
    assert.equal(servedBy(old), drainedAt);
    const total = outcomes.reduce((sum, { requests }) => sum + requests, 0);
    await until(() => servedBy(old) + servedBy(next) === total);
  });
});

describe("announceDrain", () => {
  it("closes each connection with its next reply, and still serves new ones", async () => {
    await using http = await startHttp({ routes: working });
    const connection = http.connect();
    connection.write(get);
    await connection.until("\r\n\r\nx");
    assert.match(connection.received, /\r\nConnection: keep-alive\r\n/);
    http.server.announceDrain();
    connection.write(get);
    assert.match(await connection.ended, /\r\nConnection: close\r\n/);
    assert.match(await http.raw(get), /\r\nConnection: close\r\n\r\nx$/);
  });

  it("closes the connection of a request under way with its reply", async () => {
    const gate = Promise.withResolvers<string>();
    await using http = await startHttp({ routes: (app) => void app.get("/", () => gate.promise) });
    const connection = http.connect();
    connection.write(get);
    await active(http, 1);
    http.server.announceDrain();
    gate.resolve("x");
    const reply = parseReply(await connection.ended);
    assert.deepEqual([reply.status, reply.body, reply.headers.connection], [200, "x", "close"]);
  });

  it("closes the connections of errors, refusals and ops requests too", async () => {
    await using http = await startHttp({
      ops: (request, response) => {
        if (request.url !== "/ready") return false;
        response.writeHead(503, { "content-length": 0 }).end();
        return true;
      },
    });
    http.server.announceDrain();
    for (const path of ["/nowhere", "/%zz", "/ready"]) {
      const reply = parseReply(await http.raw(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`));
      assert.equal(reply.headers.connection, "close", path);
    }
  });
});

describe("drain", () => {
  it("closes idle connections at once and refuses new ones", async () => {
    await using http = await startHttp({ routes: working });
    const idle = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const connection = http.connect();
        connection.write(get);
        await connection.until("\r\n\r\nx");
        return connection;
      }),
    );
    const startedAtMs = performance.now();
    await http.server.drain({ signal: never });
    await Promise.all(idle.map(({ ended }) => ended));
    assert.ok(performance.now() - startedAtMs < 500);
    const late = http.connect();
    await late.ended;
    assert.equal(late.error?.code, "ECONNREFUSED");
  });

  it("waits for a request that is being served, and for its reply to arrive whole", async () => {
    const gate = Promise.withResolvers<Buffer>();
    await using http = await startHttp({ routes: (app) => void app.get("/", () => gate.promise) });
    const connection = http.connect();
    connection.socket.pause();
    connection.write(get);
    await active(http, 1);
    let isDrained = false;
    const drained = http.server.drain({ signal: never }).then(() => (isDrained = true));
    const size = 30_000_000;
    gate.resolve(Buffer.alloc(size, "x"));
    await until(() => connection.socket.bytesRead > 0);
    assert.equal(isDrained, false);
    connection.socket.resume();
    assert.equal(parseReply(await connection.ended).body.length, size);
    await drained;
  });

  it("waits for a reply that its reader takes slowly, though it was complete before", async () => {
    const size = 30_000_000;
    await using http = await startHttp({ routes: (app) => void app.get("/", async () => Buffer.alloc(size, "x")) });
    const connection = http.connect();
    connection.socket.pause();
    connection.write(get);
    await until(() => connection.socket.bytesRead > 0);
    const drained = http.server.drain({ signal: never });
    connection.socket.resume();
    assert.equal(parseReply(await connection.ended).body.length, size);
    await drained;
  });

  it("ends the connection of a stream whose head was sent before, as soon as the stream ends", async () => {
    const source = new PassThrough();
    await using http = await startHttp({
      routes: (app) => void app.get("/", async (_request, reply) => reply.type("text/plain").send(source)),
    });
    const connection = http.connect();
    connection.write(get);
    source.write("part");
    await connection.until("part");
    const drained = http.server.drain({ signal: never });
    source.end("end");
    assert.match(await connection.ended, /part[^]*end\r\n0\r\n\r\n$/);
    await drained;
  });

  it("waits for an upload that is under way", async () => {
    await using http = await startHttp({ routes: (app) => void app.post("/", async ({ body }) => body) });
    const connection = http.connect();
    connection.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nhalf");
    await active(http, 1);
    const drained = http.server.drain({ signal: never });
    connection.write("half");
    const reply = parseReply(await connection.ended);
    assert.deepEqual([reply.status, reply.body, reply.headers.connection], [200, "halfhalf", "close"]);
    await drained;
  });

  it("does not wait for an upload that never comes to its end", async () => {
    await using http = await startHttp({
      routes: (app) => void app.post("/", async () => "x"),
      settings: { headersTimeoutMs: 100, requestTimeoutMs: 100 },
    });
    const connection = http.connect();
    connection.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nhalf");
    await active(http, 1);
    await http.server.drain({ signal: never });
    assert.equal(parseReply(await connection.ended).status, 408);
  });

  it("gives a connection without a byte time for its first request, then closes it", async () => {
    const clock = new FakeClock();
    await using http = await startHttp({ routes: working, clock });
    const [used, unused] = [http.connect(), http.connect()];
    await Promise.all([once(used.socket, "connect"), once(unused.socket, "connect")]);
    await (await http.fetch("/")).text(); // both have been accepted
    const drained = http.server.drain({ signal: never });
    used.write(get);
    assert.match(await used.ended, /\r\nConnection: close\r\n\r\nx$/);
    await clock.advance(500);
    assert.equal(await unused.ended, "");
    await drained;
  });

  it("reads what has arrived when that time is over, though the event loop runs late, before it closes a connection", async () => {
    await using http = await startHttp({ routes: working });
    const connection = http.connect();
    await once(connection.socket, "connect");
    await (await http.fetch("/")).text(); // it has been accepted
    const drained = http.server.drain({ signal: never });
    await delay(300);
    setImmediate(() => {
      connection.write(get); // it is there, and nobody has read it when the half second is over
      block(300);
    });
    assert.match(await connection.ended, /\r\nConnection: close\r\n\r\nx$/);
    await drained;
  });

  it("cuts off what is left when its signal aborts", async () => {
    const aborted = Promise.withResolvers<void>();
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", (request) => {
          request.signal.addEventListener("abort", () => aborted.resolve());
          return new Promise(() => {});
        }),
    });
    const connection = http.connect();
    connection.write(get);
    await active(http, 1);
    const limit = new AbortController();
    const drained = http.server.drain({ signal: limit.signal });
    limit.abort();
    await drained;
    await aborted.promise;
    assert.equal(await connection.ended, "");
  });

  it("can be called twice, and either signal cuts off", async () => {
    await using http = await startHttp({ routes: (app) => void app.get("/", () => new Promise(() => {})) });
    const connection = http.connect();
    connection.write(get);
    await active(http, 1);
    const limit = new AbortController();
    const both = [http.server.drain({ signal: never }), http.server.drain({ signal: limit.signal })];
    limit.abort();
    await Promise.all(both);
    await http.server.drain({ signal: never });
    await connection.ended;
  });

  it("has nothing to do before the server listens", async () => {
    const server = await createHttpServer({ ...(await unlistened()), routes: [] });
    await server.drain({ signal: never });
    await server.drain({ signal: AbortSignal.abort() });
    await server.close();
  });
});

describe("close", () => {
  it("cuts off what is left, also during a drain, and can be called twice", async () => {
    const http = await startHttp({ routes: (app) => void app.get("/", () => new Promise(() => {})) });
    const connection = http.connect();
    connection.write(get);
    await active(http, 1);
    const drained = http.server.drain({ signal: never });
    await Promise.all([http.server.close(), http.server.close()]);
    await drained;
    assert.equal(await connection.ended, "");
    await http.server.close();
  });

  it("works without listen, and runs the onClose hooks of the routes", async () => {
    let closes = 0;
    const server = await createHttpServer({
      ...(await unlistened()),
      routes: [(app) => void app.addHook("onClose", async () => void closes++)],
    });
    assert.equal(server.port, 0);
    await server.close();
    await server.close();
    assert.equal(closes, 1);
  });

  it("leaves no timer, socket or handle behind, fifty times over", async () => {
    const before = process.getActiveResourcesInfo().filter((name) => name !== "Immediate").length;
    for (let round = 0; round < 50; round++) {
      await using http = await startHttp({ routes: working });
      const connection = http.connect();
      connection.write(get);
      await connection.until("\r\n\r\nx");
      connection.destroy();
    }
    await until(() => process.getActiveResourcesInfo().filter((name) => name !== "Immediate").length <= before);
  });
});

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

function working(app: HttpApp): void {
  app.get("/", async () => {
    await new Promise(setImmediate);
    return "x";
  });
}

async function active(http: TestHttp, count: number): Promise<void> {
  while (!(await http.metrics.expose()).body.includes(`\nhttp_server_active_requests ${count}\n`))
    await new Promise(setImmediate);
}

function servedBy(http: TestHttp): number {
  return http.lines.withMessage("request").length;
}

async function unlistened() {
  return { ...(await observe()), settings: testSettings, tracing: createTracing(), clock: systemClock };
}

/** One that sends a request when the one before is answered; tells whether its connection stays open. */
interface LoadClient {
  send(port: number): Promise<{ readonly status: number; readonly isLast: boolean }>;
  close(): void;
}

async function closedLoop(client: LoadClient, [first, second]: readonly [TestHttp, TestHttp], stop: AbortSignal) {
  let target = first;
  let requests = 0;
  const failures: string[] = [];
  while (!stop.aborted) {
    try {
      const { status, isLast } = await client.send(target.server.port);
      requests++;
      if (status !== 200) failures.push(`status ${status}`);
      if (isLast) target = second;
    } catch (error) {
      failures.push(String(error));
      target = second;
    }
  }
  return { requests, failures };
}

/** node's own client with a keep-alive agent. */
class AgentClient implements LoadClient {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  async send(port: number): Promise<{ status: number; isLast: boolean }> {
    const request = httpRequest({ port, host: "127.0.0.1", agent: this.#agent }).end();
    const [response] = await once(request, "response");
    response.resume();
    await once(response, "end");
    return { status: response.statusCode, isLast: response.headers.connection === "close" };
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** A bare socket that sends its next request right behind the last byte of a reply. */
class SocketClient implements LoadClient {
  #open: { readonly port: number; readonly connection: RawConnection; read: number } | undefined;

  async send(port: number): Promise<{ status: number; isLast: boolean }> {
    if (this.#open?.port !== port || this.#open.connection.socket.closed) {
      this.#open?.connection.destroy();
      this.#open = { port, connection: new RawConnection(port), read: 0 };
    }
    const { connection } = this.#open;
    connection.write(get);
    for (;;) {
      const reply = connection.received.slice(this.#open.read);
      if (reply.endsWith("\r\n\r\nx")) {
        this.#open.read += reply.length;
        const { status, headers } = parseReply(reply);
        return { status, isLast: headers.connection === "close" };
      }
      if (connection.socket.destroyed) throw connection.error ?? new Error(`closed after "${reply}"`);
      await Promise.race([once(connection.socket, "data"), connection.ended]);
    }
  }

  close(): void {
    this.#open?.connection.destroy();
  }
}

function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
