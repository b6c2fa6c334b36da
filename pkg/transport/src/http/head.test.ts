import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type OutgoingHttpHeaders } from "node:http2";
import { describe, it } from "node:test";
import { parseReply, startHttp } from "../testing/http.ts";
import { assertProblem, malformedCount, statusesOf } from "../testing/problems.ts";
import type { HttpApp } from "./server.ts";

const host = "Host: a.example";
const get = (target: string, lines = host): string => `GET ${target} HTTP/1.1\r\n${lines}\r\n\r\n`;
const post = (lines: string, body: string): string => `POST /echo HTTP/1.1\r\n${lines}\r\n\r\n${body}`;

/** A target of so many bytes. */
function longUrl(bytes: number): string {
  return "/hello?".padEnd(bytes, "x");
}

type Row = readonly [name: string, bytes: string];

/** Heads that the parser lets pass, and that two readers could take differently. @see https://www.rfc-editor.org/rfc/rfc9112 */
const malformed: readonly Row[] = [
  ["two hosts", get("/hello", "Host: a\r\nHost: b")],
  ["one host twice", get("/hello", "Host: a\r\nHost: a")],
  ...[
    "",
    "a,b",
    "a b",
    "user@a",
    "a/b",
    "a\\b",
    "a?b",
    "a#b",
    "a%2f",
    ":80",
    "a:b",
    "a:123456",
    "a:80:80",
    "[::1",
    "[]",
    "[::g]",
    "::1",
    "\u00e9",
  ].map((value): Row => [`host "${value}"`, get("/hello", `Host: ${value}`)]),
  ["a host that is none in HTTP/1.0", "GET /hello HTTP/1.0\r\nHost: a,b\r\n\r\n"],
  ["HTTP/0.9", "GET /hello\r\n\r\n"],
  ["HTTP/0.9 with a host", "GET /hello\r\nHost: a\r\n\r\n"],
  ["HTTP/2.0", "GET /hello HTTP/2.0\r\nHost: a\r\n\r\n"],
  ["the beginning of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  ["an absolute form of another host", get("http://evil.example/hello")],
  ["an absolute form of another port", get("http://a.example:81/hello")],
  ["an absolute form with a user", get("http://user@a.example/hello")],
  ["an absolute form of another scheme", get("ftp://a.example/hello")],
  ["an absolute form without a host beside it", "GET http://a.example/hello HTTP/1.0\r\n\r\n"],
  ["an absolute form with a broken escape", get("http://a.example/any/%zz")],
  ["* with GET", get("*")],
  ["no path", get("?a=b")],
  ["a path without its slash", get("hello")],
  ["a fragment", get("/hello#b")],
  ["a fragment behind a query", get("/hello?a#b")],
  ["a backslash", get("/any/..\\b")],
  ["a byte above 0x7f in the path", get("/any/\u00e9")],
  ["a control character in the path", get("/any/\u0001")],
  ...["%zz", "%", "%2", "%2g", "%g2", "a%00", "%00"].map((path): Row => [`the path /any/${path}`, get(`/any/${path}`)]),
  ["a broken escape where there is no route", get("/nowhere/%zz")],
  ["a tab between method and target", "GET\t/hello HTTP/1.1\r\nHost: a\r\n\r\n"],
  ["a space behind the version", "GET /hello HTTP/1.1 \r\nHost: a\r\n\r\n"],
  ["no host with an expectation", post("Expect: 100-continue\r\nContent-Length: 1", "a")],
  ["no host with an expectation of its own", post("Expect: x\r\nContent-Length: 1", "a")],
];

/** What is not served, each with its status and code. */
const refused: readonly (readonly [name: string, bytes: string, status: number, code: string])[] = [
  ["TRACE", `TRACE /hello HTTP/1.1\r\n${host}\r\n\r\n`, 405, "ERR_METHOD_NOT_ALLOWED"],
  ["CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405, "ERR_METHOD_NOT_ALLOWED"],
  [
    "CONNECT with a body",
    "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\nhe",
    405,
    "ERR_METHOD_NOT_ALLOWED",
  ],
  ...["gzip, chunked", "x-gzip,chunked", "deflate , chunked", "gzip, br, chunked"].map(
    (coding) =>
      [
        `transfer-encoding "${coding}"`,
        post(`${host}\r\nTransfer-Encoding: ${coding}`, "0\r\n\r\n"),
        501,
        "ERR_REQUEST_REFUSED",
      ] as const,
  ),
  [
    "a compressed body that waits for 100 Continue",
    post(`${host}\r\nExpect: 100-continue\r\nTransfer-Encoding: gzip, chunked`, ""),
    501,
    "ERR_REQUEST_REFUSED",
  ],
  ["101 header lines", get("/hello", `${host}\r\n${"a: b\r\n".repeat(99)}c: d`), 431, "ERR_REQUEST_TOO_LARGE"],
  ["2000 header lines", get("/hello", `${host}\r\n${"a:\r\n".repeat(1_999)}c:`), 431, "ERR_REQUEST_TOO_LARGE"],
  ["a target of 8 193 bytes", get(longUrl(8_193)), 414, "ERR_REQUEST_TOO_LARGE"],
  ["an absolute form of 8 193 bytes", get(`http://a.example${longUrl(8_177)}`), 414, "ERR_REQUEST_TOO_LARGE"],
];

const served: readonly Row[] = [
  ...["a", "a.example:8080", "a_b-c.example.", "127.0.0.1:1", "[::1]", "[::ffff:1.2.3.4]:65535", "a:"].map(
    (value): Row => [`host "${value}"`, get("/hello", `Host: ${value}`)],
  ),
  ["HTTP/1.0 without a host", "GET /hello HTTP/1.0\r\n\r\n"],
  ["an absolute form of the same host", get("http://a.example/hello")],
  ["an absolute form of the same host in capitals", get("HTTPS://A.EXAMPLE/hello")],
  ["whatever in a query but a fragment", get("/hello?a=%zz&b=c\\d&e[f]=%00")],
  ["escapes that are some", get("/any/%2f%20%C3%A9")],
  ["a hundred header lines", get("/hello", `${host}\r\n${"a: b\r\n".repeat(98)}c: d`)],
  ["a target of 8 192 bytes", get(longUrl(8_192))],
  ["empty lines ahead of it", `\r\n\r\n${get("/hello")}`],
  [
    "an upgrade to what nobody serves",
    get("/hello", `${host}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk`),
  ],
];

/** Routes that say that they ran. */
function counting(): { readonly ran: string[]; readonly routes: (app: HttpApp) => void } {
  const ran: string[] = [];
  const routes = (app: HttpApp): void => {
    app.addHook("onRequest", async ({ method }) => void ran.push(method));
    app.get("/hello", async () => "hello");
    app.get("/any/*", async () => "hello");
    app.post("/echo", async ({ body }) => body);
    app.get("/authorization", async ({ headers }) => ({ authorization: headers.authorization }));
    app.get("/x", async ({ headers }) => ({ x: headers["x"] }));
  };
  return { ran, routes };
}

describe("a request head that two readers could take differently", () => {
  for (const [name, bytes] of malformed) {
    it(`is a 400 problem and a closed connection before anything ran, and others are served: ${name}`, async () => {
      const { ran, routes } = counting();
      await using http = await startHttp({ routes });
      const reply = parseReply(await http.raw(Buffer.from(bytes, "latin1")));
      assertProblem(reply, 400, "ERR_REQUEST_MALFORMED");
      assert.equal(reply.headers.connection, "close");
      assert.equal(await malformedCount(http), 1);
      assert.deepEqual([ran, await http.reports()], [[], []]);
      assert.equal((await http.fetch("/hello")).status, 200);
    });
  }

  for (const [name, bytes, status, code] of refused) {
    it(`or that asks for what is not served is a ${status} problem: ${name}`, async () => {
      const { ran, routes } = counting();
      await using http = await startHttp({ routes });
      const text = await http.raw(bytes);
      assert.deepEqual(statusesOf(text), [status]);
      const reply = parseReply(text);
      assertProblem(reply, status, code);
      assert.equal(reply.headers.connection, "close");
      assert.equal(reply.headers.allow, status === 405 ? "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" : undefined);
      assert.equal(await malformedCount(http), 1);
      assert.deepEqual([ran, await http.reports()], [[], []]);
      assert.equal((await http.fetch("/hello")).status, 200);
    });
  }

  for (const [name, bytes] of served) {
    it(`is not this one, which is served: ${name}`, async () => {
      const { routes } = counting();
      await using http = await startHttp({ routes });
      const connection = http.connect();
      connection.write(bytes);
      await connection.until("hello");
      assert.deepEqual([statusesOf(connection.received), await malformedCount(http)], [[200], 0]);
      connection.destroy();
    });
  }

  it("never shows in its problem what was sent", async () => {
    await using http = await startHttp();
    for (const bytes of [get("/secret#x"), get("http://secret/"), get("/hello", "Host: secret,b")])
      assert.doesNotMatch(await http.raw(bytes), /secret/);
  });

  it("is refused also behind a request that is served, and nothing behind it is begun", async () => {
    const { ran, routes } = counting();
    await using http = await startHttp({ routes });
    const text = await http.raw(`${get("/hello")}${get("/hello#b")}${get("/hello")}`);
    assert.deepEqual(statusesOf(text), [200, 400]);
    assert.deepEqual(ran.length, 1);
  });
});

describe("the limits of a head", () => {
  const lines = (count: number): string => `Host: a.example\r\n${"a: b\r\n".repeat(count - 2)}Connection: close`;
  const bytes = (count: number): string => `${lines(2)}\r\nx: ${"x".repeat(count)}`;
  const { routes } = counting();

  for (const [name, settings, within, past, status] of [
    ["fewer lines", { maxHeaderLines: 10 }, get("/hello", lines(10)), get("/hello", lines(11)), 431],
    ["more lines", { maxHeaderLines: 1_000 }, get("/hello", lines(1_000)), get("/hello", lines(1_001)), 431],
    ["fewer bytes", { maxHeaderBytes: 1_024 }, get("/hello", bytes(900)), get("/hello", bytes(1_024)), 431],
    ["more bytes", { maxHeaderBytes: 65_536 }, get("/hello", bytes(65_000)), get("/hello", bytes(65_536)), 431],
    ["a shorter target", { maxUrlLength: 16 }, get(longUrl(16), lines(2)), get(longUrl(17), lines(2)), 414],
    [
      "a longer target",
      { maxUrlLength: 60_000, maxHeaderBytes: 65_536 },
      get(longUrl(60_000), lines(2)),
      get(longUrl(60_001), lines(2)),
      414,
    ],
  ] as const) {
    it(`are those that the settings say: ${name}`, async () => {
      await using http = await startHttp({ routes, settings });
      assert.deepEqual(statusesOf(await http.raw(within)), [200]);
      assertProblem(parseReply(await http.raw(past)), status, "ERR_REQUEST_TOO_LARGE");
    });
  }

  it("are the same over HTTP/2", async () => {
    const settings = { http2: true, maxHeaderLines: 200, maxHeaderBytes: 30_000, maxUrlLength: 10_000 };
    await using http = await startHttp({ routes, settings });
    const session = connect(http.origin);
    await once(session, "remoteSettings");
    const ask = async (headers: OutgoingHttpHeaders): Promise<number | undefined> => {
      const stream = session.request({ ":path": "/hello", ...headers });
      const [{ ":status": status }] = await once(stream.resume(), "response");
      return status;
    };
    const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, at) => [`x-${at}`, "x"]));
    const statuses = [
      await ask(many(196)), // and four of HTTP/2 itself
      await ask(many(197)),
      await ask({ a: "x".repeat(25_000) }),
      await ask({ ":path": longUrl(10_000) }),
      await ask({ ":path": longUrl(10_001) }),
    ];
    assert.deepEqual(statuses, [200, 431, 200, 200, 414]);
    session.destroy();
  });
});

describe("lines of a head that are there twice", () => {
  it("are told apart from one: authorization is neither the first nor the last of them", async () => {
    const { routes } = counting();
    await using http = await startHttp({ routes });
    const lines = `${host}\r\nConnection: close\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b`;
    const { body } = parseReply(await http.raw(get("/authorization", lines)));
    assert.deepEqual(JSON.parse(body), { authorization: "Bearer a, Bearer b" });
  });

  it("are a 415 problem where they are two media types", async () => {
    const { ran, routes } = counting();
    await using http = await startHttp({ routes });
    const types = "Content-Type: application/json\r\nContent-Type: text/plain";
    const connection = http.connect();
    connection.write(post(`${host}\r\n${types}\r\nContent-Length: 2`, "{}"));
    await connection.until("ERR_REQUEST_MEDIA_TYPE");
    assert.deepEqual([statusesOf(connection.received), ran], [[415], ["POST"]]);
    connection.destroy();
  });
});

describe("a byte above 0x7f in the value of a header", () => {
  it("reaches the handler as it is", async () => {
    const { routes } = counting();
    await using http = await startHttp({ routes });
    const bytes = Buffer.from(get("/x", `${host}\r\nConnection: close\r\nX: a\u0085b`), "latin1");
    const { body } = parseReply(await http.raw(bytes));
    assert.deepEqual(JSON.parse(Buffer.from(body, "latin1").toString()), { x: "a\u0085b" });
  });
});

describe("an expectation", () => {
  it("other than 100-continue is a 417 problem before anything ran", async () => {
    const { ran, routes } = counting();
    await using http = await startHttp({ routes });
    const reply = parseReply(await http.raw(post(`${host}\r\nExpect: 200-ok\r\nContent-Length: 1`, "a")));
    assertProblem(reply, 417, "ERR_REQUEST_REFUSED");
    assert.deepEqual([reply.headers.connection, ran], ["close", []]);
  });

  for (const [when, early] of [
    ["that comes when it is asked for", ""],
    ["that does not wait", "ab"],
  ] as const) {
    it(`of 100-continue is met before the body is read ${when}`, async () => {
      const { routes } = counting();
      await using http = await startHttp({ routes });
      const connection = http.connect();
      const lines = `${host}\r\nExpect: 100-continue\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 2`;
      connection.write(post(lines, early));
      await connection.until("100 Continue");
      if (early === "") connection.write("ab");
      const text = await connection.ended;
      assert.deepEqual(statusesOf(text), [100, 200]);
      assert.ok(text.endsWith("\r\n\r\nab"), text);
    });
  }
});
