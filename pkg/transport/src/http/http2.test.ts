import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
  type OutgoingHttpHeaders,
} from "node:http2";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { connect as tlsConnect, type ConnectionOptions } from "node:tls";
import { FakeClock, until } from "@plinth/kernel/testing";
import { makeCertificate } from "../testing/certificates.ts";
import { metric, startHttp, type TestHttp, type TestHttpOptions } from "../testing/http.ts";
import { frameTypes, plainHead, RawHttp2 } from "../testing/http2-frames.ts";
import { RecordingTracing } from "../testing/recording-tracing.ts";
import { tlsSettings, type TlsSettings } from "../tls/settings.ts";
import type { HttpApp } from "./server.ts";

const never = new AbortController().signal;

function routes(app: HttpApp): void {
  app.get("/", async ({ raw, host, protocol }) => ({ version: raw.httpVersion, host, protocol }));
  app.post("/echo", async ({ body }) => ({ body }));
  app.get("/fault", async () => {
    throw new Error("internal text");
  });
  app.get("/hang", async () => new Promise(() => {}));
  app.get("/headers", async (_, reply) =>
    reply
      .headers({ connection: "close", "keep-alive": "timeout=5", "transfer-encoding": "chunked", "x-kept": "1" })
      .send("x"),
  );
}

const start = ({ settings, ...more }: TestHttpOptions = {}): Promise<TestHttp> =>
  startHttp({ routes, settings: { http2: true, ...settings }, ...more });

interface Reply {
  readonly headers: IncomingHttpHeaders & IncomingHttpStatusHeader;
  readonly status: number | undefined;
  readonly body: string;
}

async function ask(session: ClientHttp2Session, headers: OutgoingHttpHeaders = {}, body?: string): Promise<Reply> {
  const stream = session.request({ ":path": "/", ...headers });
  stream.end(body);
  return replyOf(stream);
}

async function replyOf(stream: ClientHttp2Stream): Promise<Reply> {
  let text = "";
  stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  const headers = new Promise<Reply["headers"]>((resolve) => stream.once("response", resolve));
  await new Promise<void>((resolve, reject) => stream.once("close", resolve).once("error", reject));
  const { [":status"]: status, ...rest } = await headers;
  return { status, headers: rest, body: text };
}

async function closed(session: ClientHttp2Session): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>(); // by an error too
  session.once("close", () => resolve());
  if (!session.destroyed) await promise;
}

describe("HTTP/2 in the clear", () => {
  it("is spoken on the port of HTTP/1.1, to who begins with it, by the same routes", async () => {
    await using http = await start();
    const session = connect(http.origin);
    const { status, body, headers } = await ask(session, { "x-request-id": "request-0001" });
    assert.deepEqual(
      [status, JSON.parse(body)],
      [200, { version: "2.0", host: `127.0.0.1:${http.server.port}`, protocol: "http" }],
    );
    assert.match(String(headers["x-request-id"]), /./);
    assert.equal(JSON.parse(await (await http.fetch("/")).text()).version, "1.1");
    assert.equal(
      await metric(http, 'http_server_request_duration_seconds_count{method="GET",route="/",status="200"}'),
      2,
    );
    session.close();
  });

  it("takes bytes that come one by one", async () => {
    await using http = await start();
    const caller = http.connect();
    for (const byte of "PRI * HT") {
      caller.write(byte);
      await new Promise(setImmediate);
    }
    caller.write("XX\r\n\r\n");
    assert.match(await caller.ended, /^HTTP\/1\.1 400 /, "what only begins like it is HTTP/1.1");
    for (const text of ["PUT /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "P"]) {
      const slow = http.connect();
      for (const byte of text) slow.write(byte);
      if (text.length > 1) assert.match(await slow.ended, /^HTTP\/1\.1 404 /);
      else slow.destroy();
    }
  });

  it("is not spoken unless asked for", async () => {
    await using http = await startHttp({ routes });
    const caller = new RawHttp2(http.server.port);
    caller.head(1);
    await caller.closed;
  });

  it("ends a connection that says nothing, in the time of a head", async () => {
    const clock = new FakeClock();
    await using http = await start({ clock, settings: { headersTimeoutMs: 500 } });
    const caller = http.connect();
    caller.write("P");
    await until(() => clock.pending > 1);
    await clock.advance(500);
    assert.equal(await caller.ended, "");
  });
});

describe("the layers over HTTP/2", () => {
  it("write faults as problems, report them once, and let nothing internal out", async () => {
    await using http = await start();
    const session = connect(http.origin);
    const { status, headers, body } = await ask(session, { ":path": "/fault" });
    assert.equal(status, 500);
    assert.match(String(headers["content-type"]), /^application\/problem\+json/);
    assert.doesNotMatch(body, /internal text/);
    assert.equal((await http.reports()).length, 1);
    assert.equal((await ask(session, { ":path": "/none" })).status, 404);
    session.close();
  });

  it("send no header of a connection", async () => {
    await using http = await start();
    const session = connect(http.origin);
    for (const path of ["/headers", "/none", "/"]) {
      const { headers } = await ask(session, { ":path": path });
      for (const name of ["connection", "keep-alive", "transfer-encoding", "upgrade"])
        assert.equal(headers[name], undefined, name);
    }
    assert.equal((await ask(session, { ":path": "/headers" })).headers["x-kept"], "1");
    session.close();
  });

  it("answer at the deadline, and the connection serves on", async () => {
    await using http = await start({ settings: { deadlineMs: 50 } });
    const session = connect(http.origin);
    assert.equal((await ask(session, { ":path": "/hang" })).status, 504);
    assert.equal((await ask(session)).status, 200);
    session.close();
  });

  it("refuse a body that is too large, and end its upload without an error", async () => {
    await using http = await start({ settings: { maxBodyBytes: 1_000 } });
    const session = connect(http.origin);
    const stream = session.request({ ":path": "/echo", ":method": "POST", "content-type": "text/plain" });
    stream.write("x".repeat(2_000));
    const { status, body } = await replyOf(stream);
    assert.deepEqual([status, JSON.parse(body).code], [413, "ERR_REQUEST_TOO_LARGE"]);
    assert.equal((await ask(session)).status, 200);
    session.close();
  });

  for (const [how, code] of [
    ["an error", constants.NGHTTP2_CANCEL],
    ["no error", constants.NGHTTP2_NO_ERROR],
  ] as const) {
    it(`never take half a body for a whole one: a reset with ${how}`, async () => {
      const bodies: unknown[] = [];
      await using http = await start({
        routes: (app) => void app.post("/", async ({ body }) => void bodies.push(body)),
      });
      const caller = new RawHttp2(http.server.port);
      caller.head(1, [[":method", "POST"], ...plainHead.slice(1), ["content-type", "text/plain"]], { end: false });
      caller.data(1, "half", false);
      while ((await metric(http, "http_server_active_requests ")) !== 1) await new Promise(setImmediate);
      caller.reset(1, code);
      while ((await metric(http, "http_server_active_requests ")) !== 0) await new Promise(setImmediate);
      await new Promise(setImmediate);
      assert.deepEqual(bodies, []);
      assert.deepEqual(await http.reports(), []);
      const counted = 'http_server_request_duration_seconds_count{method="POST",route="/",status="499"}';
      assert.equal(await metric(http, counted), 1);
      caller.destroy();
    });
  }

  it("answer a body that does not come with 408", async () => {
    const clock = new FakeClock();
    await using http = await start({
      clock,
      settings: { requestTimeoutMs: 1_000, headersTimeoutMs: 1_000, deadlineMs: 60_000 },
    });
    const session = connect(http.origin);
    const stream = session.request({ ":path": "/echo", ":method": "POST", "content-type": "text/plain" });
    stream.write("half");
    const reply = replyOf(stream);
    while ((await metric(http, "http_server_active_requests ")) !== 1) await new Promise(setImmediate);
    await clock.advance(1_000);
    assert.equal((await reply).status, 408);
    session.close();
  });

  it("cancel the work of a caller that resets its request", async () => {
    const aborted = Promise.withResolvers<unknown>();
    await using http = await start({
      routes: (app) =>
        void app.get("/", async ({ signal }) => {
          signal.addEventListener("abort", () => aborted.resolve(signal.reason));
          return new Promise(() => {});
        }),
    });
    const session = connect(http.origin);
    const stream = session.request({ ":path": "/" });
    stream.on("error", () => {});
    while ((await metric(http, "http_server_active_requests ")) !== 1) await new Promise(setImmediate);
    stream.close(constants.NGHTTP2_CANCEL);
    assert.match(String(await aborted.promise), /the caller has gone/);
    session.close();
  });

  it("reset a stream whose caller reads nothing", async () => {
    await using http = await start({
      settings: { idleTimeoutMs: 100 },
      routes: (app) => void app.get("/", async () => "x".repeat(500_000)),
    });
    const caller = new RawHttp2(http.server.port, { 4: 0 }); // no window
    caller.head(1);
    const reset = await caller.until(({ type, stream }) => type === frameTypes.reset && stream === 1);
    assert.equal(reset?.payload.readUInt32BE(0), constants.NGHTTP2_CANCEL);
    while ((await metric(http, "http_server_active_requests ")) !== 0) await new Promise(setImmediate);
    caller.destroy();
  });

  it("reset all streams at one time whose caller reads nothing, though the reset of one is something sent", async () => {
    const clock = new FakeClock();
    await using http = await start({
      clock,
      settings: { idleTimeoutMs: 1_000, maxConcurrentStreams: 100 },
      routes: (app) => void app.get("/", async () => "x".repeat(100_000)),
    });
    const caller = new RawHttp2(http.server.port, { 4: 0 });
    for (let stream = 1; stream < 200; stream += 2) caller.head(stream);
    const of = (type: number): number => caller.frames.filter((frame) => frame.type === type).length;
    await until(() => of(frameTypes.headers) === 100 || undefined);
    await clock.advance(250);
    await clock.advance(500);
    assert.equal(of(frameTypes.reset), 0, "not before their time");
    await clock.advance(500);
    await until(() => of(frameTypes.reset) === 100 || undefined, { what: "100 resets" });
    assert.equal(of(frameTypes.goaway), 0);
    caller.destroy();
  });

  it("hold a connection to its number of requests at once", async () => {
    await using http = await start({ settings: { maxConcurrentStreams: 3 } });
    const caller = new RawHttp2(http.server.port);
    const settings = await caller.until(({ type, flags }) => type === frameTypes.settings && flags === 0);
    assert.ok(settings?.payload.includes(Buffer.from([0, 3, 0, 0, 0, 3])), "it says so");
    caller.send("settings", 1, 0);
    for (let at = 0; at < 5; at++) caller.head(1 + 2 * at, [...plainHead.slice(0, 3), [":path", "/hang"]]);
    assert.match(await caller.answer(9), /^(reset 7|goaway)/);
    caller.destroy();
  });
});

describe("a drain over HTTP/2", () => {
  it("says GOAWAY, answers what is under way, takes nothing more, and closes", async () => {
    const gate = Promise.withResolvers<string>();
    await using http = await start({
      routes: (app) => {
        app.get("/", async () => "now");
        app.get("/later", () => gate.promise);
      },
    });
    const caller = new RawHttp2(http.server.port);
    caller.head(1, [...plainHead.slice(0, 3), [":path", "/later"]]);
    while ((await metric(http, "http_server_active_requests ")) !== 1) await new Promise(setImmediate);
    const drained = http.server.drain({ signal: never });
    const goaway = await caller.until(({ type }) => type === frameTypes.goaway);
    assert.deepEqual(
      [goaway?.payload.readUInt32BE(0), goaway?.payload.readUInt32BE(4)],
      [1, constants.NGHTTP2_NO_ERROR],
    );
    caller.head(3); // above 1: its caller knows that it was not served
    gate.resolve("then");
    assert.equal(await caller.answer(1), "200");
    await caller.closed;
    assert.equal(
      (await metric(http, 'http_server_request_duration_seconds_count{method="GET",route="/",status="200"}')) || 0,
      0,
    );
    await drained;
  });

  it("closes idle connections at once", async () => {
    await using http = await start();
    const sessions = Array.from({ length: 20 }, () => connect(http.origin));
    await Promise.all(sessions.map((session) => ask(session)));
    await http.server.drain({ signal: never });
    await Promise.all(sessions.map(closed));
  });

  it("resets what is left at its limit, and tells its handler", async () => {
    await using http = await start();
    const session = connect(http.origin);
    session.on("error", () => {});
    const hanging = ask(session, { ":path": "/hang" });
    const outcome = hanging.then(
      () => "whole",
      () => "reset",
    );
    while ((await metric(http, "http_server_active_requests ")) !== 1) await new Promise(setImmediate);
    const limit = new AbortController();
    const drained = http.server.drain({ signal: limit.signal });
    await new Promise(setImmediate);
    limit.abort();
    await drained;
    await closed(session);
    assert.equal(await outcome, "reset");
    assert.equal(await metric(http, "http_server_active_requests "), 0);
  });

  it("fails no request of callers that go elsewhere when they are told", async () => {
    await using old = await start();
    await using next = await start();
    const stop = new AbortController();
    const failures: unknown[] = [];
    let served = 0;
    const loop = async (): Promise<void> => {
      let session = connect(old.origin);
      while (!stop.signal.aborted) {
        if (session.closed || session.destroyed) session = connect(next.origin);
        try {
          assert.equal((await ask(session)).status, 200);
          served++;
        } catch (error) {
          // above the last stream of the GOAWAY: known not to have been served, and sent again
          if (!session.closed || !String(error).includes("REFUSED_STREAM")) failures.push(error);
        }
      }
      session.close();
    };
    const loops = Array.from({ length: 16 }, loop);
    await until(() => served > 200);
    await old.server.drain({ signal: never });
    const drainedAt = served;
    await until(() => served > drainedAt + 200);
    stop.abort();
    await Promise.all(loops);
    assert.deepEqual(failures, []);
  });
});

describe("HTTP over TLS", () => {
  const authority = makeCertificate({ name: "authority" });
  const stranger = makeCertificate({ name: "stranger" });

  /** A server with a certificate of its own in a folder of its own. */
  class Secure implements AsyncDisposable {
    readonly folder = mkdtempSync(join(tmpdir(), "plinth-https-"));
    certificate = makeCertificate({ issuer: authority });
    http: TestHttp | undefined;

    async start(more: Partial<TlsSettings> = {}, options: TestHttpOptions = {}): Promise<TestHttp> {
      this.write();
      writeFileSync(join(this.folder, "ca.crt"), authority.cert);
      const tls = tlsSettings.parse({ certFile: this.path("tls.crt"), keyFile: this.path("tls.key"), ...more });
      return (this.http = await start({ ...options, settings: { tls, ...options.settings } }));
    }

    path(name: string): string {
      return join(this.folder, name);
    }

    write(): void {
      writeFileSync(this.path("tls.crt"), this.certificate.cert);
      writeFileSync(this.path("tls.key"), this.certificate.key);
    }

    async [Symbol.asyncDispose](): Promise<void> {
      await this.http?.server.close();
      rmSync(this.folder, { recursive: true });
    }
  }

  const originOf = ({ server }: TestHttp): string => `https://127.0.0.1:${server.port}`;

  const trusting = { ca: authority.cert };

  async function over11(
    http: TestHttp,
    more: ConnectionOptions = {},
  ): Promise<{ status: number | undefined; body: string }> {
    const request = httpsRequest(`${originOf(http)}/`, { ...trusting, ...more, agent: false });
    request.end();
    const response = (await once(request, "response"))[0];
    return { status: response.statusCode, body: await new Response(response).text() };
  }

  it("serves HTTP/2 and HTTP/1.1 on one port, as the caller likes", async () => {
    await using secure = new Secure();
    const http = await secure.start();
    const session = connect(originOf(http), trusting);
    const { status, body } = await ask(session);
    assert.deepEqual([status, session.alpnProtocol], [200, "h2"]);
    assert.deepEqual([JSON.parse(body).version, JSON.parse(body).protocol], ["2.0", "https"]);
    assert.equal(JSON.parse((await over11(http)).body).version, "1.1");
    session.close();
  });

  it("tells its spans the scheme and the version", async () => {
    await using secure = new Secure();
    const tracing = new RecordingTracing();
    const http = await secure.start({}, { tracing });
    const session = connect(originOf(http), trusting);
    await ask(session);
    await over11(http);
    await until(() => tracing.spans.filter(({ ends }) => ends === 1).length === 2);
    assert.deepEqual(
      tracing.spans.map(({ attributes }) => [attributes["url.scheme"], attributes["network.protocol.version"]]),
      [
        ["https", "2"],
        ["https", "1.1"],
      ],
    );
    session.close();
  });

  it("serves HTTP/1.1 alone unless HTTP/2 is asked for", async () => {
    await using secure = new Secure();
    const http = await secure.start({}, { settings: { http2: false } });
    assert.equal((await over11(http)).status, 200);
    const session = connect(originOf(http), trusting);
    await once(session, "error");
  });

  it("takes a new certificate for new connections, and keeps those that are open", async () => {
    await using secure = new Secure();
    const clock = new FakeClock(Date.now());
    const http = await secure.start({}, { clock });
    const session = connect(originOf(http), trusting);
    assert.equal((await ask(session)).status, 200);
    const shown = async (): Promise<string> => {
      const socket = tlsConnect(http.server.port, "127.0.0.1", trusting);
      await once(socket, "secureConnect");
      const { fingerprint256 } = socket.getPeerCertificate();
      socket.destroy();
      return fingerprint256;
    };
    const before = await shown();
    secure.certificate = makeCertificate({ issuer: authority });
    writeFileSync(secure.path("tls.crt"), secure.certificate.cert);
    const look = async (): Promise<void> => {
      await clock.advance(1_000);
      await new Promise((resolve) => setTimeout(resolve, 5));
    };
    for (let at = 0; at < 5; at++) await look();
    assert.equal(await shown(), before, "its key is not there yet");
    secure.write();
    for (let at = 0; at < 200 && (await shown()) === before; at++) await look();
    assert.notEqual(await shown(), before);
    assert.equal((await ask(session)).status, 200, "over the connection from before");
    session.close();
  });

  it("does not start with a certificate that cannot be used, and listens nowhere", async () => {
    await using secure = new Secure();
    secure.certificate = makeCertificate({ issuer: authority, untilMs: Date.now() - 1 });
    await assert.rejects(secure.start(), { code: "ERR_TLS_CERTIFICATE" });
  });

  for (const [clientCertificate, shown, isServed] of [
    ["require", "none", false],
    ["require", "good", true],
    ["require", "stranger's", false],
    ["request", "none", true],
    ["request", "good", true],
    ["request", "stranger's", false],
  ] as const) {
    it(`${clientCertificate}s a certificate of callers: ${shown} is ${isServed ? "served" : "refused"}`, async () => {
      await using secure = new Secure();
      const http = await secure.start({ clientCertificate, caFile: secure.path("ca.crt") });
      const given: ConnectionOptions = {
        none: {},
        good: makeCertificate({ name: "caller", issuer: authority }),
        "stranger's": makeCertificate({ name: "caller", issuer: stranger }),
      }[shown];
      if (isServed) assert.equal((await over11(http, given)).status, 200);
      else {
        await assert.rejects(over11(http, given));
        assert.equal(await metric(http, "http_server_tls_failures_total "), 1);
      }
    });
  }

  it("shows the authenticator the certificate of a caller over HTTP/1.1 and HTTP/2, and none of who has shown none", async () => {
    await using secure = new Secure();
    const authenticator: TestHttpOptions["authenticator"] = {
      authenticate: ({ peerCertificate }) =>
        peerCertificate && { subject: String(peerCertificate.subject.CN), scopes: [], claims: {} },
    };
    const whoami = (app: HttpApp): void => void app.get("/", async ({ identity }) => identity?.subject);
    const more = { clientCertificate: "request", caFile: secure.path("ca.crt") } as const;
    const http = await secure.start(more, { authenticator, routes: whoami });
    const given = makeCertificate({ name: "caller", issuer: authority });
    assert.deepEqual(await over11(http, given), { status: 200, body: "caller" });
    assert.equal((await over11(http)).status, 401);
    for (const [options, expected] of [
      [given, 200],
      [{}, 401],
    ] as const) {
      const session = connect(originOf(http), { ...trusting, ...options });
      const { status, body } = await ask(session);
      assert.deepEqual([status, status === 200 ? body : "caller"], [expected, "caller"]);
      session.close();
    }
  });

  it("knows nobody by a session that is resumed and began without a certificate", async () => {
    await using secure = new Secure();
    const seen: unknown[] = [];
    const authenticator: TestHttpOptions["authenticator"] = {
      authenticate: ({ peerCertificate }) => void seen.push(peerCertificate),
    };
    const more = { clientCertificate: "request", caFile: secure.path("ca.crt") } as const;
    const http = await secure.start(more, { authenticator });
    const open = async (session?: Buffer): Promise<readonly [isResumed: boolean, ticket: Buffer | undefined]> => {
      const socket = tlsConnect({
        host: "127.0.0.1",
        port: http.server.port,
        ...trusting,
        ...(session && { session }),
      });
      let ticket: Buffer | undefined;
      socket.on("session", (bytes: Buffer) => (ticket = bytes));
      const ended = once(socket.resume(), "close");
      await once(socket, "secureConnect");
      const isResumed = socket.isSessionReused();
      socket.write("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
      await ended;
      return [isResumed, ticket];
    };
    const [, ticket] = await open();
    assert.equal((await open(ticket))[0], true);
    assert.deepEqual(seen, [undefined, undefined]);
  });

  it("counts what is no TLS, ends it, and reports nothing", async () => {
    await using secure = new Secure();
    const http = await secure.start();
    await http.raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert.equal(await metric(http, "http_server_tls_failures_total "), 1);
    assert.deepEqual(await http.reports(), []);
  });

  it("ends a handshake that takes too long", async () => {
    await using secure = new Secure();
    const http = await secure.start({ handshakeTimeoutMs: 50 });
    const caller = http.connect();
    caller.write(Buffer.from([0x16, 0x03, 0x01]));
    await caller.ended;
  });

  it("ends a head over HTTP/1.1 that takes too long", async () => {
    await using secure = new Secure();
    const http = await secure.start({}, { settings: { headersTimeoutMs: 50, requestTimeoutMs: 50 } });
    const socket = tlsConnect(http.server.port, "127.0.0.1", { ...trusting, ALPNProtocols: ["http/1.1"] });
    socket.write("GET / HTTP/1.1\r\n");
    const received = (await once(socket, "data"))[0];
    assert.match(String(received), /^HTTP\/1\.1 408 /);
    socket.destroy();
  });

  it("drains: idle connections of both kinds are closed, what is under way is answered", async () => {
    await using secure = new Secure();
    const gate = Promise.withResolvers<string>();
    const http = await secure.start({}, { routes: (app) => void app.get("/", () => gate.promise) });
    const idle = tlsConnect(http.server.port, "127.0.0.1", { ...trusting, ALPNProtocols: ["http/1.1"] });
    await once(idle, "secureConnect");
    const session = connect(originOf(http), trusting);
    const replies = [ask(session).then(({ status }) => status), over11(http).then(({ status }) => status)];
    while ((await metric(http, "http_server_active_requests ")) !== 2) await new Promise(setImmediate);
    const drained = http.server.drain({ signal: never });
    idle.resume();
    await once(idle, "close");
    gate.resolve("x");
    assert.deepEqual(await Promise.all(replies), [200, 200]);
    await drained;
  });
});
