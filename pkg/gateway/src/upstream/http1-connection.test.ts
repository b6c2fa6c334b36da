import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { PassThrough, Readable } from "node:stream";
import { afterEach, describe, it } from "node:test";
import { FakeClock, until } from "@plinth/kernel/testing";
import { createHttp1Upstream } from "./http1.ts";
import type { Upstream, UpstreamCall, UpstreamFailure, UpstreamRequest } from "./upstream.ts";

const hi = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/** What a request was told, and what the instance was. */
class Told {
  status = 0;
  body = "";
  trailers: readonly string[] = [];
  failure: UpstreamFailure | undefined;
  socket: NodeJS.ReadWriteStream | undefined;
  takes = true;
  isOver = false;
  call: UpstreamCall | undefined;

  get over(): Promise<this> {
    return until(() => (this.isOver ? this : undefined), { what: "the end of a reply" });
  }
}

describe("a connection of HTTP/1.1 to an instance", () => {
  const clock = new FakeClock();
  let server: Server;
  let upstream: Upstream;
  /** What each connection has sent. */
  let received: string[] = [];
  let sockets: Socket[] = [];

  async function start(script: (socket: Socket, text: string) => void, host = "127.0.0.1"): Promise<void> {
    received = [];
    sockets = [];
    server = createServer((socket) => {
      const at = received.push("") - 1;
      sockets.push(socket.on("error", () => undefined));
      socket.on("data", (chunk) => {
        received[at] += chunk.toString("latin1");
        script(socket, received[at] ?? "");
      });
    }).listen(0, host);
    await once(server, "listening");
    const address = server.address();
    assert.ok(typeof address === "object" && address !== null);
    const times = { connectTimeoutMs: 1_000, headersTimeoutMs: 1_000, bodyGapMs: 1_000 };
    const authority = `${host.includes(":") ? `[${host}]` : host}:${address.port}`;
    upstream = createHttp1Upstream({ authority, ...times, maxConnections: 2, clock });
  }

  afterEach(() => {
    upstream.destroy();
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  function send(more: Partial<UpstreamRequest> = {}): Told {
    const told = new Told();
    const headers = ["host", "a"];
    told.call = upstream.send(
      { method: "GET", target: "/", headers, body: null, ...more },
      {
        onHead: (status) => (told.status = status),
        onUpgrade: (_headers, socket) => (told.socket = socket),
        onData: (chunk) => {
          told.body += chunk.toString("latin1");
          return told.takes;
        },
        onEnd: (trailers) => {
          told.trailers = trailers;
          told.isOver = true;
        },
        onFailure: (failure) => {
          told.failure = failure;
          told.isOver = true;
        },
      },
    );
    return told;
  }

  it("is not used again when something has come on it that nobody asked for", async () => {
    await start((socket, text) => void (text.endsWith("\r\n\r\n") && socket.write(hi)));
    assert.equal((await send().over).body, "hi");
    sockets[0]?.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
    await until(() => upstream.connections === 0);
    assert.equal((await send().over).body, "hi");
    assert.equal(received.length, 2);
  });

  it("is not used again behind a reply that more has come with", async () => {
    await start((socket) => void socket.write(`${hi}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison`));
    for (let round = 0; round < 3; round++) assert.equal((await send().over).body, "hi");
    assert.equal(received.length, 3);
  });

  it("carries one request after another, and says that it has been used", async () => {
    await start((socket, text) => void (text.includes("/last") ? socket.destroy() : socket.write(hi)));
    assert.equal((await send().over).body, "hi");
    const { failure } = await send({ target: "/last" }).over;
    assert.deepEqual([failure?.kind, failure?.sent, failure?.reused], ["reset", true, true]);
    assert.equal(received.length, 1);
  });

  it("sends chunks, and what belongs behind them", async () => {
    await start((socket, text) => void (text.endsWith("\r\n\r\n") && text.includes("\r\n0\r\n") && socket.write(hi)));
    const trailers = (): string[] => ["digest", "abc", "content-length", "9", "x", "a\r\nevil: b"];
    const told = send({ method: "POST", body: Readable.from([Buffer.from("he"), Buffer.from("llo")]), trailers });
    assert.equal((await told.over).body, "hi");
    assert.match(
      received[0] ?? "",
      /^POST \/ HTTP\/1\.1\r\n[^]*transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\ndigest: abc\r\n\r\n$/,
    );
  });

  it("sends a body of a length as it is, and never more or less than that", async () => {
    await start((socket, text) => void (text.endsWith("hello") && socket.write(hi)));
    const post = (body: string): Told =>
      send({ method: "POST", headers: ["host", "a", "content-length", "5"], body: Readable.from([Buffer.from(body)]) });
    assert.equal((await post("hello").over).body, "hi");
    for (const body of ["hell", "hello?"]) assert.equal((await post(body).over).failure?.kind, "unsendable");
    assert.ok(!received.join("").includes("?"));
  });

  for (const [what, more] of [
    ["a line break in a value", { headers: ["x", "a\r\nevil: b"] }],
    ["a line break in a name", { headers: ["x\r\n", "a"] }],
    ["what Latin-1 cannot hold", { headers: ["x", "€"] }],
    ["a blank in its target", { target: "/ HTTP/1.1" }],
    ["two lengths", { headers: ["content-length", "0", "Content-Length", "0"] }],
    ["a coding of its own", { headers: ["transfer-encoding", "gzip"] }],
    ["a length without a body", { headers: ["content-length", "1"] }],
  ] as const) {
    it(`sends nothing of a request with ${what}`, async () => {
      await start(() => undefined);
      const { failure } = await send({ ...more, headers: "headers" in more ? [...more.headers] : [] }).over;
      assert.deepEqual([failure?.kind, failure?.sent, upstream.connections], ["unsendable", false, 0]);
    });
  }

  it("hands on a reply that comes before the upload has ended, and ends with it", async () => {
    await start((socket) => void socket.write(hi));
    const body = new PassThrough();
    body.write("never all of it");
    const told = send({ method: "POST", body });
    assert.equal((await told.over).body, "hi");
    assert.deepEqual([body.destroyed, upstream.connections], [true, 0]);
  });

  it("gives no more than is taken", async () => {
    const big = 4_000_000;
    await start((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${big}\r\n\r\n`);
      socket.write(Buffer.alloc(big, "x"));
    });
    const told = send();
    told.takes = false;
    await until(() => told.body !== "");
    const { length } = told.body;
    await clock.advance(5_000); // a pause of the client's is none of the instance's
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    assert.deepEqual([told.body.length, told.isOver], [length, false]);
    told.takes = true;
    told.call?.resume();
    assert.equal((await told.over).body.length, big);
  });

  it("reads the next reply also where the end of one came with more than was taken", async () => {
    for (const reply of [hi, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"]) {
      await start((socket) => void socket.write(reply));
      const first = send();
      first.takes = false;
      assert.equal((await first.over).body, "hi");
      assert.equal((await send().over).body, "hi");
      assert.equal(sockets.length, 1);
      upstream.destroy();
      server.close();
    }
  });

  it("ends when its request is broken off, whether it stands yet or not", async () => {
    await start(() => undefined);
    const early = send();
    early.call?.abort();
    const late = send();
    await until(() => received.some((text) => text !== ""));
    late.call?.abort();
    assert.equal(upstream.connections, 0);
    late.call?.abort();
    assert.deepEqual([early.isOver, late.isOver], [false, false]);
  });

  it("fails when no head comes in time, when the body pauses for too long, and not while it is sent", async () => {
    await start((socket, text) => void (text.startsWith("GET /part") && socket.write(hi.slice(0, -1))));
    const silent = send();
    await until(() => received[0] !== "" && received[0] !== undefined);
    await clock.advance(1_100);
    assert.equal((await silent.over).failure?.kind, "timeout");
    const part = send({ target: "/part" });
    await until(() => part.body === "h");
    await clock.advance(1_100);
    assert.equal((await part.over).failure?.kind, "stalled");
    const body = new PassThrough();
    const upload = send({ method: "POST", body });
    await until(() => received.length === 3 && received[2] !== "");
    await clock.advance(3_000);
    assert.equal(upload.isOver, false);
    body.end();
    await until(() => received[2]?.endsWith("0\r\n\r\n") === true);
    await clock.advance(1_100);
    assert.equal((await upload.over).failure?.kind, "timeout");
  });

  it("becomes the caller's where another protocol was asked for, with what has come on it", async () => {
    await start((socket, text) => {
      if (text.endsWith("ping")) socket.write("pong");
      else socket.write("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\nfirst ");
    });
    const told = send({ upgrade: "websocket" });
    const socket = await until(() => told.socket);
    socket.on("data", (chunk: Buffer) => (told.body += chunk.toString())).resume();
    socket.write("ping");
    await until(() => told.body === "first pong");
    assert.equal(upstream.connections, 1);
    upstream.destroy();
    await until(() => upstream.connections === 0);
  });

  it("is not opened beyond their number, nor once they are closed, and those at work end first", async () => {
    await start(() => undefined);
    const [first, second] = [send(), send()];
    assert.equal((await send().over).failure?.kind, "busy");
    await until(() => received.length === 2 && received.every((text) => text !== ""));
    const closed = upstream.close();
    assert.equal((await send().over).failure?.kind, "busy");
    for (const socket of sockets) socket.write(hi);
    await Promise.all([first.over, second.over, closed]);
    assert.deepEqual([first.body, second.body, upstream.connections], ["hi", "hi", 0]);
  });

  it("is made to an IPv6 address", async () => {
    await start((socket) => void socket.write(hi), "::1");
    assert.equal((await send().over).body, "hi");
  });

  it("says of an address that refuses that nothing was sent", async () => {
    await start(() => undefined);
    server.close();
    await once(server, "close");
    const { failure } = await send().over;
    assert.deepEqual([failure?.kind, failure?.sent, failure?.reused], ["unreachable", false, false]);
  });
});
