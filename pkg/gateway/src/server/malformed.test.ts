import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import {
  echo,
  exchangeRaw,
  httpInstance,
  openRoute,
  rawClient,
  sayOnce,
  type Scripted,
  socketInstance,
  startGateway,
  type TestGateway,
} from "../testing/kit.ts";

/** Status and reason of a raw reply. */
function told(reply: string): string {
  const status = /^HTTP\/1\.1 (\d{3})/.exec(reply)?.[1] ?? "no status";
  return `${status} ${/"reason":"(\w+)"/.exec(reply)?.[1] ?? "-"}`;
}

describe("requests that are not as they must be", () => {
  let instance: Scripted;
  let running: TestGateway;
  let seen = 0;
  before(async () => {
    instance = await httpInstance((request, response) => {
      seen++;
      echo(request, response);
    });
    running = await startGateway({
      routes: [openRoute({ maxBodyBytes: 1_000 })],
      settings: { headersTimeoutMs: 500, requestTimeoutMs: 900 },
    });
    await running.add(instance);
  });
  after(async () => {
    await running[Symbol.asyncDispose]();
    await instance.close();
  });

  /** Sends raw bytes; asserts what is told, that the connection ends, and that nothing reached the instance. */
  const refused = (name: string, request: string | Buffer, expected: string): void => {
    it(`${name}: ${expected}`, async () => {
      const before = seen;
      const reply = await exchangeRaw(running.gateway.port, request);
      assert.equal(told(reply), expected, reply);
      assert.match(reply, /content-type: application\/problem\+json/i);
      assert.match(reply, /connection: close/i);
      assert.equal(seen, before, "nothing was forwarded");
    });
  };
  const closing = "Connection: close\r\n";
  const get = (target: string, headers = "Host: a\r\n"): string => `GET ${target} HTTP/1.1\r\n${headers}${closing}\r\n`;
  const post = (headers: string, body = ""): string => `POST / HTTP/1.1\r\nHost: a\r\n${headers}\r\n${body}`;

  describe("framing", () => {
    for (const [name, headers, body] of [
      ["both lengths", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"],
      ["two lengths", "Content-Length: 5\r\nContent-Length: 5\r\n", "hello"],
      ["lengths in a list", "Content-Length: 5, 5\r\n", "hello"],
      ["a signed length", "Content-Length: +5\r\n", "hello"],
      ["a hexadecimal length", "Content-Length: 0x5\r\n", "hello"],
      ["an empty length", "Content-Length: \r\n", ""],
      ["a huge length", "Content-Length: 99999999999999999999\r\n", ""],
      ["a list before chunked", "Transfer-Encoding: ,chunked\r\n", "0\r\n\r\n"],
      ["no coding", "Transfer-Encoding: \r\n", ""],
      ["two codings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"],
      ["chunked not last", "Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"],
      ["a coding with a parameter", "Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"],
      ["a coding before a colon with a space", "Transfer-Encoding : chunked\r\n", "0\r\n\r\n"],
      ["a folded header", "X-A: b\r\n c\r\n", ""],
      ["a bare line feed", "X-A: b\nX-B: c\r\n", ""],
      ["a bare carriage return", "X-A: b\rc\r\n", ""],
      ["a header without a colon", "X-A\r\n", ""],
      ["a header without a name", ": x\r\n", ""],
      ["a name with a space", "X A: b\r\n", ""],
      ["a null in a value", "X-A: b\0c\r\n", ""],
    ] as const) {
      refused(name, post(headers, body), "400 malformed_request");
    }
    refused("a real coding", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), "501 coding_unsupported");
    refused(
      "a coding in HTTP/1.0",
      "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "400 malformed_request",
    );
    refused("HTTP/2.0 in a request line", `GET / HTTP/2.0\r\nHost: a\r\n${closing}\r\n`, "400 malformed_request");
    refused("HTTP/0.9", "GET /\r\n\r\n", "400 malformed_request");
    refused("something that is no HTTP", "hello there\r\n\r\n", "400 malformed_request");
    refused("an unknown method", "FROB / HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed_request");
    refused("the start of a TLS connection", Buffer.from("16030100a5010000a10303", "hex"), "400 malformed_request");

    for (const [name, chunks] of [
      ["a size in 0x form", "0x1\r\na\r\n0\r\n\r\n"],
      ["a negative size", "-1\r\na\r\n0\r\n\r\n"],
      ["a size with 20 digits", "11111111111111111111\r\na\r\n0\r\n\r\n"],
      ["a chunk longer than its size", "1\r\nab\r\n0\r\n\r\n"],
      ["a bare line feed after a size", "1\na\r\n0\r\n\r\n"],
    ] as const) {
      it(`${name} in a chunked body: 400, or a broken connection when the head is out`, async () => {
        const reply = await exchangeRaw(running.gateway.port, post("Transfer-Encoding: chunked\r\n", chunks));
        assert.equal(told(reply), "400 malformed_request", reply);
      });
    }
  });

  describe("Host", () => {
    for (const [name, headers] of [
      ["missing", ""],
      ["twice", "Host: a\r\nHost: a\r\n"],
      ["empty", "Host: \r\n"],
      ["a list", "Host: a,b\r\n"],
      ["with a user", "Host: user@a\r\n"],
      ["with a path", "Host: a/b\r\n"],
      ["with a long port", "Host: a:123456\r\n"],
      ["with a space", "Host: a b\r\n"],
      ["a broken IPv6 address", "Host: [::1\r\n"],
    ] as const) {
      refused(name, get("/", headers), "400 invalid_host");
    }
    refused("missing in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "400 invalid_host");
    refused("other than in an absolute target", get("http://evil/x", "Host: a\r\n"), "400 invalid_host");
  });

  describe("target", () => {
    for (const target of ["*", "/a#b", "/a\\..\\b", "/a%2fb", "/%zz", "/a%00", "/%ff", "/..;/a", "ftp://a/"]) {
      it(`${target}: 400 invalid_target, and the connection goes on`, async () => {
        const before = seen;
        const client = await rawClient(running.gateway.port);
        client.send(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
        assert.equal(told(await client.matching(/"reason":"\w+".*\}$/s)), "400 invalid_target");
        client.send(get("/after"));
        assert.match(await client.toEnd(), /"reason":"invalid_target".*HTTP\/1\.1 200 OK/s);
        assert.equal(seen, before + 1);
      });
    }
    refused("longer than 8192 characters", get(`/${"a".repeat(8_192)}`), "414 target_too_long");

    it("reads several spaces in the request line as one, and forwards one", async () => {
      assert.match(
        await exchangeRaw(running.gateway.port, `GET  /x  HTTP/1.1\r\nHost: a\r\n${closing}\r\n`),
        /"url":"\/x"/,
      );
    });

    it("takes an absolute target whose host is Host's", async () => {
      const reply = await exchangeRaw(running.gateway.port, get("http://A/x?y", "Host: a\r\n"));
      assert.match(reply, /"url":"\/x\?y"/);
    });
  });

  describe("size and time", () => {
    refused(
      "a head larger than 16 KiB",
      get("/", `Host: a\r\nX-Big: ${"x".repeat(16_400)}\r\n`),
      "431 headers_too_large",
    );
    refused("more than 100 header lines", get("/", `Host: a\r\n${"X: y\r\n".repeat(100)}`), "431 headers_too_large");
    refused(
      "a body longer than the route takes",
      post(`${closing}Content-Length: 1001\r\n`, "x".repeat(1_001)),
      "413 body_too_large",
    );
    refused(
      "a long chunk extension",
      post("Transfer-Encoding: chunked\r\n", `1;${"x".repeat(70_000)}\r\n`),
      "413 body_too_large",
    );

    it("takes 100 header lines", async () => {
      const reply = await exchangeRaw(running.gateway.port, get("/", `Host: a\r\n${"X: y\r\n".repeat(98)}`));
      assert.equal(told(reply), "200 -");
    });

    it("refuses a chunked body as soon as it is longer than the route takes: 413", async () => {
      const client = await rawClient(running.gateway.port);
      client.send(post("Transfer-Encoding: chunked\r\n"));
      for (let i = 0; i < 11; i++) client.send(`64\r\n${"x".repeat(100)}\r\n`);
      assert.equal(told(await client.matching(/reason/)), "413 body_too_large");
      client.send("0\r\n\r\n");
      assert.match(await client.toEnd(), /connection: close/i);
    });

    it("gives a head 500 ms here, then 408", async () => {
      const client = await rawClient(running.gateway.port);
      client.send("GET / HTTP/1.1\r\nHo");
      assert.equal(told(await client.toEnd()), "408 request_timeout");
    });

    it("gives a body 900 ms here, then 408", async () => {
      const client = await rawClient(running.gateway.port);
      client.send(post("Content-Length: 10\r\n", "abc"));
      assert.equal(told(await client.toEnd()), "408 request_timeout");
    });
  });

  describe("method, expectation, upgrade, loops", () => {
    it("CONNECT: 405 with Allow", async () => {
      const reply = await exchangeRaw(running.gateway.port, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
      assert.equal(told(reply), "405 method_not_allowed");
      assert.match(reply, /allow: GET, HEAD/);
    });

    it("CONNECT behind a reply that is under way: its connection is broken off, and nothing put into it", async () => {
      await using instance = await socketInstance(sayOnce("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\npart"));
      await using stuck = await startGateway();
      await stuck.add(instance);
      const client = await rawClient(stuck.gateway.port);
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      await client.matching(/part$/);
      client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
      assert.match(await client.toEnd(), /^HTTP\/1\.1 200 [^]*\r\n\r\npart$/);
      assert.equal((await stuck.lastLine())["reason"], "client_gone");
    });

    it("CONNECT, by clients that are gone before their answer: nobody's error", async () => {
      const uncaught: unknown[] = [];
      const onUncaught = (error: unknown): void => void uncaught.push(error);
      process.on("uncaughtException", onUncaught);
      try {
        for (let round = 0; round < 20; round++) {
          const client = await rawClient(running.gateway.port);
          client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
          client.socket.resetAndDestroy();
        }
        const reply = await exchangeRaw(running.gateway.port, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
        assert.equal(told(reply), "405 method_not_allowed");
      } finally {
        process.off("uncaughtException", onUncaught);
      }
      assert.deepEqual([uncaught, running.reports], [[], []]);
    });

    it("TRACE: 405 with Allow", async () => {
      const reply = await exchangeRaw(running.gateway.port, `TRACE / HTTP/1.1\r\nHost: a\r\n${closing}\r\n`);
      assert.equal(told(reply), "405 method_not_allowed");
      assert.match(reply, /allow: GET, HEAD/);
    });

    it("an odd expectation: 417", async () => {
      const reply = await exchangeRaw(running.gateway.port, get("/", "Host: a\r\nExpect: 200-ok\r\n"));
      assert.equal(told(reply), "417 expectation_failed");
    });

    it("an upgrade to WebSocket: 501", async () => {
      const reply = await exchangeRaw(
        running.gateway.port,
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
      );
      assert.equal(told(reply), "501 upgrade_unsupported");
    });

    it("an upgrade to h2c is not taken up, and not passed on", async () => {
      const reply = await exchangeRaw(
        running.gateway.port,
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
      );
      assert.equal(told(reply), "200 -");
      assert.doesNotMatch(reply, /h2c|http2-settings/i);
    });

    it("a request that came through this gateway before: 508", async () => {
      const first = await exchangeRaw(running.gateway.port, get("/"));
      const via = /"via":\["([^"]+)"\]/.exec(first)?.[1] ?? "";
      assert.match(via, /^1\.1 plinth-[0-9a-f]{12}$/);
      assert.equal(
        told(await exchangeRaw(running.gateway.port, get("/", `Host: a\r\nVia: 1.0 x, ${via}\r\n`))),
        "508 loop_detected",
      );
      assert.equal(
        told(await exchangeRaw(running.gateway.port, get("/", "Host: a\r\nVia: 1.1 plinth-000000000000\r\n"))),
        "200 -",
      );
    });

    it("two Authorization headers: 400", async () => {
      const before = seen;
      const reply = await exchangeRaw(
        running.gateway.port,
        get("/", "Host: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n"),
      );
      assert.equal(told(reply), "400 duplicate_authorization");
      assert.equal(seen, before);
    });
  });

  it("does not take what follows a broken request for another one", async () => {
    const before = seen;
    await exchangeRaw(
      running.gateway.port,
      post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
    );
    await exchangeRaw(
      running.gateway.port,
      post("Transfer-Encoding: ,chunked\r\n", "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
    );
    assert.equal(seen, before);
  });

  it("answers pipelined requests in their order", async () => {
    const reply = await exchangeRaw(
      running.gateway.port,
      `GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n${get("/3")}`,
    );
    assert.deepEqual(
      [...reply.matchAll(/"url":"(\/\d)"/g)].map(([, url]) => url),
      ["/1", "/2", "/3"],
    );
  });

  it("counts what the parser refuses", async () => {
    assert.match(await running.metrics(), /gateway_malformed_requests_total\{reason="malformed_request"\} \d+/);
  });
});
