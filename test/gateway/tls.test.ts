import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, beforeEach, describe, it } from "node:test";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { FakeClock, until } from "@plinth/kernel/testing";
import { makeCertificate } from "../../pkg/transport/src/testing/certificates.ts";
import type { GatewaySettingsInput } from "../../pkg/gateway/src/options.ts";
import {
  echo,
  httpInstance,
  openRoute,
  rawClient,
  socketInstance,
  startGateway,
  type TestGateway,
} from "../../pkg/gateway/src/testing/kit.ts";

const get = "GET / HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n";

describe("a gateway with TLS", () => {
  const authority = makeCertificate({ name: "authority" });
  let folder = "";
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "plinth-gateway-tls-"));
  });
  after(() => rmSync(folder, { recursive: true }));
  beforeEach(() => {
    for (const [file, name] of [
      ["one", "one.example"],
      ["any", "*.site.example"],
      ["two", "two.example"],
    ] as const)
      write(file, name);
  });

  const at = (file: string): { certFile: string; keyFile: string } => ({
    certFile: join(folder, `${file}.crt`),
    keyFile: join(folder, `${file}.key`),
  });
  function write(file: string, name: string): string {
    const made = makeCertificate({ name, issuer: authority });
    writeFileSync(at(file).keyFile, made.key);
    writeFileSync(at(file).certFile, made.cert);
    return made.cert;
  }
  const tls = (more: Partial<NonNullable<GatewaySettingsInput["tls"]>> = {}): GatewaySettingsInput => ({
    tls: { certificates: [at("one"), at("any"), at("two")], ...more },
  });

  async function secured({ gateway }: TestGateway, more: ConnectionOptions = {}): Promise<TLSSocket> {
    const socket = connect({
      port: gateway.port,
      host: "127.0.0.1",
      ca: authority.cert,
      servername: "one.example",
      checkServerIdentity: () => undefined,
      ...more,
    });
    await once(socket, "secureConnect");
    return socket;
  }
  async function said(socket: TLSSocket): Promise<string> {
    let text = "";
    for await (const chunk of socket) text += String(chunk);
    return text;
  }
  const nameOf = (socket: TLSSocket): string | undefined => socket.getPeerX509Certificate()?.subjectAltName;

  it("serves requests, and tells services that they came by it", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ settings: tls() });
    await running.add(instance);
    const socket = await secured(running, { ALPNProtocols: ["http/1.1"] });
    assert.equal(socket.alpnProtocol, "http/1.1");
    socket.write(get);
    const reply = await said(socket);
    assert.match(reply, /^HTTP\/1\.1 200 /);
    assert.match(reply, /"x-forwarded-proto":\["https"\]/);
    assert.doesNotMatch(reply, /strict-transport-security/i);
  });

  it("counts handshakes among the connections that one client may have", async () => {
    const settings = { ...tls(), maxConnectionsPerAddress: 2, uncappedAddresses: [] };
    await using running = await startGateway({ settings });
    const silent = [await rawClient(running.gateway.port), await rawClient(running.gateway.port)];
    const third = await rawClient(running.gateway.port);
    assert.equal(await third.toEnd(), "");
    const told = await running.metrics();
    assert.match(told, /gateway_connections 2\n/);
    assert.match(told, /gateway_connections_refused_total\{reason="address"\} 1\n/);
    assert.doesNotMatch(told, /gateway_tls_failures_total [1-9]/);
    for (const { socket } of silent) socket.destroy();
    await until(async () => /gateway_connections 0\n/.test(await running.metrics()) || undefined);
    (await secured(running)).destroy();
  });

  it("speaks HTTP/2 with who asks for it by ALPN, unless that is off", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ settings: tls() });
    await running.add(instance);
    const socket = await secured(running, { ALPNProtocols: ["h2", "http/1.1"] });
    const session = connectHttp2("https://one.example", { createConnection: () => socket });
    const stream = session.request({ ":path": "/", ":authority": "one.example" });
    assert.equal(socket.alpnProtocol, "h2");
    assert.match(await text(stream), /"x-forwarded-proto":\["https"\]/);
    session.close();
    await using without = await startGateway({ settings: { ...tls(), http2: { tls: false } } });
    const plain = await secured(without, { ALPNProtocols: ["h2", "http/1.1"] });
    assert.equal(plain.alpnProtocol, "http/1.1");
    plain.destroy();
  });

  it("tells browsers to come by it alone, where that is set and the service says nothing of it", async () => {
    await using instance = await httpInstance((request, response) => {
      if (request.url === "/own") response.setHeader("strict-transport-security", "max-age=1");
      response.end();
    });
    await using running = await startGateway({
      settings: tls({ hstsMaxAgeSeconds: 600 }),
      routes: [openRoute({ match: { path: ["/", "/own"] } })],
    });
    await running.add(instance);
    for (const [path, expected] of [
      ["/", "max-age=600"],
      ["/own", "max-age=1"],
      ["/nowhere", "max-age=600"],
    ] as const) {
      const socket = await secured(running);
      socket.write(get.replace(" / ", ` ${path} `));
      const found = (await said(socket)).match(/strict-transport-security: [^\r]+/gi);
      assert.deepEqual(found, [`strict-transport-security: ${expected}`], path);
    }
  });

  for (const [asked, expected] of [
    ["one.example", "one.example"],
    ["two.example", "two.example"],
    ["three.site.example", "*.site.example"],
    ["deep.three.site.example", "one.example"],
    ["elsewhere.test", "one.example"],
    ["TWO.EXAMPLE", "two.example"],
    ["", "one.example"],
  ] as const) {
    it(`shows who asks for ${asked || "no name"} the certificate of ${expected}`, async () => {
      await using running = await startGateway({ settings: tls() });
      const socket = await secured(running, { servername: asked });
      assert.ok(nameOf(socket)?.startsWith(`DNS:${expected},`) === true, `${nameOf(socket)}`);
      socket.destroy();
    });
  }

  it("takes a certificate that was replaced for new connections, leaves open ones, and refuses half of one", async () => {
    const clock = new FakeClock(Date.now());
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ settings: tls(), clock });
    await running.add(instance);
    const open = await secured(running);
    const serials = async (): Promise<(string | undefined)[]> => {
      const found: (string | undefined)[] = [];
      for (const servername of ["one.example", "two.example", ""]) {
        const socket = await secured(running, { servername });
        found.push(socket.getPeerX509Certificate()?.serialNumber);
        socket.destroy();
      }
      return found;
    };
    const before = await serials();
    const whole = write("two", "two.example");
    writeFileSync(at("one").certFile, whole.slice(0, 200));
    await until(async () => {
      await clock.advance(1_000);
      return (await running.metrics()).includes('tls_certificate_loads_total{listener="gateway",outcome="refused"}');
    });
    await until(async () => {
      await clock.advance(1_000);
      return (await serials())[1] !== before[1];
    });
    assert.equal((await serials())[0], before[0], "the one before stays");
    write("one", "one.example");
    await until(async () => {
      await clock.advance(1_000);
      return (await serials())[0] !== before[0];
    });
    const [one, , unnamed] = await serials();
    assert.equal(unnamed, one, "it is for those too who name none");
    open.write(get);
    assert.match(await said(open), /^HTTP\/1\.1 200 /);
    assert.match(await running.metrics(), /tls_certificate_loads_total\{listener="gateway-3",outcome="loaded"\} 1/);
  });

  it("does not start with a certificate that cannot be used, and names it", async () => {
    renameSync(at("any").keyFile, `${at("any").keyFile}.away`);
    await assert.rejects(startGateway({ settings: tls() }), { code: "ERR_TLS_FILE", message: /any\.key/ });
  });

  it("refuses older versions than are allowed, protocols that it does not speak, and no TLS at all, and counts them", async () => {
    await using running = await startGateway({ settings: tls({ minVersion: "TLSv1.3" }) });
    const refused = async (more: ConnectionOptions): Promise<unknown> =>
      secured(running, more).catch(({ code }) => code);
    assert.equal(await refused({ maxVersion: "TLSv1.2" }), "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION");
    assert.equal(await refused({ ALPNProtocols: ["spdy/3"] }), "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL");
    const plain = await rawClient(running.gateway.port);
    plain.send(get);
    assert.doesNotMatch(await plain.toEnd(), /HTTP/);
    assert.match(await running.metrics(), /gateway_tls_failures_total 3/);
  });

  it("gives a handshake no more than its time", async () => {
    await using running = await startGateway({ settings: tls({ handshakeTimeoutMs: 50 }) });
    const client = await rawClient(running.gateway.port);
    client.send("\x16\x03\x01");
    await client.toEnd();
    assert.match(await running.metrics(), /gateway_tls_failures_total 1/);
  });

  it("passes a WebSocket, with a close frame at the drain", async () => {
    const reply = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    await using instance = await socketInstance((socket) => {
      socket.once("data", () => {
        socket.write(reply);
        socket.on("data", (chunk) => socket.write(chunk));
      });
    });
    await using running = await startGateway({ settings: tls(), routes: [openRoute({ websocket: true })] });
    await running.add(instance);
    const socket = await secured(running);
    let text = "";
    socket.on("data", (chunk) => (text += chunk.toString("latin1")));
    socket.write("GET / HTTP/1.1\r\nHost: one.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    await until(() => /^HTTP\/1\.1 101 [^]*\r\n\r\n/.test(text));
    socket.write(Buffer.from("\x81\x02hi", "latin1"));
    await until(() => text.endsWith("\x81\x02hi"));
    const drained = running.gateway.drain();
    await until(() => text.endsWith("\x88\x02\x03\xe9"));
    socket.end();
    await drained;
  });

  it("drains: idle connections end, a handshake under way may finish and has a moment for its request", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ settings: tls() });
    await running.add(instance);
    const raw = connectSocket(running.gateway.port, "127.0.0.1");
    await once(raw, "connect");
    const [fresh, silent] = [await secured(running), await secured(running)];
    const idle = await secured(running);
    // The gateway has those made before when this one is served.
    idle.write(get.replace("Connection: close\r\n", ""));
    await once(idle, "data");
    const ended = Promise.all([once(idle.resume(), "close"), once(silent.resume(), "close")]);
    const drained = running.gateway.drain();
    fresh.write(get);
    assert.match(await said(fresh), /^HTTP\/1\.1 200 [^]*connection: close/i);
    await ended;
    const late = connect({ socket: raw, ca: authority.cert, checkServerIdentity: () => undefined });
    await once(late, "secureConnect");
    late.write(get);
    assert.match(await said(late), /^HTTP\/1\.1 200 [^]*connection: close/i);
    await drained;
  });
});
