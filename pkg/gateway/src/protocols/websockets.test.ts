import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { describe, it } from "node:test";
import { FakeClock, until } from "@plinth/kernel/testing";
import { signingKey, startIssuer, tokenOf } from "../testing/issuer.ts";
import {
  echo,
  httpInstance,
  openRoute,
  rawClient,
  type RawClient,
  type Scripted,
  socketInstance,
  startGateway,
  type TestGateway,
} from "../testing/kit.ts";

const key = "dGhlIHNhbXBsZSBub25jZQ==";
const handshake = (more = ""): string =>
  `GET /chat?room=1 HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n${more}\r\n`;
const accept = (given: string): string =>
  createHash("sha1").update(`${given}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
const agreed = (given = key): string =>
  `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept(given)}\r\nKeep-Alive: timeout=9\r\n\r\n`;
const goodbye = "\x88\x02\x03\xe9";

/** An instance of WebSockets: what it got, and its sockets. */
interface Chat extends Scripted {
  readonly heads: string[];
  /** Of the newest connection: all that came after the head. */
  readonly got: () => string;
  readonly socket: () => Socket;
  readonly ends: string[];
}

async function chatInstance(
  reply: (head: string, socket: Socket) => string | undefined = () => agreed(),
): Promise<Chat> {
  const heads: string[] = [];
  const ends: string[] = [];
  let got = "";
  let newest: Socket | undefined;
  const server = await socketInstance((socket) => {
    let head = "";
    newest = socket;
    socket.on("data", (chunk) => {
      const text = chunk.toString("latin1");
      if (head.includes("\r\n\r\n")) {
        got += text;
        return;
      }
      head += text;
      const at = head.indexOf("\r\n\r\n");
      if (at < 0) return;
      got = head.slice(at + 4);
      heads.push(head.slice(0, at));
      const said = reply(head, socket);
      if (said !== undefined) socket.write(said, "latin1");
    });
    socket.on("end", () => ends.push("end")).on("error", () => ends.push("reset"));
  });
  return Object.assign(server, {
    heads,
    ends,
    got: () => got,
    socket: () => {
      assert.ok(newest);
      return newest;
    },
  });
}

const chat = (more: Parameters<typeof openRoute>[0] = {}): ReturnType<typeof openRoute> =>
  openRoute({ name: "chat", websocket: true, ...more });

async function opened(running: TestGateway, more = ""): Promise<RawClient> {
  const client = await rawClient(running.gateway.port);
  client.send(handshake(more));
  await client.matching(/^HTTP\/1\.1 101 [^]*\r\n\r\n/);
  return client;
}

describe("a WebSocket through the gateway", () => {
  it("opens when the instance agrees, with the headers of any request, and passes bytes both ways", async () => {
    await using instance = await chatInstance();
    await using running = await startGateway({ routes: [chat()] });
    await running.add(instance);
    const client = await opened(running, "Sec-WebSocket-Protocol: v1\r\nPlinth-Subject: me\r\n");
    const [head = ""] = instance.heads;
    assert.match(head, /^GET \/chat\?room=1 HTTP\/1\.1\r\n/);
    assert.match(head, /\r\nconnection: upgrade\r\n/i);
    assert.match(head, /\r\nupgrade: websocket\r\n/i);
    for (const header of [`Sec-WebSocket-Key: ${key}`, "Sec-WebSocket-Protocol: v1", "x-forwarded-for: 127.0.0.1"])
      assert.ok(head.includes(`\r\n${header}`), header);
    assert.match(head, /\r\nplinth-timeout-ms: \d+/);
    assert.doesNotMatch(head, /plinth-subject/i);
    assert.match(client.text, new RegExp(`sec-websocket-accept: ${accept(key).replaceAll("+", "\\+")}\r\n`, "i"));
    assert.match(client.text, /\r\nconnection: Upgrade\r\nupgrade: websocket\r\n/);
    assert.match(client.text, /\r\nx-request-id: [0-9a-f]{32}\r\n/);
    assert.doesNotMatch(client.text, /keep-alive/i);

    client.send("\x81\x85abcdhello");
    await until(() => instance.got() === "\x81\x85abcdhello");
    instance.socket().write("\x81\x02hi", "latin1");
    await client.matching(/\r\n\r\n[^\r]{2}hi$/);
    assert.match(await running.metrics(), /gateway_websockets\{route="chat"\} 1/);
    assert.deepEqual(running.log.withMessage("request"), [], "it is logged at its end");

    instance.socket().end("\x88\x00", "latin1");
    assert.ok((await client.toEnd()).endsWith("\x81\x02hi\x88\x00"));
    const line = await running.lastLine();
    assert.deepEqual(
      [line.status, line.reason, line.bytes, line.bytes_received, line.route],
      [101, undefined, 6, 11, "chat"],
    );
    const metrics = await running.metrics();
    assert.match(metrics, /gateway_websockets\{route="chat"\} 0/);
    assert.match(metrics, /gateway_requests_total\{route="chat",method="GET",status_class="1xx",reason="none"\} 1/);
    assert.match(metrics, /gateway_websocket_bytes_total\{route="chat",from="client"\} 11/);
    assert.match(metrics, /gateway_websocket_bytes_total\{route="chat",from="instance"\} 6/);
    assert.equal(running.log.withMessage("request").length, 1);
  });

  it("speaks with the WebSocket of the platform", async () => {
    await using instance = await chatInstance((head) => agreed(/sec-websocket-key: (\S+)/i.exec(head)?.[1]));
    await using running = await startGateway({ routes: [chat()] });
    await running.add(instance);
    const socket = new WebSocket(`ws://127.0.0.1:${running.gateway.port}/chat`);
    const told: unknown[] = [];
    const ended = Promise.withResolvers<void>();
    socket.addEventListener("message", ({ data }) => told.push(data));
    socket.addEventListener("close", ({ code }) => {
      told.push(code);
      ended.resolve();
    });
    await until(() => socket.readyState === WebSocket.OPEN);
    instance.socket().write("\x81\x02hi", "latin1");
    await until(() => told.length === 1);
    instance.socket().end("\x88\x02\x03\xe8", "latin1");
    await ended.promise;
    assert.deepEqual(told, ["hi", 1_000]);
  });

  it("holds back what is sent before the instance agrees, and passes it on then", async () => {
    const waiting = Promise.withResolvers<Socket>();
    await using instance = await chatInstance((_head, socket) => {
      waiting.resolve(socket);
      return undefined;
    });
    await using running = await startGateway({ routes: [chat()] });
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send(`${handshake()}early`);
    const socket = await waiting.promise;
    client.send(", and more");
    await until(async () => ((await running.metrics()).includes("gateway_websockets") ? true : undefined));
    assert.equal(instance.got(), "");
    assert.equal(client.text, "");
    socket.write(agreed());
    await until(() => instance.got() === "early, and more");
    client.socket.destroy();
  });

  for (const [what, reply, expected] of [
    [
      "a refusal",
      "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-Why: no\r\n\r\nno",
      /^HTTP\/1\.1 403 [^]*x-why: no[^]*\r\n\r\nno$/i,
    ],
    [
      "an ordinary reply",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
      /^HTTP\/1\.1 200 [^]*\r\nhi\r\n/,
    ],
    [
      "another version",
      "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n",
      /^HTTP\/1\.1 426 [^]*sec-websocket-version: 13/i,
    ],
    [
      "an upgrade to something else",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n",
      /^HTTP\/1\.1 502 [^]*upstream_invalid/,
    ],
    [
      "an agreement that does not say to what",
      "HTTP/1.1 101 Switching Protocols\r\n\r\n",
      /^HTTP\/1\.1 502 [^]*upstream_invalid/,
    ],
  ] as const) {
    it(`${what} of the instance is relayed as a reply that ends the connection, and nothing sent early reaches it`, async () => {
      await using instance = await chatInstance(() => reply);
      await using running = await startGateway({ routes: [chat()] });
      await running.add(instance);
      const client = await rawClient(running.gateway.port);
      client.send(`${handshake()}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n`);
      const text = await client.toEnd();
      assert.match(text, expected);
      assert.match(text, /\r\nconnection: close\r\n/i);
      assert.equal(text.match(/HTTP\/1\.1 /g)?.length, 1);
      assert.equal(client.wasReset, false);
      assert.deepEqual([instance.heads.length, instance.got()], [1, ""]);
      assert.equal(running.log.withMessage("request").length, 1);
      assert.match(await running.metrics(), /gateway_websockets\{route="chat"\} 0/);
    });
  }

  it("relays a large refusal to a slow client whole", async () => {
    const size = 3_000_000;
    await using instance = await chatInstance(
      () => `HTTP/1.1 400 Bad Request\r\nContent-Length: ${size}\r\n\r\n${"x".repeat(size)}`,
    );
    await using running = await startGateway({ routes: [chat()] });
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.socket.pause();
    client.send(handshake());
    await until(() => instance.heads.length === 1);
    client.socket.resume();
    assert.equal((await client.toEnd()).length - client.text.indexOf("\r\n\r\n") - 4, size);
  });

  it("is not for a route that takes none, h2c, a method with a body, or behind a reply that is still to come", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({
      routes: [chat(), openRoute({ name: "plain", match: { path: "/plain" } })],
    });
    await running.add(instance);
    const ask = async (text: string): Promise<string> => {
      const client = await rawClient(running.gateway.port);
      client.send(text);
      return client.matching(/\r\n\r\n[^]*[}\n]$/);
    };
    assert.match(await ask(handshake().replace("/chat?room=1", "/plain")), /^HTTP\/1\.1 501 [^]*upgrade_unsupported/);
    assert.match(await ask(handshake("Content-Length: 2\r\n").concat("hi")), /^HTTP\/1\.1 501 /);
    assert.match(await ask(handshake().replace("GET", "POST")), /^HTTP\/1\.1 501 /);
    assert.match(await ask(handshake().replace("HTTP/1.1", "HTTP/1.0")), /^HTTP\/1\.1 501 /);
    assert.match(await ask(handshake().replace("WebSocket", "foo")), /^HTTP\/1\.1 501 /);
    const h2c = await ask(
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    );
    assert.match(h2c, /^HTTP\/1\.1 200 /);
    assert.doesNotMatch(h2c, /h2c|http2-settings/i);
    const pipelined = await rawClient(running.gateway.port);
    pipelined.send(`GET /plain HTTP/1.1\r\nHost: a\r\n\r\n${handshake()}`);
    assert.match(await pipelined.matching(/upgrade_unsupported/), /^HTTP\/1\.1 200 [^]*HTTP\/1\.1 501 /);
    pipelined.socket.destroy();
  });

  it("asks for token and limit as any request does", async () => {
    const signing = signingKey("k");
    await using issuer = await startIssuer(signing);
    await using instance = await chatInstance();
    await using running = await startGateway({
      document: {
        jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks: issuer.url } },
        routes: [
          {
            name: "chat",
            match: { path: "/**" },
            service: "s",
            auth: {},
            websocket: true,
            rateLimit: { limit: 1, windowMs: 60_000 },
          },
        ],
      },
    });
    await running.add(instance);
    const ask = async (more: string): Promise<string> => {
      const client = await rawClient(running.gateway.port);
      client.send(handshake(more));
      return client.toEnd();
    };
    const unknown = await ask("");
    assert.match(unknown, /^HTTP\/1\.1 401 [^]*www-authenticate: Bearer[^]*token_missing/i);
    const authorization = `Authorization: Bearer ${tokenOf(signing, { sub: "ada" })}\r\n`;
    const client = await opened(running, authorization);
    assert.match(instance.heads[0] ?? "", /\r\nplinth-subject: ada/);
    assert.match(client.text, /\r\nratelimit: "chat";r=0/i);
    assert.match(await ask(authorization), /^HTTP\/1\.1 429 [^]*rate_limited/);
    client.socket.destroy();
  });

  it("is refused when as many of the route are open as may be, and taken again when one has ended", async () => {
    await using instance = await chatInstance();
    await using running = await startGateway({ routes: [chat({ websocket: { maxConnections: 1 } })] });
    await running.add(instance);
    const first = await opened(running);
    const second = await rawClient(running.gateway.port);
    second.send(handshake());
    assert.match(await second.toEnd(), /^HTTP\/1\.1 503 [^]*retry-after: 1[^]*"websockets_full"/i);
    first.socket.destroy();
    await running.lines(2);
    const third = await opened(running);
    third.socket.destroy();
  });

  for (const how of ["resets", "ends"] as const) {
    it(`tells the instance at once when the client ${how}`, async () => {
      await using instance = await chatInstance();
      await using running = await startGateway({ routes: [chat()] });
      await running.add(instance);
      const client = await opened(running);
      if (how === "resets") client.socket.resetAndDestroy();
      else client.socket.end();
      await until(() => instance.ends.length > 0);
      assert.equal(instance.ends[0], how === "resets" ? "reset" : "end");
      const line = await running.lastLine();
      assert.deepEqual([line.status, line.reason], [101, how === "resets" ? "client_gone" : undefined]);
    });

    it(`tells the instance when the client ${how} before it has agreed`, async () => {
      const waiting = Promise.withResolvers<void>();
      await using instance = await chatInstance(() => {
        waiting.resolve();
        return undefined;
      });
      await using running = await startGateway({ routes: [chat()] });
      await running.add(instance);
      const client = await rawClient(running.gateway.port);
      client.send(`${handshake()}early`);
      await waiting.promise;
      if (how === "resets") client.socket.resetAndDestroy();
      else client.socket.end();
      await until(() => instance.sockets.size === 0);
      const line = await running.lastLine();
      assert.deepEqual([line.status, line.reason], [499, "client_gone"]);
      assert.match(await running.metrics(), /gateway_websockets\{route="chat"\} 0/);
    });
  }

  it("is not waited for longer than the route's time, and outlives it once it is open", async () => {
    const clock = new FakeClock();
    let isSilent = true;
    await using instance = await chatInstance(() => (isSilent ? undefined : agreed()));
    await using running = await startGateway({ clock, routes: [chat({ timeoutMs: 1_000 })] });
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send(handshake());
    await until(() => instance.heads.length === 1);
    await clock.advance(1_100);
    assert.match(await client.toEnd(), /^HTTP\/1\.1 504 [^]*deadline_exceeded/);
    await until(() => instance.sockets.size === 0);
    isSilent = false;
    const open = await opened(running);
    await clock.advance(5_000);
    open.send("hi");
    await until(() => instance.got() === "hi");
    open.socket.destroy();
  });

  it("resets the client when the instance breaks off", async () => {
    await using instance = await chatInstance();
    await using running = await startGateway({ routes: [chat()] });
    await running.add(instance);
    const client = await opened(running);
    instance.socket().resetAndDestroy();
    await client.toEnd();
    assert.equal(client.wasReset, true);
    assert.equal((await running.lastLine()).reason, "reply_cut_off");
  });

  it("is closed when nothing has come from either side for the idle time, and not while something does", async () => {
    const clock = new FakeClock();
    await using instance = await chatInstance();
    await using running = await startGateway({
      clock,
      routes: [chat({ websocket: { idleTimeoutMs: 10_000 }, timeoutMs: 5_000 })],
    });
    await running.add(instance);
    const client = await opened(running);
    await clock.advance(9_000);
    client.send("\x89\x80abcd");
    await until(() => instance.got().length === 6);
    await clock.advance(9_000);
    instance.socket().write("\x8a\x00", "latin1");
    await client.matching(/\r\n\r\n[^\r]{2}$/);
    await clock.advance(9_000);
    assert.equal(client.ended, false);
    await clock.advance(1_100);
    await client.matching(new RegExp(`${goodbye}$`));
    await clock.advance(2_100);
    await client.toEnd();
    await until(() => instance.sockets.size === 0);
    const line = await running.lastLine();
    assert.deepEqual([line.status, line.reason], [101, "websocket_idle"]);
  });

  it("takes no more from one side than the other takes", async () => {
    await using instance = await chatInstance();
    await using running = await startGateway({ routes: [chat()] });
    await running.add(instance);
    const client = await opened(running);
    const megabyte = Buffer.alloc(1_000_000, 1);
    for (const [from, to] of [
      [client.socket, instance.socket()],
      [instance.socket(), client.socket],
    ] as const) {
      to.pause();
      let written = 0;
      // As much as the kernel and three buffers hold, and then no more.
      while (written < 64 && from.write(megabyte)) written++;
      for (
        let still = 0, before = -1;
        still < 20;
        still = from.bytesWritten - from.writableLength === before ? still + 1 : 0
      ) {
        before = from.bytesWritten - from.writableLength;
        if (written < 64 && from.write(megabyte)) written++;
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.ok(from.writableLength > 0, "the one who sends has to wait");
      to.resume();
      await until(() => from.writableLength === 0);
    }
    client.socket.destroy();
  });

  it("goes on through reloads that leave its route, change it, and take it away", async () => {
    await using instance = await chatInstance();
    await using running = await startGateway({ routes: [chat()] });
    await running.add(instance);
    const client = await opened(running);
    for (const [turn, routes] of [
      [chat(), openRoute({ name: "more", match: { path: "/more" } })],
      [chat({ websocket: false, timeoutMs: 1 })],
      [openRoute({ name: "other", match: { path: "/other" }, service: "t" })],
    ].entries()) {
      await running.gateway.reload({ routes });
      client.send(`c${turn}`);
      instance.socket().write(`\x81\x02i${turn}`, "latin1");
      await until(() => instance.got().endsWith(`c${turn}`));
      await client.matching(new RegExp(`i${turn}$`));
    }
    assert.equal(client.ended, false);
    client.socket.end();
    await until(() => instance.ends.length > 0);
    assert.equal((await running.lastLine()).reason, undefined);
  });
});

describe("a drain with an open WebSocket", () => {
  it("sends the client 1001, its answer to the instance, and ends when both have", async () => {
    await using instance = await chatInstance();
    await using running = await startGateway({ routes: [chat()] });
    await running.add(instance);
    const client = await opened(running);
    const drained = running.gateway.drain();
    await client.matching(new RegExp(`${goodbye}$`));
    instance.socket().write("\x81\x04late", "latin1");
    client.send("\x88\x82abcdxy");
    await until(() => instance.got() === "\x88\x82abcdxy");
    instance.socket().end("\x88\x02\x03\xe9", "latin1");
    await drained;
    assert.ok((await client.toEnd()).endsWith(goodbye), "nothing comes after a close frame");
    assert.equal(client.wasReset, false);
    const line = await running.lastLine();
    assert.deepEqual([line.status, line.reason], [101, "gateway_stopped"]);
  });

  it("lets the frame under way end before it says so", async () => {
    await using instance = await chatInstance();
    await using running = await startGateway({ routes: [chat()] });
    await running.add(instance);
    const client = await opened(running);
    instance.socket().write("\x81\x05he", "latin1");
    await client.matching(/he$/);
    const drained = running.gateway.drain();
    instance.socket().write("llo\x81\x04late", "latin1");
    await client.matching(new RegExp(`hello${goodbye}$`));
    client.socket.end();
    await drained;
  });

  it("also where the instance agrees only after it has begun", async () => {
    const waiting = Promise.withResolvers<Socket>();
    await using instance = await chatInstance((_head, socket) => {
      waiting.resolve(socket);
      return undefined;
    });
    await using running = await startGateway({ routes: [chat()] });
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send(handshake());
    const socket = await waiting.promise;
    const drained = running.gateway.drain();
    socket.write(agreed());
    await client.matching(new RegExp(`\r\n\r\n${goodbye}$`));
    client.socket.end();
    await drained;
  });

  it("resets what is left at its limit", async () => {
    await using instance = await chatInstance();
    await using running = await startGateway({ routes: [chat()] });
    await running.add(instance);
    const client = await opened(running);
    const limit = new AbortController();
    const drained = running.gateway.drain({ signal: limit.signal });
    await client.matching(new RegExp(`${goodbye}$`));
    limit.abort();
    await drained;
    await client.toEnd();
    await until(() => instance.sockets.size === 0);
    assert.equal((await running.lastLine()).reason, "gateway_stopped");
  });
});

describe("websocket in the document", () => {
  it("is refused where GET is not among the methods", async () => {
    await assert.rejects(startGateway({ routes: [chat({ match: { path: "/a", methods: ["POST"] } })] }), {
      code: "ERR_GATEWAY_CONFIG",
      message: /routes\.0\.websocket: a WebSocket is asked for by GET/,
    });
  });
});

describe("a page that opens a WebSocket", () => {
  const origins = ["https://shop.example", "https://*.shop.example"];
  const statusOf = async (running: TestGateway, more: string): Promise<string> => {
    const client = await rawClient(running.gateway.port);
    client.send(handshake(more));
    const text = await client.matching(/^HTTP\/1\.1 \d{3} [^]*\r\n\r\n/);
    client.socket.destroy();
    return text;
  };

  it("must be of an origin that the route names, where it names any", async () => {
    await using instance = await chatInstance();
    await using running = await startGateway({ routes: [chat({ websocket: { origins } })] });
    await running.add(instance);
    for (const taken of ["", "Origin: https://shop.example\r\n", "Origin: https://eu.shop.example\r\n"])
      assert.match(await statusOf(running, taken), /^HTTP\/1\.1 101 /, taken);
    for (const other of ["null", "https://shop.example.evil", "http://shop.example", "https://evilshop.example", ""])
      assert.match(await statusOf(running, `Origin: ${other}\r\n`), /^HTTP\/1\.1 403 [^]*"origin_refused"/, other);
    const two = "Origin: https://shop.example\r\nOrigin: https://evil.example\r\n";
    assert.match(await statusOf(running, two), /^HTTP\/1\.1 40[03] /);
    assert.equal(instance.heads.length, 3, "the service hears nothing of the others");
  });

  it("gets the headers that the route's rules make of the reply, with the proof as it was, and the cookie that keeps it", async () => {
    await using instance = await chatInstance();
    const headers = { reply: { set: { "x-added": "yes" }, remove: ["sec-websocket-accept"] } };
    await using running = await startGateway({
      document: { routes: [chat({ headers })], services: { s: { balancing: { sticky: { cookie: "keep" } } } } },
    });
    await running.add(instance);
    const text = await statusOf(running, "");
    assert.match(text, /^HTTP\/1\.1 101 /);
    assert.match(text, /\r\nx-added: yes\r\n/);
    assert.ok(text.includes(accept(key)));
    assert.match(text, /\r\nset-cookie: /i);
  });
});
