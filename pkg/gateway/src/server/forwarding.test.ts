import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { type IncomingMessage, request as httpRequest, type ServerResponse } from "node:http";
import { Socket } from "node:net";
import { Readable } from "node:stream";
import { describe, it } from "node:test";
import { parseTraceparent } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import {
  echo,
  exchangeRaw,
  httpInstance,
  openRoute,
  rawClient,
  type Received,
  sayOnce,
  socketInstance,
  startGateway,
} from "../testing/kit.ts";

/** What the instance got for a raw request, beside the raw reply. */
async function passedOn(
  port: number,
  request: string,
): Promise<{ readonly reply: string; readonly received: Received }> {
  const reply = await exchangeRaw(port, request);
  const [, body = "{}"] = reply.split("\r\n\r\n");
  return { reply, received: JSON.parse(Buffer.from(body, "latin1").toString()) as Received };
}

describe("what the service gets", () => {
  it("is the canonical path, the query as it was, the client's Host, and what the gateway says of the client", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway();
    await running.add(instance);
    const { reply, received } = await passedOn(
      running.gateway.port,
      "GET //a/%62/../c%3b?x=%2f&y HTTP/1.1\r\nHost: Shop.example:8080\r\nAccept: */*\r\nCookie: a=1\r\nConnection: close\r\n\r\n",
    );
    const {
      traceparent = [],
      via = [],
      "x-request-id": ids = [],
      "plinth-timeout-ms": timeouts = [],
      ...rest
    } = received.headers;
    assert.equal(received.url, "/a/c%3B?x=%2f&y");
    assert.deepEqual(rest, {
      accept: ["*/*"],
      cookie: ["a=1"],
      connection: ["keep-alive"],
      host: ["Shop.example:8080"],
      "x-forwarded-for": ["127.0.0.1"],
      "x-forwarded-host": ["Shop.example:8080"],
      "x-forwarded-proto": ["http"],
    });
    assert.match(String(via), /^1\.1 plinth-[0-9a-f]{12}$/);
    assert.match(String(ids), /^[0-9a-f]{32}$/);
    assert.ok(reply.includes(`x-request-id: ${String(ids)}`), "the client gets the same request id");
    assert.ok(Number(timeouts) > 29_000 && Number(timeouts) <= 30_000, `${String(timeouts)} ms left`);
    const trace = parseTraceparent(String(traceparent));
    assert.ok(trace);
    assert.equal((await running.lastLine()).trace_id, trace.traceId);
    assert.equal((await running.lastLine()).request_id, String(ids));
  });

  it("never has a claim of the client's about itself, on open routes too", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway();
    await running.add(instance);
    const claims = [
      "X-Forwarded-For: 127.0.0.1",
      "X-Forwarded-For: 10.0.0.1, unknown",
      "x-forwarded-proto: https,http",
      "X-FORWARDED-HOST: evil",
      "X-Forwarded-Prefix: /evil",
      "X-Forwarded-Uri: /evil",
      "Forwarded: for=evil",
      "X-Real-IP: evil",
      "True-Client-IP: evil",
      "CF-Connecting-IP: evil",
      "Plinth-Subject: evil",
      "plinth-scopes: evil",
      "PLINTH-anything: evil",
      "X-Plinth-Subject: evil",
      "Plinth_Subject: evil",
      "X_User_Id: evil",
      "plinth-timeout-ms: 999999999",
      "X-Request-Id: evil",
      "X-Original-URL: /evil",
      "X-Rewrite-URL: /evil",
      "X-HTTP-Method-Override: DELETE",
      "X-Method-Override: DELETE",
      "traceparent: 00-11111111111111111111111111111111-1111111111111111-01",
      "tracestate: evil=1",
      "baggage: evil=1",
      "Proxy-Authorization: Basic evil",
      "Keep-Alive: evil",
      "Proxy-Connection: evil",
      "TE: trailers, evil",
      "Trailer: evil",
      "HTTP2-Settings: evil",
      "X-Ordinary: stays",
    ];
    const { received } = await passedOn(
      running.gateway.port,
      `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${claims.join("\r\n")}\r\n\r\n`,
    );
    const { traceparent, te, "x-ordinary": ordinary, "x-forwarded-for": address, ...rest } = received.headers;
    assert.deepEqual([ordinary, te], [["stays"], ["trailers"]]);
    assert.deepEqual(address, ["127.0.0.1"]);
    assert.doesNotMatch(JSON.stringify(rest), /evil|DELETE|999999999/);
    assert.doesNotMatch(String(traceparent), /1{16}/, "a stranger's trace is not taken over, nor its sampling");
    assert.deepEqual(Object.keys(rest).toSorted(), [
      "connection",
      "host",
      "plinth-timeout-ms",
      "via",
      "x-forwarded-host",
      "x-forwarded-proto",
      "x-request-id",
    ]);
  });

  it("lacks the headers that Connection names, but never the gateway's own", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway();
    await running.add(instance);
    const { received } = await passedOn(
      running.gateway.port,
      "GET / HTTP/1.1\r\nHost: a\r\nX-Secret: 1\r\nX-Other: 2\r\nConnection: close, X-Secret, x-forwarded-for, traceparent, via, plinth-timeout-ms, Host\r\n\r\n",
    );
    assert.equal(received.headers["x-secret"], undefined);
    assert.deepEqual(received.headers["x-other"], ["2"]);
    for (const name of ["x-forwarded-for", "traceparent", "via", "plinth-timeout-ms", "host", "x-request-id"]) {
      assert.equal(received.headers[name]?.length, 1, name);
    }
  });

  it("keeps several lines of one header, and bytes above ASCII, as they are", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway();
    await running.add(instance);
    const { received } = await passedOn(
      running.gateway.port,
      "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-A: 2\r\nX-B: caf\u00e9\u0085\r\nConnection: close\r\n\r\n",
    );
    assert.deepEqual(received.headers["x-a"], ["1", "2"]);
    assert.deepEqual(received.headers["x-b"], ["caf\u00e9\u0085"]);
  });

  it("keeps Authorization on a route that is open to everybody", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway();
    await running.add(instance);
    const { received } = await passedOn(
      running.gateway.port,
      "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eA==\r\nConnection: close\r\n\r\n",
    );
    assert.deepEqual(received.headers.authorization, ["Basic eA=="]);
  });

  for (const [what, head, body, length, coding] of [
    ["a body of known length", "Content-Length: 5\r\n", "hello", "5", undefined],
    [
      "a body in chunks",
      "Transfer-Encoding: chunked\r\n",
      "2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n",
      undefined,
      "chunked",
    ],
    ["a GET with a body", "Content-Length: 5\r\n", "hello", "5", undefined],
    ["an empty body of length 0", "Content-Length: 0\r\n", "", "0", undefined],
  ] as const) {
    it(`has ${what}, framed the same way`, async () => {
      await using instance = await httpInstance(echo);
      await using running = await startGateway();
      await running.add(instance);
      const method = what.startsWith("a GET") ? "GET" : "POST";
      const { received } = await passedOn(
        running.gateway.port,
        `${method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${head}\r\n${body}`,
      );
      assert.equal(received.body, body === "" ? "" : "hello");
      assert.deepEqual(received.headers["content-length"], length === undefined ? undefined : [length]);
      assert.deepEqual(received.headers["transfer-encoding"], coding === undefined ? undefined : [coding]);
      assert.equal(received.headers.trailer, undefined);
      assert.equal(received.headers["x-trailer"], undefined);
    });
  }

  it("that is sent behind others on its connection is forgotten when it is answered", async () => {
    let client: Socket | undefined;
    const noted = (message: unknown): void => {
      if (typeof message === "object" && message && "socket" in message && message.socket instanceof Socket)
        client ??= message.socket;
    };
    await using instance = await httpInstance(echo);
    await using running = await startGateway();
    await running.add(instance);
    subscribe("net.server.socket", noted);
    const bare = await rawClient(running.gateway.port);
    await until(() => client);
    unsubscribe("net.server.socket", noted);
    const turn = async (count: number): Promise<number | undefined> => {
      bare.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(3));
      await until(() => bare.text.split("HTTP/1.1 200").length - 1 === count);
      await until(() => running.gateway.describe().services[0]?.instances[0]?.inFlight === 0);
      return client?.listenerCount("close");
    };
    const before = await turn(3);
    for (let turns = 2; turns <= 5; turns++) assert.equal(await turn(turns * 3), before);
    bare.socket.destroy();
  });

  it("is asked for HEAD by a route for GET, and OPTIONS and PROPFIND go to a route for any method", async () => {
    const methods: string[] = [];
    await using instance = await httpInstance((request, response) => {
      methods.push(request.method ?? "");
      response.setHeader("x-method", request.method ?? "");
      response.end(request.method === "HEAD" ? undefined : "body");
    });
    await using running = await startGateway({
      routes: [
        openRoute({ match: { path: "/get", methods: ["GET"] } }),
        openRoute({ name: "any", match: { path: "/any" } }),
      ],
    });
    await running.add(instance);
    const head = await fetch(`${running.url}/get`, { method: "HEAD" });
    assert.equal(head.headers.get("x-method"), "HEAD");
    assert.equal(await head.text(), "");
    for (const method of ["OPTIONS", "PROPFIND"])
      assert.equal((await fetch(`${running.url}/any`, { method })).headers.get("x-method"), method);
    const refused = await fetch(`${running.url}/get`, { method: "POST" });
    assert.equal(refused.status, 405);
    assert.equal(refused.headers.get("allow"), "GET, HEAD");
    assert.deepEqual(methods, ["HEAD", "OPTIONS", "PROPFIND"]);
    assert.match(
      await running.metrics(),
      /gateway_requests_total\{route="any",method="_OTHER",status_class="2xx",reason="none"\} 1/,
    );
  });

  it("has a rewritten path, canonical again", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({
      routes: [
        openRoute({ name: "api", match: { path: "/api/**" }, rewrite: { prefix: "/v1/" } }),
        openRoute({ name: "free", match: { path: "/t/:tenant/**" }, rewrite: { prefix: "/" } }),
      ],
    });
    await running.add(instance);
    const urlFor = async (path: string): Promise<string> =>
      ((await (await fetch(`${running.url}${path}`)).json()) as Received).url;
    assert.equal(await urlFor("/api/x/y?q=1"), "/v1/x/y?q=1");
    assert.equal(await urlFor("/api"), "/v1");
    assert.equal(await urlFor("/api/"), "/v1/");
    assert.equal(await urlFor("/%61pi/x"), "/v1/x");
    assert.equal(await urlFor("/t/acme/x"), "/x");
    assert.equal(await urlFor("/t/acme"), "/");
    assert.equal((await fetch(`${running.url}/api../x`)).status, 404);
  });

  it("is told to continue only when the gateway wants the body", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ routes: [openRoute({ maxBodyBytes: 10 })] });
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n");
    await client.matching(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    client.send("hello");
    const reply = await client.toEnd();
    assert.match(reply, /"body":"hello"/);
    assert.doesNotMatch(reply, /"expect"/);
    const refused = await exchangeRaw(
      running.gateway.port,
      "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n",
    );
    assert.match(refused, /^HTTP\/1\.1 413 /);
  });
});

describe("what the client gets", () => {
  it("is the service's reply untouched, but for the headers of its connection", async () => {
    const reply = [
      "HTTP/1.1 418 Whatever",
      "Content-Type: text/x",
      "Set-Cookie: a=1",
      "Set-Cookie: b=2",
      "Server: theirs",
      "Date: Mon, 23 Nov 2026 00:00:00 GMT",
      "X-Bytes: caf\u00e9",
      "X-Hop: 1",
      "Connection: keep-alive, X-Hop",
      "Keep-Alive: timeout=9",
      "Proxy-Authenticate: x",
      "Alt-Svc: h2=x",
      "Upgrade: h2c",
      "Trailer: X-T",
      "X-Request-Id: theirs",
      "Content-Length: 5",
      "",
      "hello",
    ].join("\r\n");
    await using instance = await socketInstance(
      (socket) => void socket.once("data", () => socket.write(Buffer.from(reply, "latin1"))),
    );
    await using running = await startGateway();
    await running.add(instance);
    const got = await exchangeRaw(running.gateway.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const requestId = (await running.lastLine()).request_id;
    assert.deepEqual(got.split("\r\n"), [
      "HTTP/1.1 418 I'm a Teapot",
      "content-type: text/x",
      "set-cookie: a=1",
      "set-cookie: b=2",
      "server: theirs",
      "date: Mon, 23 Nov 2026 00:00:00 GMT",
      "x-bytes: caf\u00e9",
      "content-length: 5",
      `x-request-id: ${String(requestId)}`,
      "Connection: close",
      "",
      "hello",
    ]);
  });

  for (const status of [200, 204, 301, 304, 400, 401, 404, 429, 500, 502, 503, 504, 599]) {
    it(`is ${status} when the service says ${status}`, async () => {
      await using instance = await httpInstance((_request, response) => void response.writeHead(status).end());
      await using running = await startGateway();
      await running.add(instance);
      const reply = await fetch(running.url, { redirect: "manual" });
      assert.equal(reply.status, status);
      assert.equal(await reply.text(), "");
      const { status: logged, reason } = await running.lastLine();
      assert.deepEqual([logged, reason], [status, undefined]);
    });
  }

  it("comes after informational replies, which are left out", async () => {
    await using instance = await socketInstance(
      sayOnce("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    );
    await using running = await startGateway();
    await running.add(instance);
    const reply = await fetch(running.url);
    assert.equal(await reply.text(), "ok");
    assert.equal(reply.headers.get("link"), null);
  });

  it("is a reply of HTTP/1.0 that ends with its connection, in chunks", async () => {
    await using instance = await socketInstance(sayOnce("HTTP/1.0 200 OK\r\n\r\nall of it", "end"));
    await using running = await startGateway();
    await running.add(instance);
    const reply = await fetch(running.url);
    assert.equal(reply.headers.get("transfer-encoding"), "chunked");
    assert.equal(await reply.text(), "all of it");
  });

  it("is head and parts as they come, before the reply is complete", async () => {
    const next = Promise.withResolvers<void>();
    await using instance = await httpInstance((_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
      void next.promise.then(() => response.write("data: 1\n\n"));
    });
    await using running = await startGateway();
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert.doesNotMatch(await client.matching(/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\n$/s), /data/);
    next.resolve();
    await client.matching(/data: 1/);
    client.socket.destroy();
  });

  it("is spread over connections that are used again", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway();
    await running.add(instance);
    for (let i = 0; i < 20; i++) await (await fetch(running.url)).text();
    assert.equal(instance.accepted, 1);
    await Promise.all(Array.from({ length: 10 }, async () => (await fetch(running.url)).text()));
    assert.ok(instance.accepted <= 10);
    assert.match(await running.metrics(), /gateway_upstream_requests_in_flight\{service="s"\} 0/);
  });
});

describe("large bodies", () => {
  const tenMiB = 10 * 1024 * 1024;
  const large = 48 * 1024 * 1024;
  /** More than the kernel's buffers for two connections, far less than the body. */
  const held = 20 * 1024 * 1024;

  function* blocks(total: number): Iterable<Buffer> {
    for (let bytes = 0; bytes < total; bytes += 65_536) yield Buffer.alloc(65_536, bytes / 65_536);
  }
  const hashOf = async (stream: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<string> => {
    const hash = createHash("sha256");
    for await (const chunk of stream) hash.update(chunk);
    return hash.digest("hex");
  };

  for (const headers of [{ "content-length": tenMiB }, {}]) {
    it(`of 10 MiB come whole both ways, ${"content-length" in headers ? "of known length" : "in chunks"}`, async () => {
      await using instance = await httpInstance((request, response) => {
        response.writeHead(200, headers);
        request.pipe(response);
      });
      await using running = await startGateway();
      await running.add(instance);
      const request = httpRequest(running.url, { method: "POST", headers });
      const replied = once(request, "response") as Promise<[IncomingMessage]>;
      Readable.from(blocks(tenMiB)).pipe(request);
      const [response] = await replied;
      assert.equal(await hashOf(response), await hashOf(blocks(tenMiB)));
      assert.ok(response.complete);
      assert.equal((await running.lastLine()).bytes, tenMiB);
    });
  }

  it("wait for a service that does not read", async () => {
    const taken = Promise.withResolvers<Socket>();
    await using instance = await socketInstance((socket) => taken.resolve(socket.pause()));
    await using running = await startGateway({ routes: [openRoute({ maxBodyBytes: large })] });
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${large}\r\n\r\n`);
    await taken.promise;
    for (const block of blocks(large)) client.send(block);
    await quiet(() => client.socket.bytesWritten - client.socket.writableLength);
    assert.ok(client.socket.writableLength > large - held, `${client.socket.writableLength} bytes wait in the client`);
    client.socket.destroy();
  });

  it("wait for a client that does not read, and come whole once it does", async () => {
    let writing: ServerResponse | undefined;
    await using instance = await httpInstance((_request, response) => {
      writing = response;
      Readable.from(blocks(large)).pipe(response);
    });
    await using running = await startGateway();
    await running.add(instance);
    const request = httpRequest(running.url).end();
    const [response] = (await once(request, "response")) as [IncomingMessage];
    const written = (): number => writing?.socket?.bytesWritten ?? 0;
    await quiet(written);
    assert.ok(written() < held, `${written()} bytes written by the service`);
    assert.equal(await hashOf(response), await hashOf(blocks(large)));
  });
});

/** Resolves when a number has stayed the same for many turns of the event loop. */
async function quiet(look: () => number): Promise<void> {
  let last = look();
  for (let same = 0; same < 500; same++) {
    await new Promise(setImmediate);
    const now = look();
    if (now !== last) same = 0;
    last = now;
  }
}
