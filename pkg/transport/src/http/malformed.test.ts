import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { parseReply, startHttp, type TestHttp } from "../testing/http.ts";
import { assertProblem, malformedCount } from "../testing/problems.ts";

const head = "POST /echo HTTP/1.1\r\nHost: a\r\n";
const chunked = `${head}Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n`;
const get = "GET /hello HTTP/1.1\r\nHost: a\r\n";

/** What no HTTP/1.1 request may look like: framing that two readers could take differently, and damage. */
const malformed: readonly (readonly [name: string, bytes: string])[] = [
  [
    "content-length beside transfer-encoding",
    `${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  ["two equal content-lengths", `${head}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`],
  ["two different content-lengths", `${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!`],
  ...["5, 5", "+5", "-0", "0x5", "5_0", ""].map(
    (value) => [`content-length "${value}"`, `${head}Content-Length: ${value}\r\n\r\nhello`] as const,
  ),
  ["an empty content-length, then 59", `${head}Content-Length: \r\nContent-Length: 59\r\n\r\nhello`],
  ...["chunked, gzip", "xchunked", "\x0bchunked", "chunked\x0c", "chunked\0", "chunked;q=1", "identity"].map(
    (value) =>
      [`transfer-encoding ${JSON.stringify(value)}`, `${head}Transfer-Encoding: ${value}\r\n\r\n0\r\n\r\n`] as const,
  ),
  ["an empty transfer-encoding", `${head}Transfer-Encoding: \r\n\r\n`],
  ["an empty transfer-coding before chunked", `${head}Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n`],
  ["transfer-encoding in HTTP/1.0", "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["two transfer-encodings", `${head}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n`],
  ["a space before the colon", `${head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`],
  ["a folded header", `${head}X-A: b\r\n c\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n`],
  ["a space before the first header", "GET /hello HTTP/1.1\r\n Host: a\r\n\r\n"],
  ...["0x1", "-1", " 1", "1_", "1".repeat(17)].map(
    (size) => [`chunk size "${size}"`, `${chunked}${size}\r\na\r\n0\r\n\r\n`] as const,
  ),
  ["a chunk that is longer than its size", `${chunked}1\r\nabc\r\n0\r\n\r\n`],
  ["a chunk without its line end", `${chunked}1\r\na0\r\n\r\n`],
  ["a chunk extension with a control character", `${chunked}1;\0\r\na\r\n0\r\n\r\n`],
  ["a bare carriage return before a chunk extension", `${chunked}1\r\r;a\r\na\r\n0\r\n\r\n`],
  ["a bare line feed after a chunk size", `${chunked}1\na\r\n0\r\n\r\n`],
  ["a bare line feed after a header", "GET /hello HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"],
  ["a head that ends in CR LF CR X", `${get}\rX`],
  ["a bare carriage return in a value", `${get}X: a\rb\r\n\r\n`],
  ["a header without a colon", `${get}nonsense\r\n\r\n`],
  ["an empty header name", `${get}: b\r\n\r\n`],
  ["a header name with a space", `${get}X Y: b\r\n\r\n`],
  ["a header name with a byte above 0x7f", `${get}X\u00e9: b\r\n\r\n`],
  ["NUL in a value", `${get}X: a\0b\r\n\r\n`],
  ["no host", "GET /hello HTTP/1.1\r\n\r\n"],
  ["no request at all", "hello\r\n\r\n"],
  ["a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
  ["a method of its own", "FLY /hello HTTP/1.1\r\nHost: a\r\n\r\n"],
  ["a version of its own", "GET /hello HTTP/9.9\r\nHost: a\r\n\r\n"],
];

describe("bytes that are no HTTP/1.1 request", () => {
  for (const [name, bytes] of malformed) {
    it(`are answered with a 400 problem and a closed connection: ${name}`, async () => {
      await using http = await startHttp({ routes: withRoutes });
      const reply = parseReply(await http.raw(Buffer.from(bytes, "latin1")));
      assertProblem(reply, 400, "ERR_REQUEST_MALFORMED");
      assert.equal(reply.headers.connection, "close");
      assert.equal(await malformedCount(http), 1);
      assert.deepEqual(await http.reports(), []);
      assert.equal((await http.fetch("/hello")).status, 200);
    });
  }

  it("are answered with 431 when the head is too large", async () => {
    await using http = await startHttp({ routes: withRoutes });
    const connection = http.connect();
    connection.write(`${get}X: ${"a".repeat(20_000)}\r\n\r\n`);
    assertProblem(parseReply(await connection.ended), 431, "ERR_REQUEST_TOO_LARGE");
    const many = Array.from({ length: 2_000 }, (_, index) => `X-${index}: aaaa\r\n`).join("");
    assertProblem(parseReply(await http.raw(`${get}${many}\r\n`)), 431, "ERR_REQUEST_TOO_LARGE");
  });

  it("are answered with 413 when the chunk extensions are too large", async () => {
    await using http = await startHttp({ routes: withRoutes });
    const reply = parseReply(await http.raw(`${chunked}1;${"a".repeat(65_536)}\r\na\r\n0\r\n\r\n`));
    assertProblem(reply, 413, "ERR_REQUEST_TOO_LARGE");
  });

  it("are answered with 408 when the head does not arrive in time", async () => {
    await using http = await startHttp({ routes: withRoutes, settings: { headersTimeoutMs: 100 } });
    assertProblem(parseReply(await http.raw("GET /hello HTTP/1.1\r\nHos")), 408, "ERR_REQUEST_TIMEOUT");
  });

  it("are answered with 408, request id and access log line when the body does not arrive in time", async () => {
    await using http = await startHttp({
      routes: withRoutes,
      settings: { headersTimeoutMs: 100, requestTimeoutMs: 100 },
    });
    const request = `${head}Content-Type: text/plain\r\nX-Request-Id: slow-body-1\r\nContent-Length: 10\r\n\r\nhalf`;
    const reply = parseReply(await http.raw(request));
    assertProblem(reply, 408, "ERR_REQUEST_TIMEOUT");
    assert.equal(reply.headers["x-request-id"], "slow-body-1");
    const [line] = await accessLog(http, 1);
    assert.deepEqual([line?.status, line?.code, line?.route], [408, "ERR_REQUEST_TIMEOUT", "/echo"]);
  });

  it("are answered with 400 when the connection ends in the middle of a body", async () => {
    await using http = await startHttp({ routes: withRoutes });
    const connection = http.connect();
    connection.write(`${head}Content-Type: text/plain\r\nContent-Length: 10\r\n\r\nhalf`);
    connection.socket.end();
    assertProblem(parseReply(await connection.ended), 400, "ERR_REQUEST_MALFORMED");
    assert.deepEqual(await http.reports(), []);
  });

  it("never show in the problem what was sent", async () => {
    await using http = await startHttp();
    const text = await http.raw("GET /secret-1 HTTP/1.1\r\nHost: a\r\nsecret-2\r\n\r\n");
    assert.doesNotMatch(text, /secret/);
  });

  it("do not take the place of a reply that is still to come", async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    await using http = await startHttp({ routes: (app) => void app.get("/slow", () => promise) });
    const connection = http.connect();
    connection.write("GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGARBAGE\r\n\r\n");
    await until(() => http.lines.lines.length > 0);
    await until(() => connection.socket.bytesWritten > 0);
    await malformedCount(http, 1);
    resolve("slow");
    const text = await connection.ended;
    assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1);
    const reply = parseReply(text);
    assert.deepEqual([reply.status, reply.body, reply.headers.connection], [200, "slow", "close"]);
  });

  it("are not answered a second time when their request already has its answer", async () => {
    await using http = await startHttp();
    const connection = http.connect();
    connection.write("POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    await connection.until("ERR_ROUTE_NOT_FOUND");
    connection.write("zz\r\n");
    const text = await connection.ended;
    assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1);
  });

  it("cut the connection when part of the reply is already on its way", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/stream", (_request, reply) => {
          reply.hijack();
          reply.raw.writeHead(200, { "content-length": "100" });
          reply.raw.write("part");
        }),
    });
    const connection = http.connect();
    connection.write("GET /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    await connection.until("part");
    connection.write("zz\r\n");
    const text = await connection.ended;
    assert.ok(text.endsWith("part"), text);
    const [line] = await accessLog(http, 1);
    assert.deepEqual([line?.status, line?.code], [400, "ERR_REQUEST_MALFORMED"]);
  });

  it("tell the handler to stop when they are its request's body", async () => {
    const told = Promise.withResolvers<string>();
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/wait", (request) => {
          request.signal.addEventListener("abort", () => told.resolve(request.signal.reason.code));
          return new Promise(() => {});
        }),
    });
    const connection = http.connect();
    connection.write("GET /wait HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assertProblem(parseReply(await connection.ended), 400, "ERR_REQUEST_MALFORMED");
    assert.equal(await told.promise, "ERR_REQUEST_MALFORMED");
  });

  it("leave nothing open when the client never closes its side", async () => {
    await using http = await startHttp();
    const connections = Array.from({ length: 20 }, () => http.connect());
    for (const connection of connections) {
      connection.socket.allowHalfOpen = true;
      connection.write("GARBAGE\r\n\r\n");
    }
    await Promise.all(connections.map(({ socket }) => once(socket, "end")));
    await http.server.drain({ signal: new AbortController().signal }); // resolves when every connection is closed
    for (const connection of connections) connection.destroy();
  });
});

function withRoutes(app: Parameters<NonNullable<Parameters<typeof startHttp>[0]>["routes"] & object>[0]): void {
  app.get("/hello", async () => "hello");
  app.post("/echo", async ({ body }) => body);
}

async function accessLog(http: TestHttp, count: number): Promise<Record<string, unknown>[]> {
  await until(() => http.lines.withMessage("request").length >= count);
  return http.lines.withMessage("request");
}
