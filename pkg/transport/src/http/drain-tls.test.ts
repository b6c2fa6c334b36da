import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { FakeClock, until } from "@plinth/kernel/testing";
import { makeCertificate } from "../testing/certificates.ts";
import { metric, startHttp, type TestHttp } from "../testing/http.ts";
import { tlsSettings } from "../tls/settings.ts";

const never = new AbortController().signal;
const get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/** What stands between a caller and a server, and passes on the first part of a handshake, and the rest when it is told to. */
async function holdBack(port: number): Promise<{ readonly port: number; sendRest(): void; close(): void }> {
  const rest = Promise.withResolvers<void>();
  const between = createServer((caller) => {
    const server = connect(port, "127.0.0.1");
    server.pipe(caller);
    caller.once("data", (part: Buffer) => {
      caller.pause();
      server.write(part);
      void rest.promise.then(() => caller.pipe(server));
    });
    const end = (): void => {
      caller.destroy();
      server.destroy();
    };
    for (const socket of [caller, server]) socket.on("error", end).once("close", end);
  });
  await new Promise<void>((resolve) => between.listen(0, "127.0.0.1", resolve));
  const address = between.address();
  assert.ok(address !== null && typeof address === "object");
  return { port: address.port, sendRest: () => rest.resolve(), close: () => between.close() };
}

describe("a drain while TLS handshakes are under way", () => {
  const authority = makeCertificate({ name: "authority" });
  const folder = mkdtempSync(join(tmpdir(), "plinth-drain-"));
  const [certFile, keyFile] = [join(folder, "tls.crt"), join(folder, "tls.key")];
  before(() => {
    const { cert, key } = makeCertificate({ issuer: authority });
    writeFileSync(certFile, cert);
    writeFileSync(keyFile, key);
  });
  after(() => rmSync(folder, { recursive: true }));

  const start = (clock: FakeClock, handshakeTimeoutMs = 10_000): Promise<TestHttp> =>
    startHttp({
      clock,
      settings: { http2: true, tls: tlsSettings.parse({ certFile, keyFile, handshakeTimeoutMs }) },
      routes: (app) => void app.get("/", async () => "now"),
    });

  /** One whose server has answered the first part, and waits for the second. */
  async function begin(http: TestHttp, protocol: string): Promise<readonly [sendRest: () => void, socket: TLSSocket]> {
    const between = await holdBack(http.server.port);
    const below = connect(between.port, "127.0.0.1");
    const socket = connectTls({
      socket: below,
      ca: authority.cert,
      servername: "localhost",
      ALPNProtocols: [protocol],
    });
    socket.on("error", () => {}); // its end tells
    socket.once("close", () => between.close());
    await until(() => below.bytesRead > 0);
    return [() => between.sendRest(), socket];
  }

  const ended = (socket: TLSSocket): Promise<string> => {
    let text = "";
    socket.setEncoding("latin1").on("data", (part: string) => (text += part));
    return new Promise((resolve) => socket.once("close", () => resolve(text)));
  };

  it("serves the first request of each, however long the handshake takes, over HTTP/1.1 and HTTP/2", async () => {
    const clock = new FakeClock(Date.now());
    await using http = await start(clock);
    const [[sendRest1, socket1], [sendRest2, socket2]] = await Promise.all([
      begin(http, "http/1.1"),
      begin(http, "h2"),
    ]);
    const drained = http.server.drain({ signal: never });
    await clock.advance(5_000);
    const text = ended(socket1);
    socket1.write(get);
    sendRest1();
    assert.match(await text, /^HTTP\/1\.1 200 .*\r\nConnection: close\r\n.*now$/s);
    const session = connectHttp2("https://localhost", { createConnection: () => socket2 });
    const stream = session.request({ ":path": "/" });
    sendRest2();
    const status = new Promise((resolve) => stream.once("response", (head) => resolve(head[":status"])));
    assert.equal(await status, 200);
    stream.resume();
    session.close();
    await drained;
  });

  it("closes one that sends nothing for a moment after its handshake", async () => {
    const clock = new FakeClock(Date.now());
    await using http = await start(clock);
    const [sendRest, socket] = await begin(http, "http/1.1");
    const drained = http.server.drain({ signal: never });
    await clock.advance(5_000);
    const text = ended(socket);
    sendRest();
    await until(async () => {
      await clock.advance(500); // the moment begins when the rest has reached the server
      return socket.closed;
    });
    assert.equal(await text, "");
    await drained;
  });

  it("waits for a handshake that does not go on as long as a handshake may take", async () => {
    const clock = new FakeClock(Date.now());
    await using http = await start(clock, 300);
    const [, socket] = await begin(http, "h2");
    const text = ended(socket);
    await http.server.drain({ signal: never });
    assert.equal(await text, "");
    assert.equal(await metric(http, "http_server_tls_failures_total"), 1);
  });

  it("closes a connection on which none has begun after a moment", async () => {
    const clock = new FakeClock(Date.now());
    await using http = await start(clock);
    const silent = http.connect();
    await until(async () => (await metric(http, "http_server_connections ")) === 1);
    const drained = http.server.drain({ signal: never });
    await clock.advance(500);
    assert.equal(await silent.ended, "");
    await drained;
  });
});
