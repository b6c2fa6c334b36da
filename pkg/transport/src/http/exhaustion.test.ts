import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { parseReply, startHttp, type TestHttp } from "../testing/http.ts";
import { assertProblem, statusesOf } from "../testing/problems.ts";
import type { HttpApp } from "./server.ts";

const head = "POST /json HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
const mebibyte = 1_048_576;

function routes(app: HttpApp): void {
  app.get("/hello", async () => "hello");
  app.post("/json", async ({ body }) => typeof body);
}

/** Writes as long as the other side takes it. Returns how many bytes it has taken. */
async function pour(socket: Socket, chunk: Buffer, bytes: number): Promise<number> {
  let sent = 0;
  for (; sent < bytes && socket.writable; sent += chunk.length) {
    if (!socket.write(chunk)) await Promise.race([once(socket, "drain"), once(socket, "close")]).catch(() => {});
  }
  return sent;
}

const connectionsOf = async (http: TestHttp): Promise<number> => {
  const active = /^http_server_active_requests (\d+)$/m.exec((await http.metrics.expose()).body)?.[1];
  return Number(active);
};

describe("a body of 1 GiB", () => {
  it("is a 413 problem at once where it says so itself, and its connection closes", async () => {
    await using http = await startHttp({ routes });
    const reply = parseReply(await http.raw(`${head}Content-Length: ${1_024 * mebibyte}\r\n\r\n{`));
    assertProblem(reply, 413, "ERR_REQUEST_TOO_LARGE");
    assert.equal(reply.headers.connection, "close");
  });

  it("in chunks is a 413 problem at the limit, and no more of it is taken or kept", async () => {
    await using http = await startHttp({ routes });
    const before = process.memoryUsage().arrayBuffers;
    const connection = http.connect();
    connection.write(`${head}Transfer-Encoding: chunked\r\n\r\n`);
    const chunk = Buffer.concat([Buffer.from("10000\r\n"), Buffer.alloc(65_536, "1"), Buffer.from("\r\n")]);
    const sent = await pour(connection.socket, chunk, 1_024 * mebibyte);
    assertProblem(parseReply(await connection.ended), 413, "ERR_REQUEST_TOO_LARGE");
    assert.ok(sent < 256 * mebibyte, `${sent} bytes were taken`);
    assert.ok(process.memoryUsage().arrayBuffers - before < 64 * mebibyte);
    assert.equal((await http.fetch("/hello")).status, 200);
  });
});

describe("callers that are slow", () => {
  const limits = { headersTimeoutMs: 300, requestTimeoutMs: 600 };

  it("with their heads, by the hundred, get a 408 problem each, while others are served", async () => {
    await using http = await startHttp({ routes, settings: limits });
    const slow = Array.from({ length: 200 }, () => http.connect());
    const drip = setInterval(() => {
      for (const { socket } of slow) if (socket.writable) socket.write("X-A: b\r\n");
    }, 100);
    for (const connection of slow) connection.write("GET /hello HTTP/1.1\r\nHost: a\r\n");
    assert.equal((await http.fetch("/hello")).status, 200);
    const texts = await Promise.all(slow.map(({ ended }) => ended));
    clearInterval(drip);
    for (const text of texts) assert.deepEqual(statusesOf(text), [408]);
    assert.equal(await connectionsOf(http), 0);
  });

  for (const [how, framing, part] of [
    ["a byte at a time", "Content-Length: 1000", "1"],
    ["a chunk at a time", "Transfer-Encoding: chunked", "1\r\n1\r\n"],
  ] as const) {
    it(`with their bodies, ${how}, get a 408 problem when the time for the whole is up, however steadily it comes`, async () => {
      await using http = await startHttp({ routes, settings: limits });
      const slow = Array.from({ length: 50 }, () => http.connect());
      for (const connection of slow) connection.write(`${head}${framing}\r\n\r\n`);
      const drip = setInterval(() => {
        for (const { socket } of slow) if (socket.writable) socket.write(part);
      }, 50);
      const texts = await Promise.all(slow.map(({ ended }) => ended));
      clearInterval(drip);
      for (const text of texts) assertProblem(parseReply(text), 408, "ERR_REQUEST_TIMEOUT");
      assert.deepEqual([await connectionsOf(http), await http.reports()], [0, []]);
    });
  }
});

describe("many connections that say nothing", () => {
  it("cost little, do not keep others from being served, and are gone when their callers are", async () => {
    const count = 1_500;
    await using http = await startHttp({ routes, settings: { headersTimeoutMs: 60_000, requestTimeoutMs: 60_000 } });
    const before = process.memoryUsage().rss;
    const idle: Socket[] = [];
    for (let made = 0; made < count; made += 100) {
      const some = Array.from({ length: 100 }, () => connect(http.server.port, "127.0.0.1"));
      await Promise.all(some.map((socket) => once(socket, "connect")));
      idle.push(...some);
    }
    assert.equal((await http.fetch("/hello")).status, 200);
    // both ends of each are in this process
    assert.ok(process.memoryUsage().rss - before < 256 * mebibyte);
    for (const socket of idle) socket.destroy();
    assert.equal((await http.fetch("/hello")).status, 200);
    await http.server.drain({ signal: new AbortController().signal }); // resolves when none is left
  });

  it("are given up after keepAliveTimeoutMs when they have asked before", async () => {
    await using http = await startHttp({ routes, settings: { keepAliveTimeoutMs: 1 } });
    const connections = Array.from({ length: 50 }, () => http.connect());
    for (const connection of connections) connection.write("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    for (const text of await Promise.all(connections.map(({ ended }) => ended)))
      assert.deepEqual(statusesOf(text), [200]);
  });
});

describe("floods of heads", () => {
  it("that are too large are a 431 problem each, and leave nothing behind", async () => {
    await using http = await startHttp({ routes });
    const bytes = `GET /hello HTTP/1.1\r\nHost: a\r\nX: ${"a".repeat(20_000)}\r\n\r\n`;
    for (let round = 0; round < 20; round++) {
      const connections = Array.from({ length: 20 }, () => http.connect());
      for (const connection of connections) connection.write(bytes);
      for (const { ended } of connections) {
        const text = await ended;
        if (text !== "") assert.deepEqual(statusesOf(text), [431]); // a reset may overtake it
      }
    }
    await until(() => http.lines.withMessage("request").length === 0);
    assert.equal(await connectionsOf(http), 0);
    assert.equal((await http.fetch("/hello")).status, 200);
  });
});
