import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { parseReply, startHttp } from "../testing/http.ts";
import { assertProblem, malformedCount, statusesOf } from "../testing/problems.ts";
import type { HttpApp } from "./server.ts";

const host = "Host: a";
const next = `GET /next HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`;
const chunked = `POST /echo HTTP/1.1\r\n${host}\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n`;

function routes(app: HttpApp): void {
  app.route({ method: ["GET", "OPTIONS"], url: "/hello", handler: async () => "hello" });
  app.get("/next", async () => "next");
  app.post("/echo", async ({ body }) => body);
  app.post("/trailers", async ({ body, headers, raw }) => ({ body, headers, trailers: raw.trailers }));
}

describe("chunks", () => {
  const malformed: readonly (readonly [name: string, body: string])[] = [
    ["an extension without a name", "1;\r\na\r\n0\r\n\r\n"],
    ["an extension that ends in a bare line feed", "1;\na\r\n0\r\n\r\n"],
    ["a size that is longer than the data", "5\r\na\r\n0\r\n\r\n"],
    ["a size that says nothing", "\r\na\r\n0\r\n\r\n"],
    ["a size that no number holds", "FFFFFFFFFFFFFFFFF\r\na\r\n0\r\n\r\n"],
    ["a trailer named content-length", "1\r\na\r\n0\r\nContent-Length: 9\r\n\r\n"],
    ["a trailer named transfer-encoding", "1\r\na\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ["a trailer without a colon", "1\r\na\r\n0\r\nnonsense\r\n\r\n"],
  ];
  for (const [name, body] of malformed) {
    it(`that are none are a 400 problem and a closed connection: ${name}`, async () => {
      await using http = await startHttp({ routes });
      const reply = parseReply(await http.raw(`${chunked}\r\n${body}`));
      assertProblem(reply, 400, "ERR_REQUEST_MALFORMED");
      assert.equal(reply.headers.connection, "close");
      assert.equal(await malformedCount(http), 1);
      assert.equal((await http.fetch("/hello")).status, 200);
    });
  }

  it("may have trailers, which never become headers", async () => {
    await using http = await startHttp({ routes });
    const head = chunked.replace("/echo", "/trailers");
    const text = await http.raw(
      `${head}Connection: close\r\n\r\n1\r\na\r\n0\r\nAuthorization: Bearer x\r\nHost: evil\r\nX-Request-Id: evil-evil\r\n\r\n`,
    );
    const reply = parseReply(text);
    const { body, headers } = JSON.parse(reply.body);
    assert.deepEqual([reply.status, body, headers.host, headers.authorization], [200, "a", "a", undefined]);
    assert.notEqual(reply.headers["x-request-id"], "evil-evil");
  });

  it("whose extension drips for ever are a 408 problem", async () => {
    await using http = await startHttp({ routes, settings: { headersTimeoutMs: 200, requestTimeoutMs: 200 } });
    const connection = http.connect();
    connection.write(`${chunked}\r\n1;`);
    const drip = setInterval(() => connection.write("a"), 20);
    await connection.ended;
    clearInterval(drip);
    assertProblem(parseReply(connection.received), 408, "ERR_REQUEST_TIMEOUT");
    assert.equal(await malformedCount(http), 1);
  });

  it("are followed by the next request; what is none there is never taken for one", async () => {
    await using http = await startHttp({ routes });
    const text = await http.raw(`${chunked}\r\n1\r\na\r\n0\r\n\r\nXXX${next}`);
    assert.deepEqual(statusesOf(text), [200]);
    assert.equal(await malformedCount(http, 1), 1);
    assert.deepEqual(statusesOf(await http.raw(`${chunked}\r\n1\r\na\r\n0\r\n\r\n${next}`)), [200, 200]);
  });
});

describe("a body where none is read", () => {
  /** What looks like a request of its own. */
  const body = `GET /smuggled HTTP/1.1\r\n${host}\r\n\r\n`;
  for (const method of ["GET", "HEAD", "OPTIONS"]) {
    for (const [how, lines] of [
      ["with its length", `Content-Length: ${body.length}\r\n\r\n${body}`],
      ["in chunks", `Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`],
    ] as const) {
      it(`is passed over and never taken for the next request: ${method} ${how}`, async () => {
        await using http = await startHttp({ routes });
        const type = method === "OPTIONS" ? "Content-Type: text/plain\r\n" : "";
        const text = await http.raw(`${method} /hello HTTP/1.1\r\n${host}\r\n${type}${lines}${next}`);
        assert.deepEqual(statusesOf(text), [200, 200]);
        await until(() => http.lines.withMessage("request").length === 2);
        const paths = http.lines.withMessage("request").map(({ path }) => path);
        assert.deepEqual(paths, ["/hello", "/next"]);
      });
    }
  }

  it("is not inflated unless the config says so: a compressed one is a 415 problem", async () => {
    await using http = await startHttp({ routes });
    const response = await http.fetch("/echo", {
      method: "POST",
      headers: { "content-type": "application/json", "content-encoding": "gzip" },
      body: Buffer.from("1f8b0800000000000003abae050043bfa6a302000000", "hex"), // {}
    });
    assert.deepEqual([response.status, JSON.parse(await response.text()).code], [415, "ERR_REQUEST_MEDIA_TYPE"]);
  });
});

describe("a body that pollutes prototypes", () => {
  for (const body of ['{"__proto__":{"admin":true}}', '{"a":{"constructor":{"prototype":{"admin":true}}}}']) {
    it(`is a 400 problem: ${body}`, async () => {
      await using http = await startHttp({ routes });
      const headers = { "content-type": "application/json" };
      const response = await http.fetch("/echo", { method: "POST", headers, body });
      assert.deepEqual([response.status, JSON.parse(await response.text()).code], [400, "ERR_REQUEST_BODY"]);
      assert.equal(Reflect.get({}, "admin"), undefined);
      assert.deepEqual(await http.reports(), []);
    });
  }
});

describe("requests that do not wait for replies", () => {
  it("are answered in order, a hundred behind the one being answered", async () => {
    await using http = await startHttp({ routes });
    const text = await http.raw(`${`GET /hello HTTP/1.1\r\n${host}\r\n\r\n`.repeat(100)}${next}`);
    assert.deepEqual(new Set(statusesOf(text)), new Set([200]));
    assert.equal(statusesOf(text).length, 101);
    assert.ok(text.endsWith("next"));
  });

  for (const [how, count] of [
    ["that came at once", 150],
    ["that never end", 1_000_000], // more than the buffers of two sockets hold
  ] as const) {
    it(`are not begun beyond that, of requests ${how}: the connection closes after a 429 problem, and no more is read`, async () => {
      const { promise, resolve } = Promise.withResolvers<string>();
      let begun = 0;
      await using http = await startHttp({
        routes: (app) =>
          void app.get("/slow", () => {
            begun++;
            return promise;
          }),
      });
      const connection = http.connect();
      connection.write(`GET /slow HTTP/1.1\r\n${host}\r\n\r\n`.repeat(count));
      await until(() => begun === 101);
      if (count > 150) assert.ok(connection.socket.writableLength > 0, "the server has stopped reading");
      resolve("slow");
      const statuses = statusesOf(await connection.ended);
      const all = [...Array.from({ length: 101 }, () => 200), 429];
      // what is still being sent when a connection closes makes the system reset it, which may overtake the replies
      assert.deepEqual(statuses, count > 150 ? all.slice(0, statuses.length) : all);
      assert.equal(begun, 101);
      await until(() => http.lines.withMessage("request").length === 102);
      const codes = http.lines.withMessage("request").map(({ code }) => code);
      assert.equal(codes.at(-1), "ERR_REQUEST_REFUSED");
    });
  }
});
