import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectSocket, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, it } from "node:test";
import { connect, type TLSSocket } from "node:tls";
import { until } from "@plinth/kernel/testing";
import { echo, httpInstance, rawClient, startGateway, type TestGateway } from "../../pkg/gateway/src/testing/kit.ts";
import type { GatewaySettingsInput } from "../../pkg/gateway/src/options.ts";
import { makeCertificate } from "../../pkg/transport/src/testing/certificates.ts";

const header = "PROXY TCP4 192.0.2.7 10.0.0.1 4321 443\r\n";
const get = "GET / HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n";
const proxyProtocol = { from: ["loopback"] };

describe("a PROXY header before something else than HTTP/1", () => {
  let folder = "";
  let certFile = "";
  let keyFile = "";
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "plinth-gateway-proxy-"));
    [certFile, keyFile] = [join(folder, "one.crt"), join(folder, "one.key")];
    const { cert, key } = makeCertificate({ name: "one.example" });
    writeFileSync(certFile, cert);
    writeFileSync(keyFile, key);
  });
  after(() => rmSync(folder, { recursive: true }));

  async function started(settings: GatewaySettingsInput): Promise<AsyncDisposable & TestGateway> {
    const instance = await httpInstance(echo);
    const running = await startGateway({ settings: { proxyProtocol, ...settings } });
    await running.add(instance);
    return {
      ...running,
      [Symbol.asyncDispose]: async () => {
        await running[Symbol.asyncDispose]();
        await instance.close();
      },
    };
  }
  const tls = (): GatewaySettingsInput => ({ tls: { certificates: [{ certFile, keyFile }] } });

  /** A connection on which the balancer has said who comes. @param first - What it writes at first. */
  async function balanced(port: number, first = header): Promise<Socket> {
    const socket = connectSocket(port, "127.0.0.1").setNoDelay(true);
    await once(socket, "connect");
    socket.write(first);
    return socket;
  }
  async function secured(socket: Socket, ALPNProtocols: string[]): Promise<TLSSocket> {
    const secure = connect({ socket, ALPNProtocols, servername: "one.example", rejectUnauthorized: false });
    await once(secure, "secureConnect");
    return secure;
  }

  it("tells of a client over TLS, be the header by itself or together with the handshake", async () => {
    await using running = await started(tls());
    for (const isApart of [true, false]) {
      const socket = await balanced(running.gateway.port, isApart ? header : header.slice(0, 7));
      if (isApart) await until(async () => (await running.metrics()).includes('{outcome="taken"} 1'));
      else {
        socket.cork();
        socket.write(header.slice(7));
        setImmediate(() => socket.uncork());
      }
      const secure = await secured(socket, ["http/1.1"]);
      secure.write(get);
      assert.match(await text(secure), /"x-forwarded-for":\["192\.0\.2\.7"\]/);
    }
    assert.deepEqual(
      (await running.lines(2)).map(({ client }) => client),
      ["192.0.2.7", "192.0.2.7"],
    );
  });

  it("tells two at their handshake at the same time apart", async () => {
    await using running = await started(tls());
    const sockets = await Promise.all(
      ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map((address) =>
        balanced(running.gateway.port, header.replace("192.0.2.7", address)),
      ),
    );
    const secure = await Promise.all(sockets.map((socket) => secured(socket, ["http/1.1"])));
    const replies = await Promise.all(secure.map((socket) => (socket.write(get), text(socket))));
    assert.deepEqual(
      replies.map((reply) => /x-forwarded-for":\["([^"]*)"/.exec(reply)?.[1]),
      ["192.0.2.1", "192.0.2.2", "192.0.2.3"],
    );
  });

  it("tells of a client over HTTP/2", async () => {
    await using running = await started(tls());
    const secure = await secured(await balanced(running.gateway.port), ["h2"]);
    const session = connectHttp2("https://one.example", { createConnection: () => secure });
    const stream = session.request({ ":path": "/" });
    assert.match(await text(stream), /"x-forwarded-for":\["192\.0\.2\.7"\]/);
    session.close();
    assert.equal((await running.lastLine()).client, "192.0.2.7");
  });

  it("comes ahead of the look at whether HTTP/2 is spoken without TLS", async () => {
    await using running = await started({ http2: { cleartext: true } });
    const client = await rawClient(running.gateway.port);
    client.send(header + get);
    assert.match(await client.toEnd(), /"x-forwarded-for":\["192\.0\.2\.7"\]/);
    const socket = await balanced(running.gateway.port);
    const session = connectHttp2("http://one.example", { createConnection: () => socket });
    assert.match(await text(session.request({ ":path": "/" })), /"x-forwarded-for":\["192\.0\.2\.7"\]/);
    session.close();
  });
});
