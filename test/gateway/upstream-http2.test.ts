import assert from "node:assert/strict";
import { once } from "node:events";
import {
  constants,
  createSecureServer,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { createServer as createSocketServer, type Server, type Socket } from "node:net";
import { Readable } from "node:stream";
import { afterEach, describe, it } from "node:test";
import { checkServerIdentity, createServer as createTlsServer } from "node:tls";
import { FakeClock, until } from "@plinth/kernel/testing";
import { fieldBlock, frameOf, settingsOf, uint32 } from "../../pkg/transport/src/testing/http2-frames.ts";
import { makeCertificate } from "../../pkg/transport/src/testing/certificates.ts";
import { createHttp2Upstream } from "../../pkg/gateway/src/upstream/http2.ts";
import type { UpstreamTls } from "../../pkg/gateway/src/upstream/tls.ts";
import type {
  Upstream,
  UpstreamCall,
  UpstreamFailure,
  UpstreamOptions,
  UpstreamRequest,
} from "../../pkg/gateway/src/upstream/upstream.ts";

/** What became of a request. */
interface Told {
  readonly call: UpstreamCall;
  status: number;
  headers: readonly string[];
  body: string;
  trailers: readonly string[] | undefined;
  failure: UpstreamFailure | undefined;
  takes: boolean;
  /** Resolves at the end of the reply, or when it failed: with its status, or the kind of failure. */
  readonly over: Promise<string>;
}

describe("an upstream over HTTP/2", () => {
  const cleanUps: (() => void)[] = [];
  afterEach(() => {
    for (const cleanUp of cleanUps.splice(0)) cleanUp();
  });

  async function listening(server: Server | Http2Server): Promise<number> {
    const sockets = new Set<Socket>();
    server.on("connection", (socket: Socket) => sockets.add(socket.on("error", () => undefined)));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    cleanUps.push(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const address = server.address();
    assert.ok(typeof address === "object" && address !== null);
    return address.port;
  }

  function upstreamTo(port: number, more: Partial<UpstreamOptions> = {}): Upstream {
    const upstream = createHttp2Upstream({
      authority: `127.0.0.1:${port}`,
      connectTimeoutMs: 20_000,
      headersTimeoutMs: 15_000,
      bodyGapMs: 30_000,
      maxConnections: 2,
      clock: new FakeClock(),
      ...more,
    });
    cleanUps.push(() => upstream.destroy());
    return upstream;
  }

  async function serve(
    script: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => unknown,
    {
      settings = {},
      ...more
    }: Partial<UpstreamOptions> & { readonly settings?: { maxConcurrentStreams?: number } } = {},
  ): Promise<{ readonly upstream: Upstream; readonly sessions: ServerHttp2Session[] }> {
    const sessions: ServerHttp2Session[] = [];
    const server = createServer({ settings });
    server.on("session", (session) => sessions.push(session.on("error", () => undefined)));
    server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      stream.on("error", () => undefined);
      script(stream, headers);
    });
    return { upstream: upstreamTo(await listening(server), more), sessions };
  }

  /** A server of bare frames: told of each socket that has sent its preface. */
  async function serveFrames(script: (socket: Socket, bytes: () => Buffer) => void): Promise<Upstream> {
    const server = createSocketServer((socket) => {
      let bytes = Buffer.alloc(0);
      socket.on("data", (chunk: Buffer) => (bytes = Buffer.concat([bytes, chunk])));
      script(socket, () => bytes);
    });
    return upstreamTo(await listening(server));
  }

  function send(upstream: Upstream, more: Partial<UpstreamRequest> = {}): Told {
    const over = Promise.withResolvers<string>();
    const request = {
      method: "GET",
      target: "/a?b",
      headers: ["Host", "shop.test", "X-One", "1"],
      body: null,
      ...more,
    };
    const told: Omit<Told, "call" | "over"> = {
      status: 0,
      headers: [],
      body: "",
      trailers: undefined,
      failure: undefined,
      takes: true,
    };
    const call = upstream.send(request, {
      onHead: (status, headers) => Object.assign(told, { status, headers }),
      onUpgrade: (_headers, socket) => socket.destroy(),
      onData: (chunk) => {
        told.body += chunk.toString();
        return told.takes;
      },
      onEnd: (trailers) => {
        told.trailers = trailers;
        over.resolve(`${told.status}`);
      },
      onFailure: (failure) => {
        told.failure = failure;
        over.resolve(failure.kind);
      },
    });
    return Object.assign(told, { call, over: over.promise });
  }

  it("sends a request with the names of HTTP/2 and without those of a connection, and tells the reply as it came", async () => {
    let got: IncomingHttpHeaders = {};
    const { upstream } = await serve((stream, headers) => {
      got = headers;
      stream.additionalHeaders({ ":status": 103, link: "</a>" });
      stream.respond({ ":status": 201, "set-cookie": ["a=1", "b=2"], "x-b": "2" });
      stream.end("fine");
    });
    const headers = [
      "Host",
      "shop.test",
      "Connection",
      "close",
      "Transfer-Encoding",
      "chunked",
      "X-One",
      "1",
      "te",
      "trailers",
    ];
    const told = send(upstream, { headers });
    assert.equal(await told.over, "201");
    assert.deepEqual([told.body, told.trailers], ["fine", []]);
    assert.deepEqual(told.headers.slice(0, 6), ["set-cookie", "a=1", "set-cookie", "b=2", "x-b", "2"]);
    assert.deepEqual(
      [got[":method"], got[":path"], got[":authority"], got[":scheme"], got["x-one"], got["te"], got.connection],
      ["GET", "/a?b", "shop.test", "http", "1", "trailers", undefined],
    );
  });

  it("carries bodies and trailers both ways", async () => {
    let trailers: IncomingHttpHeaders = {};
    const { upstream } = await serve((stream) => {
      stream.on("trailers", (given) => (trailers = given));
      stream.respond({ ":status": 200 }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0", "x-end": ["1", "2"] }));
      stream.pipe(stream);
    });
    const body = Readable.from(Array.from({ length: 50 }, () => Buffer.alloc(20_000, "a")));
    const told = send(upstream, { method: "POST", body, trailers: () => ["X-Sum", "abc"] });
    assert.equal(await told.over, "200");
    assert.equal(told.body.length, 1_000_000);
    assert.deepEqual(told.trailers, ["grpc-status", "0", "x-end", "1", "x-end", "2"]);
    assert.equal(trailers["x-sum"], "abc");
  });

  it("has its requests share a connection, and opens another where the instance takes no more streams on it", async () => {
    const streams: ServerHttp2Stream[] = [];
    const { upstream, sessions } = await serve((stream) => streams.push(stream), {
      settings: { maxConcurrentStreams: 2 },
    });
    const told = Array.from({ length: 5 }, () => send(upstream));
    assert.equal(await told[4]?.over, "busy");
    assert.deepEqual([told[4]?.failure?.sent, upstream.connections], [false, 2]);
    await until(() => streams.length === 4);
    assert.equal(sessions.length, 2);
    for (const stream of streams) {
      stream.respond({ ":status": 200 });
      stream.end();
    }
    assert.deepEqual(await Promise.all(told.slice(0, 4).map(({ over }) => over)), ["200", "200", "200", "200"]);
  });

  it("opens no flood of connections to an instance that takes no streams", async () => {
    const { upstream, sessions } = await serve(() => undefined, { settings: { maxConcurrentStreams: 0 } });
    assert.deepEqual(await Promise.all([send(upstream).over, send(upstream).over]), ["busy", "busy"]);
    assert.equal(await send(upstream).over, "busy");
    assert.equal(sessions.length, 1);
  });

  it("tells nobody of what was aborted, and resets its stream alone", async () => {
    const codes: number[] = [];
    const { upstream } = await serve((stream, headers) => {
      stream.on("close", () => codes.push(stream.rstCode));
      stream.respond({ ":status": 200 });
      if (headers[":path"] === "/whole") stream.end("whole");
      else stream.write("half");
    });
    const [first, second] = [send(upstream), send(upstream, { target: "/whole" })];
    await until(() => first.body !== "");
    first.call.abort();
    assert.equal(await second.over, "200");
    await until(() => codes.includes(constants.NGHTTP2_CANCEL));
    assert.deepEqual([first.failure, first.trailers, upstream.connections], [undefined, undefined, 1]);
  });

  it("reads no more of a reply than is taken, and lets others on the connection go on", async () => {
    let written = 0;
    const { upstream } = await serve((stream, headers) => {
      stream.respond({ ":status": 200 });
      if (headers[":path"] === "/small") {
        stream.end("small");
        return;
      }
      const chunk = Buffer.alloc(65_536, "a");
      const more = (): void => {
        while (written < 200 && stream.write(chunk)) written++;
      };
      stream.on("drain", more);
      more();
    });
    const slow = send(upstream);
    slow.takes = false;
    await until(() => slow.body !== "");
    assert.equal(await send(upstream, { target: "/small" }).over, "200");
    assert.ok(written < 40, `${written} pieces of 64 KiB were taken from the instance`);
    const before = slow.body.length;
    slow.takes = true;
    slow.call.resume();
    await until(() => slow.body.length > before + 8_000_000);
  });

  const endings: [what: string, end: (stream: ServerHttp2Stream) => void, kind: string, sent: boolean][] = [
    ["a stream refused", (stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM), "refused", false],
    ["a stream reset", (stream) => stream.close(constants.NGHTTP2_INTERNAL_ERROR), "reset", true],
    [
      "a request that is said to break the protocol",
      (stream) => stream.close(constants.NGHTTP2_PROTOCOL_ERROR),
      "invalid",
      true,
    ],
    ["a connection cut off", (stream) => stream.session?.socket.destroy(), "reset", true],
    [
      "a reply shorter than it says",
      (stream) => {
        stream.respond({ ":status": 200, "content-length": "10" });
        stream.end("half");
      },
      "invalid",
      true,
    ],
    [
      "a head that is too large",
      (stream) => stream.respond({ ":status": 200, "x-large": "a".repeat(40_000) }, { endStream: true }),
      "invalid",
      true,
    ],
  ];
  for (const [what, end, kind, sent] of endings) {
    it(`tells ${what} as ${kind}, ${sent ? "" : "un"}sent`, async () => {
      const { upstream } = await serve(end);
      const told = send(upstream);
      assert.equal(await told.over, kind);
      assert.deepEqual([told.failure?.sent, told.failure?.reused, told.trailers], [sent, false, undefined]);
    });
  }

  const cuts: [what: string, status: string, code: number, kind: string][] = [
    ["a reply cut off half way without an error", "200", constants.NGHTTP2_NO_ERROR, "reset"],
    ["a reply cut off half way", "200", constants.NGHTTP2_CANCEL, "reset"],
    ["a status that is none", "600", constants.NGHTTP2_CANCEL, "invalid"],
  ];
  for (const [what, status, code, kind] of cuts) {
    it(`does not take ${what} for a reply`, async () => {
      const upstream = await serveFrames((socket, bytes) => {
        socket.write(frameOf("settings", 0, 0, settingsOf({})));
        socket.on("data", () => {
          if (countHeads(bytes()) === 0) return;
          socket.removeAllListeners("data");
          socket.write(frameOf("headers", 4, 1, fieldBlock([[":status", status]])));
          socket.write(frameOf("data", 0, 1, Buffer.from("half")));
          socket.write(frameOf("reset", 0, 1, uint32(code)));
        });
      });
      const told = send(upstream);
      assert.equal(await told.over, kind);
      assert.equal(told.trailers, undefined);
    });
  }

  it("opens another connection after GOAWAY, and has what was under way end on the first", async () => {
    const streams: ServerHttp2Stream[] = [];
    const { upstream, sessions } = await serve((stream) => streams.push(stream));
    const first = send(upstream);
    await until(() => streams.length === 1);
    sessions[0]?.goaway(constants.NGHTTP2_NO_ERROR, 1);
    await until(() => {
      const next = send(upstream);
      next.call.abort();
      return sessions.length === 2;
    });
    streams[0]?.respond({ ":status": 200 });
    streams[0]?.end("late");
    assert.deepEqual([await first.over, first.body], ["200", "late"]);
  });

  it("tells streams above the last one of GOAWAY as refused", async () => {
    const upstream = await serveFrames((socket, bytes) => {
      socket.write(frameOf("settings", 0, 0, settingsOf({})));
      socket.on("data", () => {
        if (countHeads(bytes()) < 2) return;
        socket.write(frameOf("goaway", 0, 0, Buffer.concat([uint32(1), uint32(0)])));
        socket.write(frameOf("headers", 5, 1, fieldBlock([[":status", "200"]])));
      });
    });
    const [first, second] = [send(upstream), send(upstream)];
    assert.deepEqual([await first.over, await second.over], ["200", "refused"]);
    assert.equal(second.failure?.sent, false);
  });

  it("tells which streams of a connection ended by an error of GOAWAY were not looked at", async () => {
    const upstream = await serveFrames((socket, bytes) => {
      socket.write(frameOf("settings", 0, 0, settingsOf({})));
      socket.on("data", () => {
        if (countHeads(bytes()) < 2) return;
        socket.write(frameOf("goaway", 0, 0, Buffer.concat([uint32(1), uint32(11)])));
      });
    });
    const [first, second] = [send(upstream), send(upstream)];
    assert.deepEqual([await first.over, await second.over], ["reset", "refused"]);
    assert.deepEqual([first.failure?.sent, second.failure?.sent], [true, false]);
  });

  it("has sent nothing to what is no server of HTTP/2", async () => {
    const upstream = await serveFrames((socket) => {
      socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"));
    });
    const told = send(upstream);
    assert.equal(await told.over, "unreachable");
    assert.equal(told.failure?.sent, false);
    assert.equal(upstream.connections, 0);
  });

  it("does not take garbage in the middle of a connection for a reply", async () => {
    const upstream = await serveFrames((socket, bytes) => {
      socket.write(frameOf("settings", 0, 0, settingsOf({})));
      socket.on("data", () => {
        if (countHeads(bytes()) > 0) socket.write(frameOf("headers", 4, 0, Buffer.alloc(40, 255)));
      });
    });
    assert.match(await send(upstream).over, /^(?:invalid|reset)$/);
  });

  it("tells that nobody listens", async () => {
    const server = createSocketServer();
    const port = await listening(server);
    server.close();
    await once(server, "close");
    const told = send(upstreamTo(port));
    assert.equal(await told.over, "unreachable");
    assert.equal(told.failure?.sent, false);
  });

  it("gives up a connection on which no SETTINGS come", async () => {
    const clock = new FakeClock();
    const server = createSocketServer();
    const upstream = upstreamTo(await listening(server), { clock });
    const told = send(upstream);
    await once(server, "connection");
    await clock.advance(20_000);
    assert.equal(await told.over, "connect_timeout");
    assert.equal(told.failure?.sent, false);
    await until(() => upstream.connections === 0);
  });

  it("waits for a head and for the rest of a reply as long as it may, and not while the client does not take it", async () => {
    const clock = new FakeClock();
    const streams: ServerHttp2Stream[] = [];
    const { upstream } = await serve(
      (stream, headers) => {
        streams.push(stream);
        if (headers[":path"] === "/none") return;
        stream.respond({ ":status": 200 });
        stream.write("half");
      },
      { clock },
    );
    const [none, half, slow] = [
      send(upstream, { target: "/none" }),
      send(upstream),
      send(upstream, { bodyGapMs: 1_000 }),
    ];
    slow.takes = false;
    await until(() => half.body !== "" && slow.body !== "" && streams.length === 3);
    await clock.advance(15_100);
    assert.equal(await none.over, "timeout");
    assert.equal(half.failure, undefined);
    await clock.advance(45_100);
    assert.equal(await half.over, "stalled");
    assert.equal(slow.failure, undefined);
    await until(() => streams.filter(({ rstCode }) => rstCode === constants.NGHTTP2_CANCEL).length === 2);
  });

  it("waits for no head as long as the client has not sent all of its body", async () => {
    const clock = new FakeClock();
    const streams: ServerHttp2Stream[] = [];
    const { upstream } = await serve((stream) => streams.push(stream), { clock });
    const body = new Readable({ read: () => undefined });
    const told = send(upstream, { method: "POST", body });
    await until(() => streams.length === 1);
    await clock.advance(60_000);
    assert.equal(told.failure, undefined);
    body.push(null);
    await once(streams[0]?.resume() ?? body, "end");
    await clock.advance(40_000);
    assert.equal(await told.over, "timeout");
  });

  it("notices by PING that nobody is there any more, and does not take a quiet instance for dead", async () => {
    const clock = new FakeClock();
    const { upstream, sessions } = await serve(
      (stream, headers) => {
        if (headers[":path"] === "/quick") stream.respond({ ":status": 204 }, { endStream: true });
      },
      { clock, headersTimeoutMs: 3_600_000 },
    );
    const told = send(upstream);
    await until(() => sessions.length === 1);
    const pinged = Promise.race(sessions.map((session) => once(session, "ping")));
    assert.equal(await send(upstream, { target: "/quick" }).over, "204");
    await clock.advance(12_000); // something has come meanwhile
    await clock.advance(12_000);
    await pinged;
    assert.equal(await send(upstream, { target: "/quick" }).over, "204"); // behind the answer to the PING
    await clock.advance(60_000);
    assert.equal(told.failure, undefined);

    const deaf = createSocketServer((socket) => {
      socket.once("data", () => socket.write(frameOf("settings", 0, 0, settingsOf({}))));
    });
    const lost = upstreamTo(await listening(deaf), { clock, headersTimeoutMs: 3_600_000 });
    const unanswered = send(lost);
    await once(deaf, "connection");
    for (let at = 0; at < 100 && unanswered.failure === undefined; at++) await clock.advance(1_000);
    assert.deepEqual([unanswered.failure?.kind, lost.connections], ["reset", 0]);
  });

  it("stops the upload of a reply that came early, and resets a stream whose client leaves half way", async () => {
    const streams: ServerHttp2Stream[] = [];
    const { upstream } = await serve((stream, headers) => {
      streams.push(stream);
      if (headers[":path"] !== "/early") return;
      stream.respond({ ":status": 413 });
      stream.end("no", () => stream.close(constants.NGHTTP2_NO_ERROR));
    });
    const early = new Readable({ read: () => undefined });
    const told = send(upstream, { method: "POST", target: "/early", body: early });
    early.push("a");
    assert.deepEqual([await told.over, told.body], ["413", "no"]);
    await until(() => early.destroyed);
    const left = new Readable({ read: () => undefined });
    send(upstream, { method: "POST", body: left });
    left.push("a");
    await until(() => streams.length === 2);
    left.destroy(new Error("the client has left"));
    await until(() => streams[1]?.rstCode === constants.NGHTTP2_CANCEL);
  });

  it("closes when what is under way has ended, twice if asked, and an idle connection after a while", async () => {
    const clock = new FakeClock();
    const streams: ServerHttp2Stream[] = [];
    const { upstream, sessions } = await serve((stream) => streams.push(stream), { clock });
    const told = send(upstream);
    await until(() => streams.length === 1);
    const closed = upstream.close();
    assert.equal(upstream.close(), closed);
    assert.equal(upstream.connections, 1);
    streams[0]?.respond({ ":status": 204 }, { endStream: true });
    assert.equal(await told.over, "204");
    await closed;

    const { upstream: other } = await serve((stream) => stream.respond({ ":status": 204 }, { endStream: true }), {
      clock,
    });
    assert.equal(await send(other).over, "204");
    await clock.advance(60_100);
    await until(() => other.connections === 0);
    assert.equal(await send(other).over, "204");
    assert.equal(sessions.length, 1);
  });

  it("breaks off what is under way when it is destroyed", async () => {
    const { upstream, sessions } = await serve(() => undefined);
    const told = send(upstream);
    await until(() => sessions.length === 1);
    upstream.destroy();
    assert.match(await told.over, /^(?:reset|unreachable)$/);
    assert.equal(upstream.connections, 0);
  });

  describe("over TLS", () => {
    const certificate = makeCertificate();
    const tls: UpstreamTls = {
      optionsFor: () => ({
        ca: certificate.cert,
        checkServerIdentity: (_host, given) => checkServerIdentity("localhost", given),
      }),
      connect: () => assert.fail("HTTP/2 connects by itself"),
      close: () => undefined,
    };

    it("speaks with who agrees to h2, and with nobody else", async () => {
      const server = createSecureServer({ ...certificate });
      server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
        stream.respond({ ":status": 200 });
        stream.end(headers[":scheme"]);
      });
      const told = send(upstreamTo(await listening(server), { tls }));
      assert.deepEqual([await told.over, told.body], ["200", "https"]);

      const old = createTlsServer({ ...certificate });
      const refused = send(upstreamTo(await listening(old), { tls }));
      assert.equal(await refused.over, "unreachable");
      assert.equal(refused.failure?.sent, false);

      const untrusted = { ...tls, optionsFor: () => ({}) };
      assert.equal(
        await send(upstreamTo(await listening(createSecureServer({ ...certificate })), { tls: untrusted })).over,
        "unreachable",
      );
    });
  });
});

/** HEADERS frames behind a preface. */
function countHeads(bytes: Buffer): number {
  let heads = 0;
  for (let at = 24; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) if (bytes[at + 3] === 1) heads++;
  return heads;
}
